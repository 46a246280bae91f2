package score

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// BenchmarkScore prints the figures: 100,000 companies of 20 features on one core, as CPU time of the whole process,
// median of five. score.seconds_100k is all that the provider does: encoding, sum, re-randomisation, flood, packing.
func BenchmarkScore(b *testing.B) {
	const companies, features, runs = 100_000, 20, 5
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	card := &Card{Base: 77}
	for i := range features {
		card.Spec.Features = append(card.Spec.Features, Feature{Name: "F" + strconv.Itoa(i), Kind: Linear, Step: 1_000_000, Max: MaxLevels - 1})
		card.Weights = append(card.Weights, []int64{int64(i*7919%20011) - 10_000})
	}
	rng := rand.New(rand.NewChaCha8([32]byte{20}))
	rows := make([][]int64, companies)
	for i := range rows {
		rows[i] = make([]int64, features)
		for j := range rows[i] {
			rows[i][j] = rng.Int64N(MaxLevels)
		}
	}
	s, ids := seal(b, card), names(companies)
	for b.Loop() {
		var encrypt, prepare, evaluate, open []float64
		var answer []byte
		mismatches := 0
		for range runs {
			var batch *Batch
			var err error
			encrypt = append(encrypt, cpu(func() {
				var out bytes.Buffer
				_, err = EncryptModel(&out, card, s.secret)
			}))
			if err != nil {
				b.Fatal(err)
			}
			prepare = append(prepare, cpu(func() { batch, err = PrepareFeatures(&card.Spec, ids, rows) }))
			if err != nil {
				b.Fatal(err)
			}
			evaluate = append(evaluate, cpu(func() { answer, err = provider().Evaluate(b.Context(), s.model, batch) }))
			if err != nil {
				b.Fatal(err)
			}
			var scores []Score
			open = append(open, cpu(func() { scores, err = s.key.Open(answer, s.digest, companies) }))
			if err != nil {
				b.Fatal(err)
			}
			for i, got := range scores {
				want := card.Base
				for j, v := range rows[i] {
					want += card.Weights[j][0] * v
				}
				if got.Absent || got.Value != want {
					mismatches++
				}
			}
		}
		for i := range prepare {
			evaluate[i] += prepare[i]
		}
		fmt.Printf("figure score.seconds_100k %.3f s\n", median(evaluate))
		fmt.Printf("figure score.prepare_seconds_100k %.3f s\n", median(prepare))
		fmt.Printf("figure score.bytes_per_company %.2f B\n", float64(len(answer))/companies)
		fmt.Printf("figure score.mismatches %d companies\n", mismatches)
		fmt.Printf("figure score.open_seconds_100k %.3f s\n", median(open))
		fmt.Printf("figure score.encrypt_model_seconds %.3f s\n", median(encrypt))
		fmt.Printf("figure score.model_mb %.2f MB\n", float64(len(s.bytes))/1e6)
	}
}

// cpu is the processor time that the process takes for f, in seconds: the collector's share of it, too.
func cpu(f func()) float64 {
	runtime.GC()
	before := usage()
	f()
	return (usage() - before).Seconds()
}

func usage() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
