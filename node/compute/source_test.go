package compute

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/dictionary"
)

// rowsInMemory is a snapshot without a file.
type rowsInMemory struct {
	schema *dictionary.Dictionary
	rows   [][]string // by key, newest last
}

func (r *rowsInMemory) Schema() *dictionary.Dictionary { return r.schema }
func (r *rowsInMemory) Rows() int64                    { return int64(len(r.rows)) }

func (r *rowsInMemory) Digest() contracts.Hash {
	return contracts.HashOf("test", []byte(fmt.Sprint(r.rows)))
}

func (r *rowsInMemory) Each(_ context.Context, f func([][]byte) error) error {
	for _, row := range r.rows {
		values := make([][]byte, len(row))
		for i, v := range row {
			values[i] = []byte(v)
		}
		if err := f(values); err != nil {
			return err
		}
	}
	return nil
}

// enterprises is a schema with a field of every type.
func enterprises() *dictionary.Dictionary {
	titled := func(f dictionary.Field) dictionary.Field {
		f.Title, f.TitleEn = "字段", "field"
		if f.Nullable {
			f.Empty, f.EmptyEn = "未知", "unknown"
		}
		return f
	}
	s := &dictionary.Dictionary{Key: "code", AsOf: "day", Fields: []dictionary.Field{
		titled(dictionary.Field{Name: "code", Type: dictionary.Text}),
		titled(dictionary.Field{Name: "day", Type: dictionary.Date}),
		titled(dictionary.Field{Name: "trade", Type: dictionary.Coded, Nullable: true, Codes: []dictionary.Code{{Code: "farm", Title: "农", TitleEn: "farm"}, {Code: "shop", Title: "商", TitleEn: "shop"}, {Code: "mill", Title: "工", TitleEn: "mill"}}}),
		titled(dictionary.Field{Name: "town", Type: dictionary.Text, Nullable: true}),
		titled(dictionary.Field{Name: "staff", Type: dictionary.Integer, Nullable: true}),
		titled(dictionary.Field{Name: "tax", Type: dictionary.Decimal, Scale: 2}),
		titled(dictionary.Field{Name: "listed", Type: dictionary.Boolean, Nullable: true}),
		titled(dictionary.Field{Name: "seen", Type: dictionary.Instant, Nullable: true}),
	}}
	if err := s.Check(); err != nil {
		panic(err)
	}
	return s
}

// sorted brings rows into a snapshot's order.
func sorted(rows [][]string) [][]string {
	slices.SortFunc(rows, func(a, b []string) int { return strings.Compare(a[0]+"\x00"+a[1], b[0]+"\x00"+b[1]) })
	return rows
}

func mustTable(t testing.TB, src Source) *table {
	t.Helper()
	tb, err := openTable(t.Context(), t.TempDir(), src)
	if err != nil {
		t.Fatal(err)
	}
	return tb
}
