package fabric_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/deploy/fabric/network"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/fabric"
	"github.com/bund-exchange/bund/ledger/ledgertest"
)

// scene is a market on a network of its own, which a test may break.
type scene struct {
	dir      string
	giveUp   time.Duration
	netDir   string
	net      *network.Network
	openings *collected
	ledger   *patient // the venue's
	market   *ledgertest.Market
	deal     *contractstest.Deal
}

const sceneLedger = "bund.test/faults"

// setScene starts a network and has a product listed and an agreement signed. giveUp is after what time clients of it have
// a failure or an unknown outcome.
func setScene(t *testing.T, orderers int, giveUp time.Duration) *scene {
	t.Helper()
	s := &scene{giveUp: giveUp, openings: &collected{}}
	s.net, s.netDir = startNetwork(t, orderers)
	s.dir = t.TempDir()
	l := open(t, s.config("venue", "venue"))
	t.Cleanup(func() { l.Close() })
	s.ledger = newPatient(l)
	s.market = ledgertest.NewMarket(sceneLedger, s.ledger, 1)
	if err := s.market.Open(); err != nil {
		t.Fatal(err)
	}
	var err error
	s.deal, err = s.market.Agree(s.market.Listing, contracts.Trade, contractstest.Policy(policy.PreLoan), contractstest.Terms())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// startNetwork starts a network that ends with the test.
func startNetwork(t *testing.T, orderers int) (*network.Network, string) {
	t.Helper()
	bin := os.Getenv("BUND_FABRIC")
	if bin == "" {
		t.Skip("BUND_FABRIC is not set: make fabric-build, then BUND_FABRIC=$PWD/bin go test ./ledger/fabric/...")
	}
	dir, err := os.MkdirTemp("", "bund-fabric-")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	base, err := network.FreeBase()
	if err != nil {
		t.Fatal(err)
	}
	n, err := network.Start(ctx, network.Config{Dir: filepath.Join(dir, "net"), BasePort: base, Orderers: orderers, Tools: filepath.Join(bin, "fabric"),
		Chaincode: filepath.Join(bin, "chaincode"), Ledger: sceneLedger})
	t.Cleanup(func() {
		if n == nil {
			return
		}
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() && os.Getenv("BUND_KEEP") != "" {
			t.Logf("the network's folder is %s", dir)
		} else if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return n, filepath.Join(dir, "net")
}

// config is that of a client of an organisation, with a folder of that name.
func (s *scene) config(organisation, folder string) fabric.Config {
	return fabric.Config{Network: s.net.Profile(), Organisation: organisation, Dir: filepath.Join(s.dir, folder), Openings: s.openings, Peers: peersOf(1), GiveUp: s.giveUp, Log: quiet}
}

// peersOf says whose peers are those of the cast that NewMarket makes from a seed.
func peersOf(seed uint32) map[contracts.CreditCode]string {
	return map[contracts.CreditCode]string{
		contracts.SyntheticCreditCode(seed*1000 + 1): "VenueMSP",
		contracts.SyntheticCreditCode(seed*1000 + 3): "CustodianMSP",
		contracts.SyntheticCreditCode(seed*1000 + 5): "ProviderMSP",
		contracts.SyntheticCreditCode(seed*1000 + 6): "BuyerMSP",
	}
}

// kill ends a process as a crash does.
func (s *scene) kill(t *testing.T, name string) {
	t.Helper()
	p := s.net.Process(name)
	if p == nil {
		t.Fatalf("there is no process %s", name)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if p.Alive() {
		t.Fatalf("%s lives on", name)
	}
}

func (s *scene) start(t *testing.T, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.net.Process(name).Start(ctx); err != nil {
		t.Fatal(err)
	}
}

// collected keeps openings in memory.
type collected struct {
	mu  sync.Mutex
	all []ledger.Opening
}

func (c *collected) Put(_ context.Context, os []ledger.Opening) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, os...)
	return nil
}

// patient is a client that keeps its duties: what is unknown is looked up, and only the same bytes are sent again, until
// the command is accepted or refused. It remembers what was acknowledged.
type patient struct {
	*fabric.Ledger

	mu                sync.Mutex
	acked             map[contracts.ID]ledger.Promise
	sent              map[contracts.ID]contracts.Submission
	grew              chan struct{}
	unknown, resolved int // outcomes; those of them that had been accepted
	failed            int
	why               map[string]int
}

func newPatient(l *fabric.Ledger) *patient {
	return &patient{Ledger: l, acked: map[contracts.ID]ledger.Promise{}, sent: map[contracts.ID]contracts.Submission{}, grew: make(chan struct{}), why: map[string]int{}}
}

// Submit submits until there is an answer.
func (p *patient) Submit(ctx context.Context, sub contracts.Submission) (*ledger.Receipt, error) {
	id := idOf(sub)
	p.mu.Lock()
	p.sent[id] = sub
	p.mu.Unlock()
	for {
		r, err := p.Ledger.Submit(ctx, sub)
		var no *ledger.Refused
		switch {
		case err == nil:
			p.acknowledged(id, r.Promise)
			return r, nil
		case errors.As(err, &no), ctx.Err() != nil, errors.Is(err, ledger.ErrClosed):
			return nil, err
		}
		p.mu.Lock()
		p.why[err.Error()]++
		p.mu.Unlock()
		if !errors.Is(err, ledger.ErrOutcomeUnknown) {
			p.mu.Lock()
			p.failed++
			p.mu.Unlock()
			continue
		}
		a, err := p.lookup(ctx, id)
		if err != nil {
			return nil, err
		}
		p.mu.Lock()
		p.unknown++
		if a.Status == ledger.Accepted {
			p.resolved++
		}
		p.mu.Unlock()
		if a.Status == ledger.Accepted {
			p.acknowledged(id, a.Promise)
			return &ledger.Receipt{Promise: a.Promise, Outcome: a.Outcome}, nil
		}
	}
}

func (p *patient) lookup(ctx context.Context, id contracts.ID) (*ledger.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	a, err := p.Ledger.Lookup(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("couldn't look up what is unknown: %w", err)
	}
	return a, nil
}

func (p *patient) acknowledged(id contracts.ID, at ledger.Promise) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.acked[id] = at
	close(p.grew)
	p.grew = make(chan struct{})
}

// count is how many commands were acknowledged.
func (p *patient) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.acked)
}

