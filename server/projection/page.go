package projection

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jmoiron/sqlx"
)

// MaxPage bounds a page of records.
const MaxPage = 100

// ErrBadCursor means that a cursor was not made by a page.
var ErrBadCursor = errors.New("this is no cursor of a page")

// PageOf asks for a page of records, those written last first.
type PageOf struct {
	After string // cursor of the page before; "" for the first
	Limit int    // 0: MaxPage
}

// Page is a page of records. A record that is written between two pages may be missed by them; it then stands at the
// beginning of the first.
type Page[T any] struct {
	Items []Record[T]
	Next  string // "" on the last page
}

// SelectPage reads a page. From is a table of proj with a condition, "proj.grants WHERE state = $1"; args are its
// parameters.
func SelectPage[T any](ctx context.Context, q sqlx.QueryerContext, p PageOf, from string, args ...any) (*Page[T], error) {
	if p.Limit <= 0 || p.Limit > MaxPage {
		p.Limit = MaxPage
	}
	if p.After != "" {
		position, id, err := parseCursor(p.After)
		if err != nil {
			return nil, err
		}
		args = append(args, position, id)
		from += fmt.Sprintf(" AND (position, id) < ($%d, $%d)", len(args)-1, len(args))
	}
	args = append(args, p.Limit+1)
	rs, err := Select[T](ctx, q, fmt.Sprintf(`SELECT id, position, record FROM %s ORDER BY position DESC, id DESC LIMIT $%d`, from, len(args)), args...)
	if err != nil {
		return nil, err
	}
	page := &Page[T]{Items: rs}
	if len(rs) > p.Limit {
		last := rs[p.Limit-1]
		page.Items, page.Next = rs[:p.Limit], formatCursor(int64(last.Position), last.ID)
	}
	return page, nil
}

func formatCursor(position int64, id string) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d.%s", position, id))
}

// parseCursor accepts exactly what formatCursor writes.
func parseCursor(s string) (position int64, id string, err error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) > 128 {
		return 0, "", ErrBadCursor
	}
	at, id, ok := strings.Cut(string(b), ".")
	if position, err = strconv.ParseInt(at, 10, 64); err != nil || !ok || position < 0 || strings.ContainsRune(id, 0) || formatCursor(position, id) != s {
		return 0, "", ErrBadCursor
	}
	return position, id, nil
}
