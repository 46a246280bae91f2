// Package network runs the permissioned network on one machine as plain processes: orderers, a peer of each
// organisation, and beside each endorsing peer one chaincode process per definition. Everything listens on loopback.
//
// The processes outlive whoever started them. Their folder holds all there is of the network; starting again goes on
// with it, also after a start that was interrupted at any point.
package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Config says which network to start.
type Config struct {
	Dir       string // holds everything
	BasePort  int    // of some 700 ports from there on; 0: those of the network in Dir, or 17000 for a new one
	Orderers  int    // 1 or 3; 0: as many as there are, or 1 for a new network
	Ledger    string // id of the ledger, {channel} in it the channel's name; "": that of the network in Dir, or bund.sample/1 for a new one
	Tools     string // folder of Fabric's programs
	Chaincode string // program of a new network's chaincode

	Out io.Writer // a line per step for a person to follow; nil: nobody does
}

// Network is one in a folder, running or not.
type Network struct {
	dir    string
	config Config
	layout *layout

	processes []*Process // in order of starting
	began     time.Time
}

// ErrNone is the error of a folder without a network.
var ErrNone = errors.New("there is no network")

// Start starts the network in a folder, and makes it first if there is none. It returns when both definitions are
// committed and every process listens. Clients may still have to wait a few seconds until peers know of each other.
func Start(ctx context.Context, c Config) (*Network, error) {
	unlock, err := lock(c.Dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	n, err := open(c)
	if errors.Is(err, ErrNone) {
		n, err = create(c)
	}
	if err != nil {
		return nil, err
	}
	if err := n.layout.agrees(c); err != nil {
		return nil, fmt.Errorf("couldn't start the network in %s: %w", c.Dir, err)
	}
	if err := n.up(ctx); err != nil {
		return n, err
	}
	return n, nil
}

// Open finds the network in a folder and starts nothing.
func Open(c Config) (*Network, error) {
	n, err := open(c)
	if err != nil {
		return nil, err
	}
	return n, n.plan()
}

func open(c Config) (*Network, error) {
	n, err := begin(c)
	if err != nil {
		return nil, err
	}
	if n.layout, err = readLayout(n.path("layout.json")); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w in %s (--dir)", ErrNone, c.Dir)
		}
		return nil, err
	}
	return n, nil
}

func begin(c Config) (*Network, error) {
	if c.Out == nil {
		c.Out = io.Discard
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, err
	}
	if c.Tools, err = filepath.Abs(c.Tools); err != nil {
		return nil, err
	}
	return &Network{dir: dir, config: c, began: time.Now()}, nil
}

func create(c Config) (*Network, error) {
	if c.BasePort == 0 {
		c.BasePort = 17000
	}
	if c.Orderers == 0 {
		c.Orderers = 1
	}
	if c.Orderers != 1 && c.Orderers != 3 {
		return nil, fmt.Errorf("couldn't make a network of %d orderers: want 1 or 3", c.Orderers)
	}
	if c.BasePort < 1024 || c.BasePort > 64000 {
		return nil, fmt.Errorf("couldn't make a network at port %d: want 1024 to 64000", c.BasePort)
	}
	if c.Ledger == "" {
		c.Ledger = "bund.sample/1"
	}
	n, err := begin(c)
	if err != nil {
		return nil, err
	}
	if left, err := os.ReadDir(n.dir); err != nil || slices.ContainsFunc(left, func(e fs.DirEntry) bool { return e.Name() != "lock" && e.Name() != "chaincode" }) {
		return nil, errors.Join(err, fmt.Errorf("couldn't make a network in %s: the folder holds something else", n.dir))
	}
	if err := free(c.BasePort); err != nil {
		return nil, fmt.Errorf("couldn't make a network at port %d: %w", c.BasePort, err)
	}
	program, err := keepProgram(n.dir, c.Chaincode)
	if err != nil {
		return nil, err
	}
	n.layout = newLayout(c, program)
	return n, n.writeLayout()
}

func (n *Network) say(format string, args ...any) {
	fmt.Fprintf(n.config.Out, "%5.1f s  %s\n", time.Since(n.began).Seconds(), fmt.Sprintf(format, args...))
}

// up does what is still to be done. Each step finds out for itself whether it was done before, so this also finishes a
// change of the network that was interrupted.
func (n *Network) up(ctx context.Context) error {
	if err := n.holdBlocks(); err != nil {
		return err
	}
	for _, d := range []string{"config", "run", "logs"} {
		if err := os.MkdirAll(n.path(d), 0o700); err != nil {
			return err
		}
	}
	if err := n.makeCrypto(ctx); err != nil {
		return err
	}
	// Before anything is asked of a process that runs: it may be one of an earlier version of this program.
	if err := errors.Join(n.configure(ctx), n.plan()); err != nil {
		return err
	}
	if err := n.finishRotations(ctx); err != nil {
		return err
	}
	if err := n.issuePeers(); err != nil {
		return err
	}
	for _, p := range n.layout.Peers {
		if err := n.issueChaincode(ctx, p); err != nil {
			return err
		}
	}
	if err := n.makeGenesis(ctx, n.main()); err != nil {
		return err
	}
	n.say("keys, certificates and the channel's first block are there")
	if err := n.startAll(ctx); err != nil {
		return err
	}
	n.say("%d processes listen", len(n.processes))
	if err := n.joinAll(ctx, n.main()); err != nil {
		return err
	}
	n.say("everybody has joined the channel")
	if err := n.define(ctx, n.main(), n.layout.Definitions); err != nil {
		return err
	}
	if n.layout.Next != nil {
		if err := n.finishUpgrade(ctx); err != nil {
			return err
		}
	}
	n.say("both definitions are committed")
	if n.layout.Adding != nil {
		if err := n.finishAdding(ctx); err != nil {
			return err
		}
	}
	if err := n.endLeftovers(); err != nil {
		return err
	}
	return n.Profile().Write(n.ProfileFile())
}

