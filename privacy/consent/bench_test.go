package consent

import (
	"fmt"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
)

// cpu is the time that all of this process spent on processors.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// median of five runs of f, which is for n companies: processor time of the whole process for each, in µs.
func median(n int, f func()) float64 {
	var xs []float64
	for range 5 {
		runtime.GC()
		before := cpu()
		f()
		xs = append(xs, float64((cpu()-before).Microseconds())/float64(n))
	}
	slices.Sort(xs)
	return xs[2]
}

// BenchmarkConsent prints what a company costs each party, in tickets for a hundred.
func BenchmarkConsent(b *testing.B) {
	s := newScene(b)
	var ns []int
	for i := range 100 {
		ns = append(ns, i)
	}
	q, held := s.query(b, ns...)
	for b.Loop() {
		var a *Application
		var x *Ticket
		var err error
		apply := median(len(ns), func() { a, err = Apply(q, s.binding(), held); ok(b, err) })
		issue := median(len(ns), func() { x, err = s.issue(b, a); ok(b, err) })
		verify := median(20*len(ns), func() {
			for range 20 {
				c := s.call
				c.Use = contracts.HashOf("test/call")
				ok(b, x.Verify(q.Request(), c, now, s.spent))
			}
		})
		fmt.Printf("figure consent.apply_us %.0f us\nfigure consent.issue_us %.0f us\nfigure consent.verify_us %.2f us\nfigure consent.ticket_bytes %d bytes\n", apply, issue, verify, len(x.Bytes()))
	}
}
