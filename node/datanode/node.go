package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/follow"
	"github.com/bund-exchange/bund/node/gate"
	"github.com/bund-exchange/bund/node/meter"
	"github.com/bund-exchange/bund/node/peer"
	"github.com/bund-exchange/bund/node/vault"
)

// Node is one running data node: a provider of its datasets, a consumer of others', or both.
type Node struct {
	cfg    *Config
	log    *slog.Logger
	now    func() time.Time
	trust  follow.TrustRoot
	keys   *Keys
	market *market

	follower *follow.Follower
	early    *gate.Early
	openings *openings
	pins     peer.Pins
	vault    *vault.Vault

	consents *gate.Counter
	gate     *gate.Gate
	provider *meter.Provider // nil on a node that only consumes
	journal  *meter.Journal

	mu        sync.Mutex
	served    map[contracts.ID]*served   // agreements that this node serves
	consumers map[contracts.ID]*consumer // and those that it uses
	wake      chan struct{}              // the followed state has moved

	peerAddr, localAddr string // as listened on, for tests and the log
	listening           chan struct{}
}

// OpenNode reads all that the node keeps and connects to nobody yet.
func OpenNode(cfg *Config, log *slog.Logger) (_ *Node, err error) {
	n := &Node{cfg: cfg, log: log, now: time.Now, early: new(gate.Early), served: map[contracts.ID]*served{}, consumers: map[contracts.ID]*consumer{},
		wake: make(chan struct{}, 1), listening: make(chan struct{})}
	defer func() {
		if err != nil {
			n.Close()
		}
	}()
	b, err := os.ReadFile(cfg.TrustRoot)
	if err != nil {
		return nil, fmt.Errorf("couldn't read trust root: %w", err)
	}
	if n.trust, err = follow.ParseTrustRoot(b); err != nil {
		return nil, fmt.Errorf("couldn't read trust root %s: %w", cfg.TrustRoot, err)
	}
	if n.keys, err = readKeys(cfg.Dir, false); err != nil {
		return nil, err
	}
	if n.market, err = newMarket(cfg.Market, cfg.Credentials); err != nil {
		return nil, err
	}
	if n.openings, err = openOpenings(filepath.Join(cfg.Dir, "openings"), n.market); err != nil {
		return nil, err
	}
	if n.follower, err = follow.Open(follow.Config{
		Path: filepath.Join(cfg.Dir, "followed.db"), Trust: n.trust, URL: n.market.base, HTTP: &http.Client{Transport: n.market}, Me: cfg.Member,
		OnEntry: n.onEntry, OnEarly: n.onEarly, PollEvery: cfg.poll, Now: n.now, Log: log,
	}); err != nil {
		return nil, fmt.Errorf("couldn't open followed state: %w", err)
	}
	n.pins = peer.Pins{Key: n.keys.TLS, Read: n.read, Now: n.now}
	if n.vault, err = vault.Open(vault.Config{Dir: filepath.Join(cfg.Dir, "vault"), Now: n.now}); err != nil {
		return nil, fmt.Errorf("couldn't open vault: %w", err)
	}
	if n.consents, err = gate.OpenCounter(cfg.Dir); err != nil {
		return nil, err
	}
	n.gate = &gate.Gate{Node: cfg.Node, Follower: followed{n}, Early: n.early, Consents: n.consents, Now: n.now}
	if n.journal, err = meter.OpenJournal(filepath.Join(cfg.Dir, "journal.db"), n.keys.Seal[:]); err != nil {
		return nil, fmt.Errorf("couldn't open receipts journal: %w", err)
	}
	if cfg.Listen != "" {
		if n.provider, err = meter.OpenProvider(meter.ProviderConfig{Dir: filepath.Join(cfg.Dir, "receipts"), Fence: cfg.RegisteredAt, Key: n.keys.Receipt,
			SealKey: n.keys.Seal[:], Now: n.now, Log: log}); err != nil {
			return nil, fmt.Errorf("couldn't open receipts: %w", err)
		}
	}
	return n, nil
}

// Close ends everything, in the order in which parts use each other.
func (n *Node) Close() error {
	var errs []error
	if n.provider != nil {
		errs = append(errs, n.provider.Close())
	}
	if n.journal != nil {
		errs = append(errs, n.journal.Close())
	}
	if n.consents != nil {
		errs = append(errs, n.consents.Close())
	}
	if n.vault != nil {
		errs = append(errs, n.vault.Close())
	}
	if n.follower != nil {
		errs = append(errs, n.follower.Close())
	}
	return errors.Join(errs...)
}

