package projection

import (
	"context"
	"fmt"
	"strings"

	"github.com/jmoiron/sqlx"
)

// Upsert writes many rows with one statement: every column is one text[] parameter, unnested side by side and cast to
// the column's type.
type Upsert struct {
	Table string
	Key   string            // the primary key; "" inserts only
	Set   map[string]string // columns whose new value is not the row's: an SQL expression over EXCLUDED and the table

	names, casts []string
	values       [][]string
}

// Add adds a column. All columns have the same number of values.
func (u *Upsert) Add(name, cast string, values []string) {
	u.names, u.casts, u.values = append(u.names, name), append(u.casts, cast), append(u.values, values)
}

// Exec writes the rows.
func (u *Upsert) Exec(ctx context.Context, tx *sqlx.Tx) error {
	if len(u.values) == 0 || len(u.values[0]) == 0 {
		return nil
	}
	args := make([]any, len(u.values))
	for i, v := range u.values {
		args[i] = Array(v)
	}
	if _, err := tx.ExecContext(ctx, u.sql(), args...); err != nil {
		return fmt.Errorf("couldn't write %s: %w", u.Table, err)
	}
	return nil
}

func (u *Upsert) sql() string {
	var from, take, set []string
	var as []string
	for i, n := range u.names {
		from = append(from, fmt.Sprintf("$%d::text[]", i+1))
		as = append(as, fmt.Sprintf("c%d", i))
		take = append(take, fmt.Sprintf("c%d::%s", i, u.casts[i]))
		if n == u.Key {
			continue
		}
		if expr, ok := u.Set[n]; ok {
			set = append(set, n+" = "+expr)
		} else {
			set = append(set, n+" = EXCLUDED."+n)
		}
	}
	s := fmt.Sprintf("INSERT INTO %s AS old (%s) SELECT %s FROM unnest(%s) AS u (%s)", u.Table, strings.Join(u.names, ", "),
		strings.Join(take, ", "), strings.Join(from, ", "), strings.Join(as, ", "))
	if u.Key != "" {
		s += fmt.Sprintf(" ON CONFLICT (%s) DO UPDATE SET %s", u.Key, strings.Join(set, ", "))
	}
	return s
}

// Array writes strings as the text form of a PostgreSQL text[].
func Array[S ~string](ss []S) string {
	n := 2
	for _, s := range ss {
		n += len(s) + 3
	}
	var b strings.Builder
	b.Grow(n + n/8)
	b.WriteByte('{')
	for i, s := range ss {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		start := 0
		for j := range len(s) {
			if s[j] == '"' || s[j] == '\\' {
				b.WriteString(string(s[start:j]))
				b.WriteByte('\\')
				start = j
			}
		}
		b.WriteString(string(s[start:]))
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}