// change does something to the network that only one may do at a time. The layout is what it is now: somebody else may
// have changed it since this Network was opened.
func (n *Network) change(do func() error) error {
	unlock, err := lock(n.dir)
	if err != nil {
		return err
	}
	defer unlock()
	if n.layout, err = readLayout(n.path("layout.json")); err != nil {
		return err
	}
	if err := n.layout.agrees(Config{}); err != nil {
		return fmt.Errorf("couldn't change the network in %s: %w", n.dir, err)
	}
	n.began = time.Now()
	return errors.Join(do(), n.plan())
}

func (n *Network) writeLayout() error { return n.layout.write(n.path("layout.json")) }

// ProfileFile is the network's description for clients.
func (n *Network) ProfileFile() string { return n.path("network.yaml") }

// plan lists the processes.
func (n *Network) plan() error {
	var ps []*Process
	for i := 1; i <= n.layout.Orderers; i++ {
		ps = append(ps, n.ordererProcess(i))
	}
	for _, p := range n.layout.Peers {
		ps = append(ps, n.peerProcess(p))
	}
	for _, p := range n.layout.Peers {
		cc, err := n.chaincodeProcesses(p)
		if err != nil {
			return err
		}
		ps = append(ps, cc...)
	}
	n.processes = ps
	return nil
}

// configure writes the configuration of every process.
func (n *Network) configure(ctx context.Context) error {
	for i := 1; i <= n.layout.Orderers; i++ {
		if err := n.writeOrderer(ctx, i); err != nil {
			return err
		}
	}
	for _, p := range n.layout.Peers {
		if err := n.writePeer(ctx, p); err != nil {
			return err
		}
	}
	return writeBuilder(n.dir)
}

// endorsers are those of a channel's peers that run the chaincode.
func (n *Network) endorsers(ch channel) (ps []peer) {
	for _, p := range ch.peers {
		if n.layout.endorses(p) {
			ps = append(ps, p)
		}
	}
	return ps
}

func (n *Network) startAll(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, p := range n.processes {
		g.Go(func() error { return p.Start(ctx) })
	}
	return g.Wait()
}

func (n *Network) joinAll(ctx context.Context, ch channel) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i := 1; i <= n.layout.Orderers; i++ {
		g.Go(func() error { return n.joinOrderer(ctx, ch, i) })
	}
	for _, p := range ch.peers {
		g.Go(func() error { return n.joinPeer(ctx, ch, p) })
	}
	return g.Wait()
}

// Processes lists what the network consists of, in order of starting.
func (n *Network) Processes() []*Process { return slices.Clone(n.processes) }

// Process gives one by name: orderer.1, peer.venue, chaincode.venue.market; nil when there is none of that name.
func (n *Network) Process(name string) *Process {
	for _, p := range n.processes {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// endLeftovers ends chaincode processes that nobody needs any more.
func (n *Network) endLeftovers() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	return n.end(ctx, "chaincode.*", func(pidFile string) bool {
		return !slices.ContainsFunc(n.processes, func(p *Process) bool { return p.pidFile == pidFile })
	})
}

// stopWithin is how long a process may take to end by itself. An orderer or peer takes less than a second.
const stopWithin = 20 * time.Second

// Stop ends all processes: first chaincode, then peers, then orderers. State stays.
func (n *Network) Stop() error {
	unlock, err := lock(n.dir)
	if err != nil {
		return err
	}
	defer unlock()
	return n.stop()
}

func (n *Network) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	var errs []error
	for _, kind := range []string{"chaincode.*", "peer.*", "orderer.*"} {
		errs = append(errs, n.end(ctx, kind, func(string) bool { return true }))
	}
	return errors.Join(errs...)
}

// end ends processes by their pid files: an interrupted upgrade leaves more than the layout knows of.
func (n *Network) end(ctx context.Context, pattern string, chosen func(pidFile string) bool) error {
	files, err := filepath.Glob(n.path("run", pattern+".pid"))
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	ended := make([]error, len(files))
	for i, f := range files {
		if !chosen(f) {
			continue
		}
		all.Go(func() {
			name := filepath.Base(f[:len(f)-len(".pid")])
			if ended[i] = n.process(name, name, "").Stop(ctx); ended[i] == nil {
				ended[i] = os.Remove(f)
			}
		})
	}
	all.Wait()
	return errors.Join(ended...)
}

// Wipe ends all processes and removes the network with its whole ledger.
func (n *Network) Wipe() error {
	unlock, err := lock(n.dir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := n.stop(); err != nil {
		return err
	}
	return os.RemoveAll(n.dir)
}