// Run serves until ctx ends.
func (n *Node) Run(ctx context.Context) error {
	local, err := net.Listen("tcp", n.cfg.Local)
	if err != nil {
		return fmt.Errorf("couldn't listen for this member's systems: %w", err)
	}
	if ip := local.Addr().(*net.TCPAddr).IP; !ip.IsLoopback() {
		local.Close()
		return errors.New("couldn't listen for this member's systems: local is a loopback address")
	}
	n.localAddr = local.Addr().String()
	token, err := localToken(n.cfg.Dir)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return serve(ctx, &http.Server{Handler: n.localAPI(token), ReadHeaderTimeout: 10 * time.Second}, local)
	})
	if n.cfg.Listen != "" {
		l, err := net.Listen("tcp", n.cfg.Listen)
		if err != nil {
			return fmt.Errorf("couldn't listen for other nodes: %w", err)
		}
		n.peerAddr = l.Addr().String()
		conf, err := n.pins.Server()
		if err != nil {
			return err
		}
		s := &http.Server{Handler: n.peerAPI(), TLSConfig: conf, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(n.log.Handler(), slog.LevelDebug)}
		g.Go(func() error { return serveTLS(ctx, s, l) })
	}
	close(n.listening)
	n.log.Info("data node is up", "node", n.cfg.Node, "peers", n.peerAddr, "local", n.localAddr)
	g.Go(func() error {
		err := n.follower.Run(ctx)
		if errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	})
	g.Go(func() error { return n.tend(ctx) })
	return g.Wait()
}

func serve(ctx context.Context, s *http.Server, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func serveTLS(ctx context.Context, s *http.Server, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// read gives the followed state at one position.
func (n *Node) read(fn func(st contracts.State) error) (err error) {
	n.follower.View(func(v follow.View) { err = fn(v.Rules()) })
	return err
}

// followed is the follower as the gate asks it.
type followed struct{ n *Node }

func (f followed) Read(fn func(st contracts.State) error) error { return f.n.read(fn) }

func (f followed) Fresh(ctx context.Context, maxStale time.Duration) error {
	var err error
	if maxStale == 0 {
		err = f.n.follower.StartNow(ctx)
	} else {
		err = f.n.follower.MayStart(f.n.now(), maxStale)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, follow.ErrStale):
		return &contracts.Refusal{Code: "LEDGER_STALE", Detail: "this node has no checkpoint that enough witnesses have seen recently enough"}
	case errors.Is(err, follow.ErrFork), errors.Is(err, follow.ErrWithheld):
		return &contracts.Refusal{Code: "LEDGER_STOPPED", Detail: "this node has stopped following the ledger: " + err.Error()}
	}
	return err
}

func (n *Node) onEntry(e *ledger.Entry) {
	n.early.Followed(e.Position + 1)
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *Node) onEarly(e *ledger.Entry) { n.early.Announce(e) }

// tend brings logs, consumers and reports to what the followed state says, whenever it moves and on a timer.
func (n *Node) tend(ctx context.Context) error {
	t := time.NewTicker(min(n.cfg.report, 2*time.Second))
	defer t.Stop()
	defer n.stopConsumers()
	for {
		if err := n.tendOnce(ctx); err != nil && ctx.Err() == nil {
			n.log.WarnContext(ctx, "couldn't bring the node up to the ledger, trying again", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-n.wake:
		case <-t.C:
		}
	}
}

func (n *Node) tendOnce(ctx context.Context) error {
	deals, err := n.deals()
	if err != nil {
		return err
	}
	var errs []error
	for _, d := range deals {
		if n.provider != nil && d.agreement.Provider == n.cfg.Member && d.grant.Share(n.cfg.Node) > 0 {
			errs = append(errs, n.tendServed(ctx, d))
		}
		if d.agreement.Buyer == n.cfg.Member {
			errs = append(errs, n.tendConsumer(ctx, d))
		}
	}
	return errors.Join(errs...)
}

// deals lists the agreements that this member is a party of, in order of id.
func (n *Node) deals() (out []*deal, err error) {
	n.follower.View(func(v follow.View) {
		for _, w := range v.Scan("agreement/", 1_000_000) {
			id := contracts.ID(w.Key[len("agreement/"):])
			a, err2 := contracts.Read[contracts.Agreement](w.Value)
			if err2 != nil {
				err = errors.Join(err, err2)
				continue
			}
			b, ok := v.Get(contracts.KeyGrant(id))
			if !ok {
				continue
			}
			g, err2 := contracts.Read[contracts.Grant](b)
			if err2 != nil {
				err = errors.Join(err, err2)
				continue
			}
			out = append(out, readDeal(v, id, a, g))
		}
	})
	slices.SortFunc(out, func(a, b *deal) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	return out, err
}

func random10() (b [10]byte) { rand.Read(b[:]); return b }
func random32() (b [32]byte) { rand.Read(b[:]); return b }
