package catalog

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
)

// Limits of a search.
const (
	PageSize = 50
	maxRunes = 64
	maxWords = 8
	// CountLimit bounds the work of counting: beyond so many matches, counts are of the newest ones and say so.
	CountLimit = 500
)

// BadQuery says which part of a search can't be understood. It is the caller's mistake.
type BadQuery struct{ Field, What string }

func (e *BadQuery) Error() string { return e.Field + ": " + e.What }

// Query is a search of the shelf: every word and every selected facet must match.
type Query struct {
	Words  string
	Select map[Facet]string
	Count  []Facet // to count the matches by, on the first page only
	After  string  // cursor of the page before; "" for the first
	Limit  int     // 0: PageSize
}

// Listing is a version on the shelf.
type Listing struct {
	Card
	ListedAt contracts.Millis
}

// Page is a page of results, newest first.
type Page struct {
	Listings []Listing
	Next     string // cursor of the next page, "" on the last
	Counts   map[Facet]map[string]int64
	Counted  int64 // matches that were counted; CountLimit when there may be more
}

type filter struct {
	terms    []string // of words and facets
	words    []string // of words alone
	facets   []string
	manuals  bool // look for the words in the manuals
	patterns []string
	count    bool
	after    string
	limit    int
}

func (q *Query) filter() (f filter, err error) {
	if len([]rune(q.Words)) > maxRunes {
		return f, &BadQuery{"q", fmt.Sprintf("at most %d characters", maxRunes)}
	}
	rs := runs(q.Words)
	if len(rs) > maxWords {
		return f, &BadQuery{"q", fmt.Sprintf("at most %d words", maxWords)}
	}
	if strings.TrimSpace(q.Words) != "" && len(rs) == 0 {
		return f, &BadQuery{"q", "no letter, digit or Chinese character to look for"}
	}
	f.terms, f.patterns = lookup(rs)
	if len(f.patterns) > 0 && len(f.terms) == 0 {
		return f, &BadQuery{"q", "a word has two characters or more"}
	}
	var tags []tag
	for facet, value := range q.Select {
		if !slices.Contains(Facets, facet) {
			return f, &BadQuery{"facet", "unknown"}
		}
		if value == "" || len(value) > 200 {
			return f, &BadQuery{string(facet), "want 1 to 200 bytes"}
		}
		tags = append(tags, tag{facet, value})
	}
	f.words, f.facets = f.terms, tagLookup(tags)
	f.terms = slices.Concat(f.words, f.facets)
	for _, c := range q.Count {
		if !slices.Contains(Facets, c) {
			return f, &BadQuery{"count", "unknown facet"}
		}
	}
	f.count = len(q.Count) > 0 && q.After == ""
	if f.limit = q.Limit; f.limit <= 0 || f.limit > PageSize {
		f.limit = PageSize
	}
	f.after = q.After
	return f, nil
}

// sql gives the one statement of a search. Matches are the page and, when something is counted, what is counted beyond
// it. Without a word or facet there is no condition on terms, and the order's index alone answers. In manuals, the words
// are looked for there and the facets on the shelf.
func (f filter) sql() (string, []any, error) {
	var args []any
	arg := func(v any) string {
		args = append(args, v)
		return fmt.Sprintf("$%d", len(args))
	}
	from, cond, haystack, onShelf := "proj.shelf s", "s.listed", "h", f.terms
	switch {
	case f.manuals:
		from = "app.manual_texts t JOIN proj.versions v ON v.manual = t.digest JOIN proj.shelf s ON s.version = v.id"
		cond += " AND t.terms @> " + arg(codes(f.words)) + "::bigint[]"
		haystack, onShelf = "t", f.facets
	case len(f.patterns) > 0:
		from += " JOIN proj.cards h ON h.version = s.version"
	}
	if len(onShelf) > 0 {
		cond += " AND s.terms @> " + arg(codes(onShelf)) + "::bigint[]"
	}
	for _, p := range f.patterns {
		cond += " AND " + haystack + ".haystack LIKE " + arg(p)
	}
	if f.after != "" {
		at, err := parseCursor(f.after)
		if err != nil {
			return "", nil, err
		}
		cond += fmt.Sprintf(" AND (s.listed_at, s.version) < (%s, %s)", arg(at.listedAt), arg(at.version))
	}
	matches := f.limit + 1
	if f.count {
		matches = max(matches, CountLimit)
	}
	query := fmt.Sprintf(`
WITH matches AS MATERIALIZED (SELECT s.version, s.listed_at, s.facets FROM %s WHERE %s ORDER BY s.listed_at DESC, s.version DESC LIMIT %s),
page AS (SELECT version, listed_at FROM matches ORDER BY listed_at DESC, version DESC LIMIT %s)
SELECT 'card' AS what, p.version AS name, p.listed_at AS n, c.card FROM page p JOIN proj.cards c ON c.version = p.version`,
		from, cond, arg(matches), arg(f.limit+1))
	if f.count {
		query += `
UNION ALL
(SELECT 'facet', code::text, count(*), '' FROM matches, unnest(facets) AS code GROUP BY code)
UNION ALL
SELECT 'all', '', count(*), '' FROM matches`
	}
	return query, args, nil
}

