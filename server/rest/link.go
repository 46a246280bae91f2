package rest

import "context"

// nextPage gives the cursor and the Link header (RFC 8288) of the page after this one, nil on the last page: the same
// request with another cursor. A cursor is made and read by the capability that lists; to callers it is opaque.
func nextPage(ctx context.Context, cursor string) (next, link *string) {
	u := Event(ctx).url
	if cursor == "" || u == nil {
		return nil, nil
	}
	q := u.Query()
	q.Set("cursor", cursor)
	q.Del("min_position") // the first page has waited
	l := "<" + u.EscapedPath() + "?" + q.Encode() + `>; rel="next"`
	return &cursor, &l
}
