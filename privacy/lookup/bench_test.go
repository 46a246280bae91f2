package lookup

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cloudflare/circl/group"
	"github.com/cloudflare/circl/oprf"
)

// cpu is the time that all of this process spent on processors.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// spent gives the processor time of f.
func spent(f func()) time.Duration {
	runtime.GC()
	before := cpu()
	f()
	return cpu() - before
}

func median(xs []float64) float64 {
	slices.Sort(xs)
	return xs[len(xs)/2]
}

const benchRuns = 5

// BenchmarkLookup prints the figures of private lookups: processor time of the whole process, median of five. What is
// compared is run in turns. For lookup.workers_ratio see workersRatio.
func BenchmarkLookup(b *testing.B) {
	w := newWorld(b, 1, Plan{})
	ctx := context.Background()
	queries := func(n, each int) (qs []*Query) {
		for i := range n {
			var in [][]byte
			for j := range each {
				in = append(in, id(i*each+j))
			}
			q, err := NewQuery(w.c, in)
			ok(b, err)
			qs = append(qs, q)
		}
		return qs
	}
	evaluate := func(e *Evaluator, qs []*Query) (answers [][]byte) {
		for _, q := range qs {
			a, err := e.Evaluate(ctx, q.Request())
			ok(b, err)
			answers = append(answers, a)
		}
		return answers
	}
	for b.Loop() {
		single, batch := queries(200, 1), queries(5, 100)
		one := *w.e
		one.Workers = 1
		var ratio, perCore, finalize, circl, prove []float64
		for range benchRuns {
			alone := spent(func() { evaluate(&one, single) }).Seconds() / 200
			var answers [][]byte
			together := spent(func() { answers = evaluate(&one, batch) }).Seconds() / 500
			ratio = append(ratio, alone/together)
			prove = append(prove, together*1e6)

			es := make([]group.Element, 1000)
			out := make([]byte, ElementBytes*len(es))
			in := queries(1, len(es))[0]
			plain := spent(func() {
				ok(b, decode(es, in.request.elements, 0, len(es)))
				for i := range es {
					copy(element(out, i), appendElement(nil, es[i].Mul(es[i], one.key.k)))
				}
			})
			perCore = append(perCore, float64(len(es))/plain.Seconds())

			ours := spent(func() {
				for i, q := range batch {
					_, err := q.Finalize(ctx, answers[i])
					ok(b, err)
				}
			}).Seconds() / 500
			finalize = append(finalize, ours*1e6)
			circl = append(circl, circlFinalize(b, w.key, 5, 100)/ours)
		}
		fmt.Printf("figure lookup.batch_ratio %.2f ratio\n", median(ratio))
		fmt.Printf("figure lookup.ids_per_s %.0f 1/s\n", median(perCore))
		fmt.Printf("figure lookup.evaluate_us %.0f us\n", median(prove))
		fmt.Printf("figure lookup.finalize_us %.0f us\n", median(finalize))
		fmt.Printf("figure lookup.finalize_vs_circl %.2f ratio\n", median(circl))
		fmt.Printf("figure lookup.workers_ratio %.2f ratio\n", workersRatio(b, w, queries(1, 4096)[0]))
		fmt.Printf("figure lookup.build_us %.0f us\n", buildTime(b))
	}
}

// circlFinalize gives the processor seconds per id of circl's own finalisation.
func circlFinalize(b *testing.B, key *EpochKey, n, each int) float64 {
	sk := new(oprf.PrivateKey)
	ok(b, sk.UnmarshalBinary(oprf.SuiteRistretto255, appendScalar(nil, key.k)))
	client := oprf.NewVerifiableClient(oprf.SuiteRistretto255, sk.Public())
	server := oprf.NewVerifiableServer(oprf.SuiteRistretto255, sk)
	var all []*oprf.FinalizeData
	var answers []*oprf.Evaluation
	for i := range n {
		var in [][]byte
		for j := range each {
			in = append(in, id(i*each+j))
		}
		f, q, err := client.Blind(in)
		ok(b, err)
		a, err := server.Evaluate(q)
		ok(b, err)
		all, answers = append(all, f), append(answers, a)
	}
	return spent(func() {
		for i := range all {
			_, err := client.Finalize(all[i], answers[i])
			ok(b, err)
		}
	}).Seconds() / float64(n*each)
}

// workersRatio is how much sooner two workers answer than one. Wall time says nothing where others use the processors, so
// it is made of what doesn't depend on them: how many workers are busy on average, running or waiting for a processor,
// and how much more work two do in all than one; two at most. On an idle machine that is the ratio of wall times.
func workersRatio(b *testing.B, w *world, q *Query) float64 {
	var rs []float64
	for range benchRuns {
		var work, busy [3]float64
		for _, n := range []int{1, 2} {
			e := *w.e
			e.Workers = n
			var mu sync.Mutex
			var total time.Duration
			e.busy = func() func() {
				began := time.Now()
				return func() {
					mu.Lock()
					defer mu.Unlock()
					total += time.Since(began)
				}
			}
			var took time.Duration
			work[n] = spent(func() {
				began := time.Now()
				_, err := e.Evaluate(context.Background(), q.Request())
				ok(b, err)
				took = time.Since(began)
			}).Seconds()
			busy[n] = total.Seconds() / took.Seconds()
		}
		rs = append(rs, min(2, busy[2]/busy[1]*work[1]/work[2]))
	}
	return median(rs)
}

// buildTime is the processor time of one row of a table, in µs.
func buildTime(b *testing.B) float64 {
	key, err := NewEpochKey(1, 0)
	ok(b, err)
	var xs []float64
	for range benchRuns {
		xs = append(xs, spent(func() {
			_, _, err := build(b, key, Plan{RecordBytes: 256}, rowsOf(2000))
			ok(b, err)
		}).Seconds()/2000*1e6)
	}
	return median(xs)
}
