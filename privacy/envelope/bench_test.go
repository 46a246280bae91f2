package envelope

import (
	"fmt"
	"io"
	"slices"
	"syscall"
	"testing"
	"time"
)

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSeal prints how many MiB of content one core seals, digests included, in a second: the median of five.
func BenchmarkSeal(b *testing.B) {
	k, data := testKey(1), content(64<<20)
	var runs []float64
	for range 5 {
		start := cpu()
		w, err := Seal(io.Discard, k.Public(), binding(k))
		if err != nil {
			b.Fatal(err)
		}
		w.Write(data)
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
		runs = append(runs, 64/(cpu()-start).Seconds())
	}
	slices.Sort(runs)
	fmt.Printf("figure envelope.seal %.0f MiB/s\n", runs[2])
}
