// Command catalogbench measures a page of search results over HTTP on loopback, and in the query layer: 100,000 products,
// pages of 50, a word of two characters, two facets, counts, 8 callers, 2,000 random queries. It starts a PostgreSQL of
// its own unless DATABASE_URL names an empty database.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bund-exchange/bund/server/catalog"
	"github.com/bund-exchange/bund/server/catalog/catalogtest"
	"github.com/bund-exchange/bund/server/pg"
)

func main() {
	products := flag.Int("products", 100_000, "on the shelf")
	queries := flag.Int("queries", 2_000, "random ones, after as many to warm up")
	callers := flag.Int("callers", 8, "at once")
	flag.Parse()
	if err := run(context.Background(), *products, *queries, *callers); err != nil {
		fmt.Fprintln(os.Stderr, "catalogbench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, products, queries, callers int) error {
	dir, err := os.MkdirTemp("", "catalogbench")
	if err != nil {
		return fmt.Errorf("couldn't make a folder: %w", err)
	}
	defer os.RemoveAll(dir)
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	db, err := pg.Open(ctx, pg.Config{URL: os.Getenv("DATABASE_URL"), Dir: filepath.Join(dir, "pg"), Log: quiet})
	if err != nil {
		return err
	}
	defer db.Close()
	if err := pg.Migrate(ctx, db.DB, quiet); err != nil {
		return err
	}
	began := time.Now()
	if err := catalogtest.Fill(ctx, db.DB, products, 1); err != nil {
		return err
	}
	fmt.Printf("figure catalog.fill_s %.1f s\n", time.Since(began).Seconds())
	scans, err := sequentialScans(ctx, &catalog.Catalog{DB: db.DB}, catalogtest.Queries(queries, 2))
	if err != nil {
		return err
	}
	fmt.Printf("figure catalog.sequential_scans %d plans\n", scans)
	c := &catalog.Catalog{DB: db.DB}
	api, stop, err := serve(db.DB, callers)
	if err != nil {
		return err
	}
	defer stop()
	for i, m := range []struct {
		name string
		ask  func(context.Context, catalog.Query) error
	}{
		{"catalog.query", func(ctx context.Context, q catalog.Query) error {
			q.Count = nil
			_, err := c.Search(ctx, q)
			return err
		}},
		{"catalog.query_counted", func(ctx context.Context, q catalog.Query) error {
			_, err := c.Search(ctx, q)
			return err
		}},
		{"catalog.page", api.page},
	} {
		if _, err := measure(ctx, m.ask, queries, callers, uint64(i)); err != nil { // fills the caches
			return err
		}
		took, err := measure(ctx, m.ask, queries, callers, uint64(10+i))
		if err != nil {
			return err
		}
		fmt.Printf("figure %s_p50_ms %.2f ms\nfigure %s_p99_ms %.2f ms\nfigure %s_max_ms %.2f ms\n",
			m.name, took[len(took)/2], m.name, took[len(took)*99/100], m.name, took[len(took)-1])
	}
	return nil
}

func sequentialScans(ctx context.Context, c *catalog.Catalog, qs []catalog.Query) (n int, err error) {
	for _, q := range qs {
		plan, err := c.Explain(ctx, q)
		if err != nil {
			return n, err
		}
		if strings.Contains(plan, `"Seq Scan"`) {
			n++
		}
	}
	return n, nil
}

// measure gives the milliseconds that each query took, ascending.
func measure(ctx context.Context, ask func(context.Context, catalog.Query) error, queries, callers int, seed uint64) ([]float64, error) {
	qs := catalogtest.Queries(queries, seed)
	took, errs := make([]float64, len(qs)), make([]error, callers)
	var wg sync.WaitGroup
	for w := range callers {
		wg.Go(func() {
			for i := w; i < len(qs); i += callers {
				began := time.Now()
				if errs[w] = ask(ctx, qs[i]); errs[w] != nil {
					return
				}
				took[i] = float64(time.Since(began).Microseconds()) / 1000
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	slices.Sort(took)
	return took, nil
}
