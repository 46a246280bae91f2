package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	intersectionRuns = 5
	million          = 1_000_000
	// peersToolchain is what github.com/optable/match v1.4.0 compiles with: the product's own toolchain fails on its assembly.
	peersToolchain = "go1.24.11"
)

// intersection measures set intersection: our own as two node processes with sessions on disk, beside optable's dhpsi
// and kkrt, which keep everything in one process's memory. Runs are interleaved, so that a busy machine meets all
// alike; figures are medians of CPU time of whole processes. BENCH_PSI_IDS and BENCH_PSI_LARGE shorten a trial.
func intersection(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "intersectionbench")
	if err != nil {
		return fmt.Errorf("couldn't make a folder: %w", err)
	}
	defer os.RemoveAll(dir)
	own, peers := filepath.Join(dir, "own"), filepath.Join(dir, "peers")
	if err := stream(ctx, "go", "build", "-o", own, "./node/session/psibench"); err != nil {
		return fmt.Errorf("couldn't build: %w", err)
	}
	c := exec.CommandContext(ctx, "go", "build", "-o", peers, ".")
	c.Dir, c.Env, c.Stdout, c.Stderr = "bench/peers", append(os.Environ(), "GOTOOLCHAIN="+peersToolchain), os.Stderr, os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("couldn't build peers: %w", err)
	}
	n := strconv.Itoa(fromEnv("BENCH_PSI_IDS", 100_000))
	var vsDHPSI, vsKKRT, bytesRatio []float64
	for range intersectionRuns {
		ours, err := measure(ctx, own, "-n", n)
		if err != nil {
			return err
		}
		dhpsi, err := measure(ctx, peers, "-protocol", "dhpsi", "-n", n)
		if err != nil {
			return err
		}
		kkrt, err := measure(ctx, peers, "-protocol", "kkrt", "-n", n)
		if err != nil {
			return err
		}
		vsDHPSI = append(vsDHPSI, dhpsi["cpu_ms"]/ours["cpu_ms"])
		vsKKRT = append(vsKKRT, ours["cpu_ms"]/kkrt["cpu_ms"])
		bytesRatio = append(bytesRatio, ours["bytes"]/dhpsi["bytes"])
	}
	fmt.Printf("figure psi.vs_dhpsi_portable %.2f times less CPU\n", median(vsDHPSI))
	fmt.Printf("figure psi.vs_kkrt %.2f times its CPU\n", median(vsKKRT))
	fmt.Printf("figure psi.bytes_ratio %.3f of dhpsi's\n", median(bytesRatio))
	large := fromEnv("BENCH_PSI_LARGE", million)
	ours, err := measure(ctx, own, "-n", strconv.Itoa(large))
	if err != nil {
		return err
	}
	if large != million {
		return nil // a trial
	}
	fmt.Printf("figure psi.rss_1m_mb %.0f MB\n", ours["rss_kb"]/1024)
	fmt.Printf("figure psi.cpu_1m_s %.1f s\n", ours["cpu_ms"]/1000)
	return nil
}

// measure runs a program that prints names and numbers on one line.
func measure(ctx context.Context, program string, args ...string) (map[string]float64, error) {
	c := exec.CommandContext(ctx, program, args...)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("couldn't run %s %s: %w", filepath.Base(program), strings.Join(args, " "), err)
	}
	fmt.Printf("%-6s%s %s", filepath.Base(program), strings.Join(args, " "), out)
	f := strings.Fields(string(out))
	m := map[string]float64{}
	for i := 0; i+1 < len(f); i += 2 {
		if m[f[i]], err = strconv.ParseFloat(f[i+1], 64); err != nil {
			return nil, fmt.Errorf("couldn't read %q: %w", out, err)
		}
	}
	for _, name := range []string{"cpu_ms", "bytes"} {
		if m[name] <= 0 {
			return nil, fmt.Errorf("couldn't read %q: no %s", out, name)
		}
	}
	return m, nil
}

func fromEnv(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 1 {
		return n
	}
	return otherwise
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}
