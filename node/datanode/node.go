package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"
	"golang.org/x/sync/errgroup"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/policy"
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
	early    gate.Early
	records  gate.Records
	openings *openings
	pins     peer.Pins
	tables   *sqlx.DB // that the vault looks up in, nil without
	vault    *vault.Vault
	find     func(product contracts.ID) (looker, bool)

	modes      []*mode
	lookups    *lookups
	operations map[policy.Operation]operation
	beside     map[string]besideHandler
	computing  *computing // nil where no dataset may be computed on

	consents *gate.Counter
	gate     *gate.Gate
	provider *meter.Provider // nil on a node that only consumes
	journal  *meter.Journal

	mu        sync.Mutex
	served    map[contracts.ID]*served   // agreements that this node serves
	consumers map[contracts.ID]*consumer // and those that it uses
	problems  map[string]string          // what can't be done now, by what; see status

	wake, toReport chan struct{} // the followed state has moved
	tending        tending       // of the goroutine that tends

	patience            time.Duration // how long a local request may take, with all that is tried again for it
	peerAddr, localAddr string        // as listened on
	listening           chan struct{}
	tended              atomic.Bool // the agreements of the followed state are open
}

// OpenNode reads all that the node keeps and connects to nobody yet: it needs no market.
func OpenNode(cfg *Config, log *slog.Logger) (*Node, error) { return openNode(cfg, log, time.Now) }

func openNode(cfg *Config, log *slog.Logger, now func() time.Time) (_ *Node, err error) {
	n := &Node{cfg: cfg, log: log, now: now, served: map[contracts.ID]*served{}, consumers: map[contracts.ID]*consumer{}, problems: map[string]string{},
		wake: make(chan struct{}, 1), toReport: make(chan struct{}, 1), tending: tending{tries: map[contracts.ID]*try{}}, listening: make(chan struct{}), patience: 30 * time.Second,
		operations: map[policy.Operation]operation{}, beside: map[string]besideHandler{}}
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
	if n.market, err = newMarket(cfg.Market, cfg.Credentials, n.now); err != nil {
		return nil, err
	}
	if n.openings, err = openOpenings(filepath.Join(cfg.Dir, "openings"), n.market); err != nil {
		return nil, err
	}
	if n.follower, err = follow.Open(follow.Config{
		Path: filepath.Join(cfg.Dir, "followed.db"), Trust: n.trust, URL: n.market.base, HTTP: &http.Client{Transport: n.market}, Me: cfg.Member,
		OnEntry: n.onEntry, OnCut: n.onCut, OnEarly: n.early.Announce, PollEvery: cfg.poll, Now: n.now, Log: log,
	}); err != nil {
		return nil, fmt.Errorf("couldn't open followed state: %w", err)
	}
	n.pins = peer.Pins{Key: n.keys.TLS, Read: n.readBoth, Now: n.now}
	if n.tables, err = openTables(context.Background(), cfg); err != nil {
		return nil, err
	}
	if n.vault, err = vault.Open(vault.Config{Dir: filepath.Join(cfg.Dir, "vault"), Now: n.now, Tables: n.tables}); err != nil {
		return nil, fmt.Errorf("couldn't open vault: %w", err)
	}
	if n.consents, err = gate.OpenCounter(cfg.Dir); err != nil {
		return nil, err
	}
	n.find = n.dataset
	n.gate = &gate.Gate{Node: cfg.Node, Follower: gate.Followed{Ledger: n.follower, Now: n.now}, Early: &n.early, Records: &n.records, Consents: n.consents, Now: n.now}
	if n.journal, err = meter.OpenJournal(filepath.Join(cfg.Dir, "journal.db"), n.keys.Seal[:]); err != nil {
		return nil, fmt.Errorf("couldn't open receipts journal: %w", err)
	}
	if cfg.Listen != "" {
		if n.provider, err = meter.OpenProvider(meter.ProviderConfig{Dir: filepath.Join(cfg.Dir, "receipts"), Fence: cfg.RegisteredAt, Key: n.keys.Receipt,
			SealKey: n.keys.Seal[:], Now: n.now, Log: log}); err != nil {
			return nil, fmt.Errorf("couldn't open receipts: %w", err)
		}
	}
	if err = n.openModes(); err != nil {
		return nil, err
	}
	return n, nil
}

// Close ends everything, in the order in which parts use each other. Run must have ended.
func (n *Node) Close() error {
	errs := []error{n.closeModes()}
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
	if n.tables != nil {
		errs = append(errs, n.tables.Close())
	}
	if n.follower != nil {
		errs = append(errs, n.follower.Close())
	}
	if n.market != nil {
		n.market.close()
	}
	return errors.Join(errs...)
}

// Run serves until ctx ends. Calls under way then have a few seconds to end.
func (n *Node) Run(ctx context.Context) error {
	servers, err := n.listen()
	if err != nil {
		return err
	}
	close(n.listening)
	n.log.Info("data node is up", "node", n.cfg.Node, "peers", n.peerAddr, "local", n.localAddr)
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range servers {
		g.Go(func() error { return s.run(ctx) })
	}
	g.Go(func() error { return n.follow(ctx) })
	g.Go(func() error { return n.tend(ctx) })
	g.Go(func() error { return n.report(ctx) })
	return g.Wait()
}

// listen opens all listeners, or none.
func (n *Node) listen() (servers []*server, err error) {
	defer func() {
		if err != nil {
			for _, s := range servers {
				s.l.Close()
			}
		}
	}()
	token, err := localToken(n.cfg.Dir)
	if err != nil {
		return nil, err
	}
	local, err := net.Listen("tcp", n.cfg.Local)
	if err != nil {
		return nil, fmt.Errorf("couldn't listen for this member's systems: %w", err)
	}
	servers = append(servers, newServer(local, n.localAPI(token), n.log))
	if !local.Addr().(*net.TCPAddr).IP.IsLoopback() {
		return servers, errors.New("couldn't listen for this member's systems: local is no loopback address")
	}
	n.localAddr = local.Addr().String()
	if n.cfg.Listen == "" {
		return servers, nil
	}
	peers, err := net.Listen("tcp", n.cfg.Listen)
	if err != nil {
		return servers, fmt.Errorf("couldn't listen for other nodes: %w", err)
	}
	s := newServer(peers, n.peerAPI(), n.log)
	servers = append(servers, s)
	n.peerAddr = peers.Addr().String()
	s.http.TLSConfig, err = n.pins.Server()
	return servers, err
}

// trouble notes what can't be done now, or with "" that it can again, for status.
func (n *Node) trouble(what, why string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if why == "" {
		delete(n.problems, what)
		return
	}
	n.problems[what] = why
}
