// Command fabricnet runs the permissioned network on one machine and does to it what an operator does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/bund-exchange/bund/deploy/fabric/network"
)

// patience is how long a command may take. A start from nothing on a busy machine takes a tenth of it; a peer that reads a
// long chain anew may need it, and is gone on with by the same command.
const patience = 30 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, patience)
	err := run(ctx, os.Args[1:])
	interrupted := errors.Is(ctx.Err(), context.Canceled)
	cancel()
	stop()
	var usage *usageError
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "fabricnet: %s\n%s --help tells more.\n", usage.text, strings.TrimSpace("fabricnet "+usage.command))
		os.Exit(2)
	case err != nil && interrupted:
		// What the processes' logs say is of no use to somebody who pressed Ctrl-C.
		fmt.Fprintln(os.Stderr, "fabricnet: interrupted; what runs goes on running. The same command goes on from here, fabricnet down ends all.")
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "fabricnet:", err)
		os.Exit(1)
	}
}

// usageError says what is wrong with a command's arguments; command is "" when there is no such command.
type usageError struct{ command, text string }

func (e *usageError) Error() string { return e.text }

// command is one word after fabricnet.
type command struct {
	takes string // what its argument is; "": it takes none
	flags func(*flag.FlagSet, *options)
	run   func(context.Context, options) error
}

// options are what flags and arguments say.
type options struct {
	blocksOf string // whose peer gives its blocks
	network.Config
	arg          string
	wipe         bool
	discard      bool
	organisation string
	snapshot     string
	program      string
	out, from    string
}

var commands = map[string]command{
	"up": {flags: func(f *flag.FlagSet, o *options) {
		f.IntVar(&o.BasePort, "port", 0, "")
		f.IntVar(&o.Orderers, "orderers", 0, "")
		f.StringVar(&o.Ledger, "ledger", "", "")
	}, run: up},
	"down":    {flags: func(f *flag.FlagSet, o *options) { f.BoolVar(&o.wipe, "wipe", false, "") }, run: down},
	"status":  {run: status},
	"blocks":  {takes: "DIR", flags: func(f *flag.FlagSet, o *options) { f.StringVar(&o.blocksOf, "of", "regulator", "") }, run: blocks},
	"restart": {takes: "PROCESS", run: restart},
	"kill":    {takes: "PROCESS", run: kill},

	"add-peer": {flags: func(f *flag.FlagSet, o *options) {
		f.StringVar(&o.organisation, "org", "", "")
		f.StringVar(&o.snapshot, "snapshot", "", "")
	}, run: addPeer},
	"upgrade":      {flags: func(f *flag.FlagSet, o *options) { f.StringVar(&o.program, "chaincode", "", "") }, run: upgrade},
	"rotate":       {flags: func(f *flag.FlagSet, o *options) { f.StringVar(&o.organisation, "org", "", "") }, run: rotate},
	"rebuild-peer": {takes: "PROCESS", flags: func(f *flag.FlagSet, o *options) { f.BoolVar(&o.discard, "discard", false, "") }, run: rebuildPeer},
	"snapshot":     {takes: "PROCESS", run: snapshot},
	"backup":       {flags: func(f *flag.FlagSet, o *options) { f.StringVar(&o.out, "out", "", "") }, run: backup},
	"restore":      {flags: func(f *flag.FlagSet, o *options) { f.StringVar(&o.from, "from", "", "") }, run: restore},
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 || args[0] == "--help" || args[0] == "-h" || args[0] == "help" {
		fmt.Print(helps[""])
		return nil
	}
	name := args[0]
	c, ok := commands[name]
	if !ok {
		return &usageError{"", fmt.Sprintf("there is no command %q", name)}
	}
	o := options{}
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard) // what is wrong is said once, by main
	bin := f.String("bin", "bin", "")
	f.StringVar(&o.Dir, "dir", "data/fabric", "")
	if c.flags != nil {
		c.flags(f, &o)
	}
	// An argument may stand before the flags and after them.
	var rest []string
	for args = args[1:]; ; args = f.Args()[1:] {
		if err := f.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				fmt.Print(helps[name])
				return err
			}
			return &usageError{name, err.Error()}
		}
		if f.NArg() == 0 {
			break
		}
		rest = append(rest, f.Arg(0))
	}
	switch {
	case c.takes == "" && len(rest) > 0:
		return &usageError{name, fmt.Sprintf("%s takes no argument, and got %q", name, rest)}
	case c.takes != "" && len(rest) != 1:
		return &usageError{name, fmt.Sprintf("%s takes one argument, %s, and got %d", name, c.takes, len(rest))}
	case c.takes != "":
		o.arg = rest[0]
	}
	o.Tools, o.Chaincode, o.Out = filepath.Join(*bin, "fabric"), filepath.Join(*bin, "chaincode"), os.Stdout
	return c.run(ctx, o)
}

func up(ctx context.Context, o options) error {
	n, err := network.Start(ctx, o.Config)
	if err != nil {
		return err
	}
	fmt.Printf("\nthe network is up; clients read %s\nfabricnet down --dir %s stops it\n", n.ProfileFile(), o.Dir)
	return nil
}

func down(_ context.Context, o options) error {
	n, err := network.Open(o.Config)
	if err != nil {
		return err
	}
	if o.wipe {
		return n.Wipe()
	}
	if err := n.Stop(); err != nil {
		return err
	}
	fmt.Printf("the network is down; fabricnet up --dir %s goes on with its ledger\n", o.Dir)
	return nil
}

func status(_ context.Context, o options) error {
	n, err := network.Open(o.Config)
	if err != nil {
		return err
	}
	dead := 0
	for _, p := range n.Processes() {
		state := "down"
		if pid := p.PID(); pid != 0 {
			state = fmt.Sprintf("pid %d", pid)
		} else {
			dead++
		}
		fmt.Printf("%-30s 127.0.0.1:%-6d %s\n", p.Name, p.Ports[0], state)
	}
	if dead > 0 {
		return fmt.Errorf("%d of %d processes are down", dead, len(n.Processes()))
	}
	return nil
}

func restart(ctx context.Context, o options) error {
	p, err := process(o)
	if err != nil {
		return err
	}
	if err := p.Stop(ctx); err != nil {
		return err
	}
	return p.Start(ctx)
}

func kill(_ context.Context, o options) error {
	p, err := process(o)
	if err != nil {
		return err
	}
	return p.Kill()
}

func process(o options) (*network.Process, error) {
	n, err := network.Open(o.Config)
	if err != nil {
		return nil, err
	}
	p := n.Process(o.arg)
	if p == nil {
		return nil, fmt.Errorf("there is no process %s: fabricnet status lists them", o.arg)
	}
	return p, nil
}
