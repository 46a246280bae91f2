package fabric_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
)

const (
	submitters = 32
	underLoad  = 150              // commands accepted before a kill, while what was killed is down, and after
	within     = 90 * time.Second // for a command that is submitted once everything runs again
	downFor    = 5 * time.Second  // of what nothing works without
	hasty      = 3 * time.Second  // after which the load's client gives up, so that there are unknown outcomes to resolve
)

// TestChaos kills every part of a network under load, and reads the ledger to see that nothing was lost or done twice.
func TestChaos(t *testing.T) {
	if os.Getenv("BUND_CHAOS") == "" {
		t.Skip("BUND_CHAOS is not set: make chaos")
	}
	s := setScene(t, 3, hasty)
	began := time.Now()
	load := s.load(t)
	kills := 0
	for _, x := range []struct {
		what  string
		goOn  bool // the market does while it is down
		which func() []string
	}{
		{"peer.buyer", true, nil},
		{"chaincode.venue.market", false, nil},
		{"chaincode.provider.market", true, nil},
		{"chaincode.custodian.clearing", true, nil},
		{"chaincode.venue.clearing", false, nil},
		{"an orderer that follows", true, func() []string { return s.orderers(t)[1:2] }},
		{"the orderers' leader", true, func() []string { return s.orderers(t)[:1] }},
		{"the leader and a follower", false, func() []string { return s.orderers(t)[:2] }},
		{"peer.regulator", true, nil},
		{"peer.venue", false, nil},
		{"peer.custodian", true, nil},
	} {
		names := []string{x.what}
		if x.which != nil {
			names = x.which()
		}
		load.more(t, "before the kill of "+x.what)
		for _, name := range names {
			s.kill(t, name)
			kills++
		}
		down := time.Now()
		if x.goOn {
			load.more(t, "without "+x.what)
		} else {
			lie(t.Context(), downFor)
		}
		gone := time.Since(down)
		for _, name := range names {
			s.start(t, name)
		}
		back := load.probe(t, x.what)
		load.more(t, "after the kill of "+x.what)
		t.Logf("%-28s down for %4.1f s; a command accepted %4.1f s after the start; %s", x.what, gone.Seconds(), back.Seconds(), load.outcomes())
	}
	kills += s.killClient(t, load)
	load.stop(t)
	s.settle(t)
	t.Logf("%d kills in %.0f s: %s", kills, time.Since(began).Seconds(), load.outcomes())
	for why, n := range s.ledger.why {
		t.Logf("%6d × %.220s", n, why)
	}
}

// lie passes the time for which something lies dead.
func lie(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
}

// orderers names them, the leader first.
func (s *scene) orderers(t *testing.T) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	leader, err := s.net.Leader(ctx)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{leader}
	for i := 1; i <= 3; i++ {
		if name := fmt.Sprintf("orderer.%d", i); name != leader {
			names = append(names, name)
		}
	}
	return names
}

// load is 32 submitters of consents, and one of deposits, since those are the clearing definition's.
type load struct {
	s        *scene
	wg       sync.WaitGroup
	done     chan struct{}
	mu       sync.Mutex
	errs     []error
	deposits int
	probes   []contracts.Submission
}

func (s *scene) load(t *testing.T) *load {
	l := &load{s: s, done: make(chan struct{}), probes: s.market.Consents(100, 999)}
	ctx := t.Context()
	for g := range submitters {
		l.wg.Go(func() {
			for seed := uint64(g+1) << 32; ; seed++ {
				for _, sub := range s.market.Consents(20, seed) {
					select {
					case <-l.done:
						return
					default:
					}
					if _, err := s.ledger.Submit(ctx, sub); err != nil {
						l.failed(fmt.Errorf("submitter %d: %w", g, err))
						return
					}
				}
			}
		})
	}
	l.wg.Go(func() {
		for {
			select {
			case <-l.done:
				return
			default:
			}
			if err := s.market.Deposit(s.deal, 100); err != nil {
				l.failed(fmt.Errorf("deposit: %w", err))
				return
			}
			l.mu.Lock()
			l.deposits++
			l.mu.Unlock()
		}
	})
	return l
}

func (l *load) failed(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errs = append(l.errs, err)
}

// more waits until the load has come on by some commands.
func (l *load) more(t *testing.T, when string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	err := l.s.ledger.more(ctx, l.s.ledger.count(), underLoad)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := errors.Join(append(l.errs, err)...); err != nil {
		t.Fatalf("%s: %v; %s", when, err, l.outcomesLocked())
	}
}

