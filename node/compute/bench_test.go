package compute

import (
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/parquet-go/parquet-go"
)

// spentCPU is the processor time of this process and its ended children.
func spentCPU(t testing.TB) time.Duration {
	t.Helper()
	var d int64
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if err := unix.Getrusage(who, &u); err != nil {
			t.Fatal(err)
		}
		d += u.Utime.Nano() + u.Stime.Nano()
	}
	return time.Duration(d)
}

func median(xs []float64) float64 { slices.Sort(xs); return xs[len(xs)/2] }

const benchRows, benchGroups = 1_000_000, 3000

// million is a dataset of a million subjects in 3,000 towns.
func million() *rowsInMemory {
	rows := make([][]string, benchRows)
	for i := range rows {
		h := uint64(i)*0x9e3779b97f4a7c15 ^ uint64(i)>>7*0xc2b2ae3d27d4eb4f
		rows[i] = []string{fmt.Sprintf("%018d", i), "2026-01-01", []string{"farm", "shop", "mill"}[h%3], fmt.Sprintf("town-%04d", h>>20%benchGroups), fmt.Sprint(h >> 40 % 1_000_000), fmt.Sprintf("%d.25", h>>30%100000), "true", ""}
	}
	return &rowsInMemory{enterprises(), rows}
}

// plainParquet writes the rows as anybody would: texts as texts, compressed.
func plainParquet(b *testing.B, src *rowsInMemory) string {
	type row struct {
		Code  string  `parquet:"code,snappy"`
		Town  string  `parquet:"town,dict,snappy"`
		Staff int64   `parquet:"staff,snappy"`
		Tax   float64 `parquet:"tax,snappy"`
	}
	path := filepath.Join(b.TempDir(), "rows.parquet")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	w := parquet.NewGenericWriter[row](f, parquet.MaxRowsPerRowGroup(122_880))
	for _, r := range src.rows {
		var x row
		x.Code, x.Town = r[0], r[3]
		fmt.Sscan(r[4], &x.Staff)
		fmt.Sscan(r[5], &x.Tax)
		if _, err := w.Write([]row{x}); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	return path
}

// BenchmarkCompute prints what a query takes before noise, child process and cohorts included, against DuckDB in this
// process over the same rows in a common Parquet file, and what noise takes beside. The text that DuckDB answers is
// what somebody would write who has no need of any of this.
func BenchmarkCompute(b *testing.B) {
	src := million()
	tb, err := openTable(b.Context(), b.TempDir(), src)
	if err != nil {
		b.Fatal(err)
	}
	spec := Spec{Epsilon: "1", GroupBy: []string{"town"}, Aggregates: []Aggregate{{Function: Count}, {Field: "staff", Function: Sum, Lower: "0", Upper: "500000"}, {Field: "tax", Function: Mean, Lower: "0", Upper: "100000"}}}.Ordered()
	p, r := compile(&spec, src.schema, &tb.header, 1)
	if r != nil {
		b.Fatal(r)
	}
	p.fits(p.split(1000))
	path := plainParquet(b, src)
	src.rows = nil
	runner := &Runner{Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	measure := func(f func()) float64 {
		at := spentCPU(b)
		f()
		return float64((spentCPU(b) - at).Microseconds()) / 1000
	}
	var ours, raws, warms, plains, noises []float64
	for range 5 {
		var cells []exactCell
		ours = append(ours, measure(func() {
			f := openFile(b, tb.path)
			e, err := runner.run(b.Context(), f, &p.program, tb.Subjects)
			if err != nil {
				b.Fatal(err)
			}
			f.Close()
			cells = e.cells
		}))
		if len(cells) != benchGroups {
			b.Fatalf("%d groups", len(cells))
		}
		plains = append(plains, measure(func() {
			if _, err := plainEngine(tb.path, &p.program); err != nil {
				b.Fatal(err)
			}
		}))
		var warm float64
		raws = append(raws, measure(func() { warm = rawDuckDB(b, path, measure) }))
		warms = append(warms, warm)
		begun := time.Now()
		if _, err := p.figures(cells, &tb.header, p.split(1000).part); err != nil {
			b.Fatal(err)
		}
		noises = append(noises, float64(time.Since(begun).Microseconds())/1000)
	}
	o, raw, plain := median(ours), median(raws), median(plains)
	fmt.Printf("figure compute.ms %.1f ms\n", o)
	fmt.Printf("figure compute.plain_ms %.1f ms\n", plain)
	if raw > 0 {
		fmt.Printf("figure compute.duckdb_ms %.1f ms\n", raw)
		fmt.Printf("figure compute.vs_duckdb %.2f ratio\n", o/raw)
		fmt.Printf("figure compute.vs_duckdb_open %.2f ratio\n", o/median(warms)) // against a DuckDB that is open already
	}
	fmt.Printf("figure compute.noise_ms %.1f ms\n", median(noises))
}

// rawDuckDB opens DuckDB as everybody does, asks, and reads the rows; it gives what asking alone took.
func rawDuckDB(b *testing.B, path string, measure func(func()) float64) (asked float64) {
	if !slices.Contains(sql.Drivers(), "duckdb") {
		return 0
	}
	db, err := sql.Open("duckdb", "")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	if err := db.PingContext(b.Context()); err != nil {
		b.Fatal(err)
	}
	return measure(func() { askDuckDB(b, db, path) })
}

func askDuckDB(b *testing.B, db *sql.DB, path string) {
	rows, err := db.QueryContext(b.Context(), "SELECT town, count(*), sum(least(greatest(staff, 0), 500000)), avg(least(greatest(tax, 0), 100000)) FROM '"+path+"' GROUP BY town")
	if err != nil {
		b.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for rows.Next() {
		var town string
		var count int64
		var sum, avg any
		if err := rows.Scan(&town, &count, &sum, &avg); err != nil {
			b.Fatal(err)
		}
		n++
	}
	if err := rows.Err(); err != nil || n != benchGroups {
		b.Fatal(n, err)
	}
}
