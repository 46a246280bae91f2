// Command smoke walks one real trade through a whole market on this machine: public APIs only, every step with the code
// that it must get, the audit at the end. Exit code 0: every step did what the table says.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/bund-exchange/bund/deploy/cast"
	"github.com/bund-exchange/bund/deploy/fabric/network"
	"github.com/bund-exchange/bund/deploy/market"
)

func main() {
	bin := flag.String("bin", "bin", "folder of marketd, datanode, bundaudit")
	keep := flag.Bool("keep", false, "keep the folder")
	calls := flag.Int("calls", 400, "billed calls, at least 400 for the whole table")
	onFabric := flag.Bool("fabric", false, "on a Hyperledger Fabric network of its own, made for the walk; its programs are in bin/fabric")
	failFast := flag.Bool("fail-fast", false, "stop at the first step that does something else")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *bin, *keep, *calls, *failFast, *onFabric)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "smoke:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, bin string, keep bool, calls int, failFast, onFabric bool) (err error) {
	bin, err = filepath.Abs(bin)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bund-smoke-")
	if err != nil {
		return err
	}
	var stop []func() error // in reverse order
	defer func() {
		for _, f := range slices.Backward(stop) {
			err = errors.Join(err, f())
		}
		if err != nil || keep {
			fmt.Printf("folder kept: %s (logs in %s/logs)\n", dir, dir)
			return
		}
		os.RemoveAll(dir)
	}()
	o := cast.Options{Dir: dir, Bin: bin, ID: "bund.smoke/1", Out: os.Stdout}
	if onFabric {
		n, err := startNetwork(ctx, o)
		if n != nil {
			stop = append(stop, n.Stop)
		}
		if err != nil {
			return err
		}
		o.Fabric = n.ProfileFile()
	}
	st, err := cast.New(o)
	if err != nil {
		return err
	}
	stop = append(stop, st.Stop)
	w := &walk{ctx: ctx, Stack: st, calls: calls, clients: map[string]*market.Client{}}
	begin := time.Now()
	failed := 0
	for _, s := range table {
		at := time.Now()
		got := codeOf(s.run(w))
		ok := got.code == s.want
		mark := "ok  "
		if !ok {
			mark = "FAIL"
			failed++
		}
		want := s.want
		if want == "" {
			want = "accepted"
		}
		fmt.Printf("%s %-64s %-24s %5.1f s\n", mark, s.name, want, time.Since(at).Seconds())
		if !ok {
			fmt.Printf("     got %q: %s\n", got.code, got.detail)
			if s.want == "" || failFast {
				return fmt.Errorf("step %q failed, the walk can't go on", s.name)
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	fmt.Printf("%d steps, %d failed, %.0f s\n", len(table), failed, time.Since(begin).Seconds())
	if failed > 0 {
		return fmt.Errorf("%d steps did not do what the table says", failed)
	}
	return nil
}

func startNetwork(ctx context.Context, o cast.Options) (*network.Network, error) {
	base, err := network.FreeBase()
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(o.Out, "starting a Fabric network")
	return network.Start(ctx, network.Config{Dir: filepath.Join(o.Dir, "fabric"), BasePort: base, Ledger: o.ID, Tools: filepath.Join(o.Bin, "fabric"),
		Chaincode: filepath.Join(o.Bin, "chaincode")})
}
