package stats

import (
	"crypto/rand"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
)

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkReports prints how many reports of a histogram of 100 buckets one core prepares and adds up in a second, the
// work of both aggregators together, each deciding for itself: the median of five by the CPU time of the process. Beside
// it, what splitting and sealing takes a contributor, and the whole way from upload to total, HPKE and store included.
func BenchmarkReports(b *testing.B) {
	m := contracts.Measure{Kind: "histogram"}
	for i := range int64(99) {
		m.Buckets = append(m.Buckets, 1000*(i+1))
	}
	w := newWorld(b, m)
	s := w.agg[0].scheme
	const n = 1500
	type report struct {
		id     nonce
		public []byte
		inputs [2][]byte
	}
	reports := make([]report, n)
	random := make([]byte, s.size.random)
	for i := range reports {
		rand.Read(reports[i].id[:])
		rand.Read(random)
		var err error
		if reports[i].public, reports[i].inputs, err = s.shard(uint64(i%100), &reports[i].id, random); err != nil {
			b.Fatal(err)
		}
	}
	verify := verifyKey(w.verify)
	prepare := func() {
		var totals [2]*total
		for role := range totals {
			totals[role], _ = s.total(nil)
		}
		for _, r := range reports {
			var ps [2]*preparation
			for role := range ps {
				var err error
				if ps[role], err = s.begin(&verify, &r.id, uint8(role), r.public, r.inputs[role]); err != nil {
					b.Fatal(err)
				}
			}
			for role := range ps {
				out, err := ps[role].finish(ps[1-role].own)
				if err != nil {
					b.Fatal(err)
				}
				totals[role].add(out)
			}
		}
	}
	values := make([]int64, n)
	for i := range values {
		values[i] = int64(i) * 70
	}
	figure("stats.reports_per_s", n, prepare)
	figure("stats.split_per_s", n, func() { w.uploads(values...) })
	var up [2][][]byte
	var runs []float64
	for range 5 {
		w, up = newWorld(b, m), w.uploads(values...)
		start := cpu()
		for role := range up {
			for _, x := range up[role] {
				if err := w.receive(role, banks[0], x); err != nil {
					b.Fatal(err)
				}
			}
		}
		for again := true; again; {
			_, again = w.exchange(n)
		}
		runs = append(runs, n/(cpu()-start).Seconds())
	}
	slices.Sort(runs)
	fmt.Printf("figure stats.whole_way_per_s %.0f reports/s\n", runs[2])
}

func figure(name string, n float64, run func()) {
	var runs []float64
	for range 5 {
		start := cpu()
		run()
		runs = append(runs, n/(cpu()-start).Seconds())
	}
	slices.Sort(runs)
	fmt.Printf("figure %s %.0f reports/s\n", name, runs[2])
}
