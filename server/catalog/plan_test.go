package catalog_test

import (
	"encoding/json"
	"testing"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/server/catalog"
	"github.com/bund-exchange/bund/server/catalog/catalogtest"
	"github.com/bund-exchange/bund/server/pg/pgtest"
)

// nodes lists the kinds of nodes of a plan that PostgreSQL explained.
func nodes(t *testing.T, plan string) (out []string) {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(plan), &v); err != nil {
		t.Fatal(err)
	}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, x := range v {
				walk(x)
			}
		case map[string]any:
			if kind, ok := v["Node Type"].(string); ok {
				name, _ := v["Index Name"].(string)
				out = append(out, kind+" "+name)
			}
			for _, x := range v {
				walk(x)
			}
		}
	}
	walk(v)
	return out
}

// Every search has a plan that reads indexes only. On so small a shelf PostgreSQL may still think that reading all of
// it is cheaper, so that choice is closed to it; the figure's program checks the open choice at its full size.
func TestSearchNeedsNoSequentialScan(t *testing.T) {
	db := pgtest.New(t)
	db.SetMaxOpenConns(1)
	db.MustExec(`SET enable_seqscan = off`)
	if err := catalogtest.Fill(ctx, db, 3000, 1); err != nil {
		t.Fatal(err)
	}
	one := func(q catalog.Query) {
		t.Helper()
		for _, n := range nodes(t, explain(t, db, q)) {
			if n == "Seq Scan " {
				t.Errorf("%+v reads a whole table: %v", q, nodes(t, explain(t, db, q)))
			}
		}
	}
	for _, q := range catalogtest.Queries(40, 1) {
		one(q)
	}
	c := &catalog.Catalog{DB: db}
	first, err := c.Search(ctx, catalog.Query{Words: "企业"})
	if err != nil || first.Next == "" {
		t.Fatalf("the first page: %v, next %q", err, first.Next)
	}
	one(catalog.Query{Words: "企业", After: first.Next})
	one(catalog.Query{})
	one(catalog.Query{Words: "小微企业纳税 inv"})
	one(catalog.Query{Select: map[catalog.Facet]string{catalog.ByProvider: "x"}})
}

func explain(t *testing.T, db *sqlx.DB, q catalog.Query) string {
	t.Helper()
	plan, err := (&catalog.Catalog{DB: db}).Explain(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}