// steered runs a search's statement with costs that fit it: the shelf is in memory, and looking for codes in an array of
// a hundred costs much more than the comparison that the planner takes it for. Without this it walks down the order's
// index through thousands of rows where the index of terms names a few hundred. Manuals are
// never found by reading all of them, few as they may be.
func (c *Catalog) steered(ctx context.Context, manuals bool, f func(*sqlx.Tx) error) error {
	tx, err := c.DB.BeginTxx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, `SET LOCAL random_page_cost = 1.1; SET LOCAL cpu_operator_cost = 0.05`); err != nil {
		return err
	}
	if manuals {
		if _, err := tx.ExecContext(ctx, `SET LOCAL enable_seqscan = off`); err != nil {
			return err
		}
	}
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// Search answers one page. It reads only indexes and the rows that they name. Words that nothing on the shelf has are looked
// for in the manuals: those name no facets, so common words would have to be joined with thousands of rows for each
// page, and what the shelf says of a product in its title is the better answer to them.
func (c *Catalog) Search(ctx context.Context, q Query) (*Page, error) {
	f, err := q.filter()
	if err != nil {
		return nil, err
	}
	page, err := c.search(ctx, q, f)
	if err != nil || len(page.Listings) > 0 {
		return page, err
	}
	if f.manuals, err = c.unheard(ctx, f); err != nil || !f.manuals {
		return page, err
	}
	return c.search(ctx, q, f)
}

// unheard reports whether the shelf lacks the words of a search, whatever the facets and the page.
func (c *Catalog) unheard(ctx context.Context, f filter) (bool, error) {
	if len(f.words) == 0 {
		return false, nil
	}
	words := filter{terms: f.words, patterns: f.patterns, limit: 1}
	query, args, err := words.sql()
	if err != nil {
		return false, err
	}
	known := false
	err = c.steered(ctx, false, func(tx *sqlx.Tx) error { return tx.GetContext(ctx, &known, "SELECT EXISTS ("+query+")", args...) })
	if err != nil {
		return false, fmt.Errorf("couldn't search the shelf: %w", err)
	}
	return !known, nil
}

func (c *Catalog) search(ctx context.Context, q Query, f filter) (*Page, error) {
	query, args, err := f.sql()
	if err != nil {
		return nil, err
	}
	var rows []struct {
		What string `db:"what"` // "card", "facet" or "all"
		Name string `db:"name"` // a version, or a facet's code
		N    int64  `db:"n"`    // when it was listed, or how many
		Card string `db:"card"`
	}
	err = c.steered(ctx, f.manuals, func(tx *sqlx.Tx) error { return tx.SelectContext(ctx, &rows, query, args...) })
	if err != nil {
		return nil, fmt.Errorf("couldn't search the shelf: %w", err)
	}
	page := &Page{}
	counts := map[int64]int64{}
	for _, r := range rows {
		switch r.What {
		case "card":
			l := Listing{ListedAt: contracts.Millis(r.N)}
			if err := canon.Unmarshal([]byte(r.Card), &l.Card); err != nil {
				return nil, fmt.Errorf("couldn't decode the card of %s: %w", r.Name, err)
			}
			page.Listings = append(page.Listings, l)
		case "facet":
			code, err := strconv.ParseInt(r.Name, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("couldn't read a facet's code: %w", err)
			}
			counts[code] = r.N
		case "all":
			page.Counted = r.N
		}
	}
	if f.count {
		if page.Counts, err = c.name(ctx, q.Count, counts); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(page.Listings, func(a, b Listing) int {
		return cmp.Or(cmp.Compare(b.ListedAt, a.ListedAt), cmp.Compare(b.Version, a.Version))
	})
	if len(page.Listings) > f.limit {
		page.Listings = page.Listings[:f.limit]
		last := page.Listings[f.limit-1]
		page.Next = cursor{int64(last.ListedAt), string(last.Version)}.String()
	}
	return page, nil
}

// cursor is the last row of a page. Its text is opaque to callers.
type cursor struct {
	listedAt int64
	version  string
}

func (c cursor) String() string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d.%s", c.listedAt, c.version))
}

func parseCursor(s string) (c cursor, err error) {
	bad := &BadQuery{"after", "this is no cursor of a page"}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) > 64 {
		return c, bad
	}
	if _, err := fmt.Sscanf(string(b), "%d.%s", &c.listedAt, &c.version); err != nil {
		return c, bad
	}
	if contracts.ID(c.version).Check() != nil || c.String() != s {
		return c, bad
	}
	return c, nil
}