// probe submits a command now that everything runs again, and says how long it took.
func (l *load) probe(t *testing.T, after string) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	began := time.Now()
	sub := l.probes[0]
	l.probes = l.probes[1:]
	if _, err := l.s.ledger.Submit(ctx, sub); err != nil {
		t.Fatalf("after the kill of %s no command is accepted: %v", after, err)
	}
	return time.Since(began)
}

func (l *load) outcomes() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.outcomesLocked()
}

func (l *load) outcomesLocked() string {
	p := l.s.ledger
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Sprintf("%d commands, %d deposits, %d failures, %d outcomes unknown of which %d accepted", len(p.acked), l.deposits, p.failed, p.unknown, p.resolved)
}

// stop ends the load: every submitter gets the answer it waits for.
func (l *load) stop(t *testing.T) {
	t.Helper()
	close(l.done)
	l.wg.Wait()
	if err := errors.Join(l.errs...); err != nil {
		t.Fatal(err)
	}
}

// killClient kills a client in the midst of its submissions, twice, and starts another on its folder with the same bytes.
func (s *scene) killClient(t *testing.T, load *load) (kills int) {
	t.Helper()
	subs := s.market.Consents(600, 12345)
	said := map[contracts.ID]acknowledgement{}
	for round := range 3 {
		c, acks := s.submitter(t, "child", subs)
		n := 0
		for a := range acks {
			if was, ok := said[a.id]; ok && was != a {
				t.Fatalf("command %s was accepted at %d, and at %d after a kill", a.id, was.position, a.position)
			} else if !ok {
				n++
			}
			said[a.id] = a
			if round < 2 && n == 100 {
				if err := c.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				kills++
			}
		}
		if err := c.Wait(); err != nil && round == 2 {
			t.Fatalf("the client that nobody killed: %v", err)
		}
		if round == 2 {
			break
		}
		// Whatever the dead client did not learn, anybody can look up.
		known := 0
		for _, sub := range subs {
			a, err := s.ledger.lookup(t.Context(), idOf(sub))
			if err != nil {
				t.Fatal(err)
			}
			ack, acked := said[idOf(sub)]
			switch {
			case a.Status == ledger.Accepted && acked && !ack.is(a.Promise):
				t.Fatalf("command %s was acknowledged at %d and is at %d", idOf(sub), ack.position, a.Promise.Position)
			case a.Status != ledger.Accepted && acked:
				t.Fatalf("command %s was acknowledged and is lost", idOf(sub))
			case a.Status == ledger.Accepted:
				known++
			}
		}
		t.Logf("%-28s %d of %d acknowledged, %d accepted", "the client", len(said), len(subs), known)
		load.more(t, "after the kill of a client")
	}
	if len(said) != len(subs) {
		t.Fatalf("%d of %d commands of the killed client were accepted in the end", len(said), len(subs))
	}
	s.ledger.mu.Lock()
	for _, sub := range subs {
		s.ledger.sent[idOf(sub)] = sub
	}
	s.ledger.mu.Unlock()
	for id, a := range said {
		hash, err := hex.DecodeString(a.hash)
		if err != nil {
			t.Fatal(err)
		}
		s.ledger.acknowledged(id, ledger.Promise{Position: a.position, Hash: [32]byte(hash)})
	}
	return kills
}

// settle reads the ledger when the load has ended: what every organisation derives, against what was acknowledged.
func (s *scene) settle(t *testing.T) {
	t.Helper()
	a, err := audit(t.Context(), s.ledger, s.ledger.sent)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.ledger.acked) != len(s.ledger.sent) || uint64(len(s.ledger.sent)) != a.Height() {
		t.Errorf("%d commands were sent, %d acknowledged, and %d are on the ledger", len(s.ledger.sent), len(s.ledger.acked), a.Height())
	}
	for id, at := range s.ledger.acked {
		if p, ok := a.IDs[id]; !ok || p != at.Position || a.Hashes[p] != at.Hash {
			t.Errorf("command %s was acknowledged at %d; on the ledger: %v, at %d", id, at.Position, ok, p)
		}
	}
	ours, err := s.ledger.Sums(t.Context(), s.ledger.Health().Block)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []string{"venue", "custodian", "provider", "buyer", "regulator"} {
		sums, err := s.same(t, o, a).Sums(t.Context(), uint64(len(ours)))
		if err != nil {
			t.Fatal(err)
		}
		for i := range ours {
			if sums[i] != ours[i] {
				t.Errorf("block %d of %s is not that of the venue, or has other flags", i, o)
			}
		}
	}
	t.Logf("%d entries of %d blocks audited, and the same from the peers of five organisations", a.Height(), len(ours))
}
