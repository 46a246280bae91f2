package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
)

// cpuPerCall is what a benchmark of node/meter reports of one call, both sides together.
var cpuPerCall = regexp.MustCompile(`(?m)^Benchmark(Bare|Metered)Call\S*\s.*?([0-9.]+) cpu-µs/call`)

// metered compares calls without and with gate and meter, in one run: the medians of three each.
func metered(ctx context.Context) error {
	var out bytes.Buffer
	err := streamTo(ctx, io.MultiWriter(os.Stdout, &out), "go", "test", "./node/meter", "-run", "^$", "-bench", "^Benchmark(Bare|Metered)Call$", "-benchtime", "4s", "-count", "3", "-timeout", "20m")
	if err != nil {
		return err
	}
	bare, with, err := medians(out.Bytes())
	if err != nil {
		return err
	}
	fmt.Printf("figure node.metered_us %.1f us\nfigure node.metered_ratio_memory %.3f ratio\n", with-bare, with/bare)
	return nil
}

func medians(out []byte) (bare, with float64, err error) {
	got := map[string][]float64{}
	for _, m := range cpuPerCall.FindAllSubmatch(out, -1) {
		v, err := strconv.ParseFloat(string(m[2]), 64)
		if err != nil {
			return 0, 0, err
		}
		got[string(m[1])] = append(got[string(m[1])], v)
	}
	b, w := got["Bare"], got["Metered"]
	if len(b) == 0 || len(w) == 0 {
		return 0, 0, errors.New("the benchmarks report no cpu-µs/call")
	}
	slices.Sort(b)
	slices.Sort(w)
	return b[len(b)/2], w[len(w)/2], nil
}
