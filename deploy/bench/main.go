// Command bench measures the figures that the project states. Each part prints the machine that it ran on and a line
// `figure NAME VALUE UNIT` per figure; a part asserts nothing about time.
//
//	go run ./deploy/bench PART    run from the module's root; parts are listed without an argument
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// partWithin bounds a part: one that takes longer measures a machine that is busy with something else.
const partWithin = 8 * time.Minute

// partsWithin are bounds of parts that take longer.
var partsWithin = map[string]time.Duration{"privacy": 30 * time.Minute}

type part struct {
	name, what string
	run        func(ctx context.Context) error
}

var parts = []part{
	{"ledger", "ledger.submit256, ledger.submit1, ledger.wal_ratio: what the embedded ledger acknowledges", goTest("./ledger/embedded", "BenchmarkSubmit$|BenchmarkLog$")},
	{"faults", "ledger.reopen_1m_s, ledger.kills, ledger.cut_failures: what it is after a stop of any kind", goTest("./ledger/embedded", "BenchmarkReopen|BenchmarkKill|BenchmarkCut")},
	{"sustained", "ledger.sustained: acknowledged while log and projection keep up", sustained},
	{"node", "node.metered_us, node.metered_ratio, node.metered_ratio_memory: what gate and meter add to a call", goTest("./node/datanode", "Metered")},
	{"catalog", "catalog.page_p99_ms: a page of the shelf of 100,000 products over HTTP", goRun("./server/catalog/catalogbench")},
	{"projection", "projection.rebuild_s: the projection of 100,000 entries made anew", goRun("./server/projection/projectionbench")},
	{"audit", "audit.vs_verify: a full audit against bare verification of the same signatures", goTest("./ledger/evidence", ".")},
	{"fabric", "fabric.*: what a Fabric network commits, against a bare SDK; batches, projection, start; needs make fabric-build", goRun("./deploy/fabric/fabricbench")},
	{"privacy", "psi.*, lookup.*, score.*, stats.*, compute.*: use without handing over", each(intersection, goTest("./privacy/lookup", "."), goTest("./privacy/score", "."),
		goTest("./privacy/stats", "."), goTest("./node/compute", "."))},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := bench(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, args []string) error {
	if len(args) != 1 {
		for _, p := range parts {
			fmt.Printf("  %-12s%s\n", p.name, p.what)
		}
		return errors.New("want one part")
	}
	for _, p := range parts {
		if p.name != args[0] {
			continue
		}
		fmt.Println(machine(os.TempDir()))
		within, cancel := context.WithTimeout(ctx, cmp.Or(partsWithin[p.name], partWithin))
		defer cancel()
		if err := p.run(within); err != nil {
			return fmt.Errorf("couldn't measure %s: %w", p.name, errors.Join(context.Cause(within), err))
		}
		return nil
	}
	return fmt.Errorf("there is no part %q", args[0])
}

// machine names what the figures were taken on: CPU, cores, kernel, the file system that benchmarks write to.
func machine(dir string) string {
	model, cores := "unknown", 0
	cpus, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(cpus)) {
		if k, v, ok := strings.Cut(line, ":"); ok {
			switch strings.TrimSpace(k) {
			case "model name":
				model = strings.TrimSpace(v)
			case "processor":
				cores++
			}
		}
	}
	var u unix.Utsname
	unix.Uname(&u)
	load, _ := os.ReadFile("/proc/loadavg")
	return fmt.Sprintf("machine %s; %d cores; kernel %s; file system %s; load %s", model, cores, unix.ByteSliceToString(u.Release[:]), fileSystem(dir), strings.TrimSpace(string(load)))
}

// fileSystem names the file system that holds dir: that of the longest mount point above it.
func fileSystem(dir string) string {
	dir, _ = filepath.Abs(dir)
	mounts, _ := os.ReadFile("/proc/self/mounts")
	best, name := "", "unknown"
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) > 2 && len(f[1]) >= len(best) && (dir == f[1] || strings.HasPrefix(dir, strings.TrimSuffix(f[1], "/")+"/")) {
			best, name = f[1], f[2]
		}
	}
	return name
}

// each runs measurements one after another.
func each(runs ...func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, run := range runs {
			if err := run(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}

// goTest runs a package's benchmarks once each.
func goTest(pkg, which string) func(context.Context) error {
	return func(ctx context.Context) error {
		had, err := hasBenchmarks(pkg)
		if err != nil {
			return err
		}
		if !had {
			return fmt.Errorf("%s has no benchmarks", pkg)
		}
		return stream(ctx, "go", "test", pkg, "-run", "^$", "-bench", which, "-benchtime", "1x", "-timeout", "20m")
	}
}

func hasBenchmarks(pkg string) (bool, error) {
	names, err := filepath.Glob(filepath.Join(filepath.FromSlash(pkg), "*_test.go"))
	if err != nil || len(names) == 0 {
		return false, errors.Join(err, fmt.Errorf("%w: tests of %s; run it in the module's root", fs.ErrNotExist, pkg))
	}
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil {
			return false, err
		}
		if strings.Contains(string(b), "\nfunc Benchmark") {
			return true, nil
		}
	}
	return false, nil
}

func goRun(pkg string) func(context.Context) error {
	return func(ctx context.Context) error { return stream(ctx, "go", "run", pkg) }
}

// stream runs a program with its output as ours. It ends it softly, so that it takes its own children with it.
func stream(ctx context.Context, name string, args ...string) error {
	c := exec.CommandContext(ctx, name, args...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	c.WaitDelay = 20 * time.Second
	return c.Run()
}