// more waits until n more commands were acknowledged than the count was.
func (p *patient) more(ctx context.Context, was, n int) error {
	for {
		p.mu.Lock()
		now, grew := len(p.acked), p.grew
		p.mu.Unlock()
		if now >= was+n {
			return nil
		}
		select {
		case <-grew:
		case <-ctx.Done():
			return fmt.Errorf("only %d of %d commands were accepted: %w", now-was, n, ctx.Err())
		}
	}
}

func idOf(sub contracts.Submission) contracts.ID {
	c, err := contracts.Decode(sub)
	if err != nil {
		panic(err)
	}
	return c.ID
}

// audit reads l from its first entry under the real rules. sent are the submissions with their openings.
func audit(ctx context.Context, l ledger.Ledger, sent map[contracts.ID]contracts.Submission) (*ledgertest.Audit, error) {
	a := ledgertest.NewAudit(sceneLedger)
	full := map[string]contracts.Submission{}
	for _, s := range sent {
		full[string(s.Raw)] = s
	}
	a.Decode = func(sub contracts.Submission) (*contracts.Command, error) {
		s, ok := full[string(sub.Raw)]
		if !ok {
			return nil, errors.New("a command that nobody submitted")
		}
		return contracts.Decode(s)
	}
	a.Apply = contracts.Apply
	return a, a.ReadAll(ctx, l)
}

// same compares what an organisation derives from its own peer with a ledger, entry by entry, up to its height.
func (s *scene) same(t *testing.T, organisation string, want *ledgertest.Audit) *fabric.Ledger {
	t.Helper()
	l := open(t, s.config(organisation, "compare-"+organisation))
	t.Cleanup(func() { l.Close() })
	if err := l.Wait(t.Context(), want.Height()-1); err != nil {
		t.Fatalf("%s: %v", organisation, err)
	}
	for at := uint64(0); at < want.Height(); {
		es, err := l.Entries(t.Context(), at, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range es {
			if e.Position < want.Height() && e.Hash != want.Hashes[e.Position] {
				t.Fatalf("%s derives another entry %d", organisation, e.Position)
			}
		}
		at += uint64(len(es))
	}
	if h, hash, err := l.StateHash(); err != nil || h == want.Height() && hash != want.StateHash() {
		t.Fatalf("%s has another state at %d, %v", organisation, h, err)
	}
	return l
}
