// Command marketd is the market: the ledger with its published log, the API, and the jobs that sign for the venue.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

const usage = `marketd: 数据交易所市场服务 · the market

  marketd init    --config FILE --genesis FILE --trust OUT --client OUT
                  make an empty folder's ledger: its genesis, the trust root that members get out of band, and
                  client credentials of the venue's machine
  marketd run     --config FILE            serve until Ctrl-C
  marketd rebuild --config FILE            drop the projection and make it anew from the ledger
  marketd backup  --config FILE --to DIR   copy what can't be made anew: ledger, log, documents, openings, accounts
  marketd restore --config FILE --from DIR put a backup into an empty folder; witnesses tell whether it is too old
  marketd restore --config FILE --prepare-loss OUT --reason TEXT --key KEY
                  a backup that is too old: write the bytes of the public entry that accepts the loss. KEY is the
                  public key of the person who signs first; valid for ten minutes
  marketd restore --config FILE --accept-loss FILE
                  take that entry, signed by two people of the venue ({"raw", "signatures"}, as POST /commands has it),
                  as the first of a new epoch of the log
  marketd verify  --config FILE            check the record of supervisors' reads

All but run need the market stopped: one process holds the ledger.

With fabric: in the file the ledger is on Hyperledger Fabric, and any number of marketd run on one network. init then
submits the genesis, once, from one of them; a backup has no ledger, and restoring one asks the network for its entries;
there is no loss to accept.
Exit code: 0 done, 1 failed, 2 wrong usage.
`

type command struct {
	ctx  context.Context
	args []string
	out  io.Writer
	log  *slog.Logger
}

var errUsage = errors.New("wrong usage")

func run(ctx context.Context, args []string, out, errw io.Writer) int {
	commands := map[string]func(*command) error{"init": initialise, "run": serve, "rebuild": rebuild, "backup": backup, "restore": restore, "verify": verify}
	if len(args) == 0 || args[0] == "-h" || args[0] == "--help" || args[0] == "help" {
		fmt.Fprint(out, usage)
		return 0
	}
	f := commands[args[0]]
	if f == nil {
		fmt.Fprintf(errw, "marketd: no command %q\n\n%s", args[0], usage)
		return 2
	}
	err := f(&command{ctx, args[1:], out, slog.New(slog.NewJSONHandler(errw, nil))})
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		fmt.Fprintf(errw, "marketd %s: %v\n\n%s", args[0], err, usage)
		return 2
	}
	fmt.Fprintf(errw, "marketd %s: %v\n", args[0], err)
	return 1
}

// flags parses string flags, all of them required.
func (c *command) flags(names ...string) (map[string]string, error) { return c.choose(names) }

// choose parses string flags, of which some are required.
func (c *command) choose(required []string, optional ...string) (map[string]string, error) {
	names := slices.Concat(required, optional)
	fs := flag.NewFlagSet("marketd", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	for _, n := range names {
		fs.String(n, "", "")
	}
	if err := fs.Parse(c.args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(c.out, usage)
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	out := map[string]string{}
	for _, n := range names {
		if out[n] = fs.Lookup(n).Value.String(); out[n] == "" && slices.Contains(required, n) {
			return nil, fmt.Errorf("%w: --%s is missing", errUsage, n)
		}
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("%w: %q is no flag", errUsage, fs.Arg(0))
	}
	return out, nil
}
