// Command fabricbench measures the ledger on a permissioned network of its own, on this machine: five organisations, one
// orderer, plain processes. It prints a line `figure NAME VALUE UNIT` per figure, and lines on where CPU time went.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"syscall"
	"time"

	"github.com/bund-exchange/bund/deploy/fabric/network"
)

func main() {
	var b bench
	profile := ""
	flag.StringVar(&b.bin, "bin", "bin", "folder with Fabric's programs in fabric/, and chaincode")
	flag.IntVar(&b.rounds, "rounds", 5, "of either client in turn")
	flag.DurationVar(&b.round, "round", 7*time.Second, "how long a round is")
	flag.DurationVar(&b.long, "long", 25*time.Second, "how long batches and lag are measured")
	flag.StringVar(&b.only, "only", "", "measure only one of ratio64, ratio256, batched, lag")
	flag.StringVar(&profile, "cpuprofile", "", "write a profile of this process there")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := profiled(profile, func() error { return b.run(ctx) })
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "fabricbench:", err)
		os.Exit(1)
	}
}

func profiled(name string, run func() error) error {
	if name == "" {
		return run()
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	return run()
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// bench is one run.
type bench struct {
	bin         string
	rounds      int
	round, long time.Duration
	only        string

	dir    string
	net    *network.Network
	market *market
}

func (b *bench) run(ctx context.Context) (err error) {
	if b.dir, err = os.MkdirTemp("", "fabricbench"); err != nil {
		return fmt.Errorf("couldn't make a folder: %w", err)
	}
	defer os.RemoveAll(b.dir)
	// Everything is built before the clock runs.
	put := filepath.Join(b.dir, "put")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", put, "./deploy/fabric/network/testdata/register").CombinedOutput(); err != nil {
		return fmt.Errorf("couldn't build the bare chaincode: %w\n%s", err, out)
	}
	defer func() {
		if b.market != nil {
			b.market.ledger.Close()
		}
		if b.net != nil {
			if stopped := b.net.Stop(); err == nil {
				err = stopped
			}
		}
	}()
	if err := b.start(ctx); err != nil {
		return err
	}
	for _, m := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"ratio64", func(ctx context.Context) error { return b.ratio(ctx, put, 64) }},
		{"ratio256", func(ctx context.Context) error { return b.ratio(ctx, put, 256) }},
		{"batched", func(ctx context.Context) error { return b.batched(ctx, put) }},
		{"lag", b.lag},
	} {
		if b.only != "" && b.only != m.name {
			continue
		}
		if err := m.run(ctx); err != nil {
			return fmt.Errorf("couldn't measure %s: %w", m.name, err)
		}
	}
	return nil
}
