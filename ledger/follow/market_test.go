package follow_test

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/embedded"
	"github.com/bund-exchange/bund/ledger/follow"
	"github.com/bund-exchange/bund/ledger/follow/followtest"
	"github.com/bund-exchange/bund/ledger/ledgertest"
	"github.com/bund-exchange/bund/ledger/publish"
	"github.com/bund-exchange/bund/ledger/publish/publishtest"
	"github.com/bund-exchange/bund/ledger/witness/witnesstest"
)

// noShelf drops openings; this test looks at entries only.
type noShelf struct{}

func (noShelf) Put(context.Context, []ledger.Opening) error { return nil }

// TestRealMarket publishes the embedded ledger with a real trade on it. An auditor's follower comes to the ledger's own
// state, bit for bit; every member's follower follows to the end with the bodies that it may read, so that no entry
// names a member's object and leaves the member out of its audience.
func TestRealMarket(t *testing.T) {
	const id = "bund.test/1"
	_, operator, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := embedded.Open(embedded.Config{Dir: t.TempDir(), LedgerID: id, Key: operator, Openings: noShelf{}, Log: followtest.Quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	m := ledgertest.NewMarket(id, l, 1)
	if err := errors.Join(m.Open(), m.Trade()); err != nil {
		t.Fatal(err)
	}
	for _, sub := range m.Consents(20, 7) {
		if err := m.Submit(t.Context(), sub); err != nil {
			t.Fatal(err)
		}
	}
	signer, logKey := publishtest.Key(t, id)
	w := witnesstest.Start(t, "w.example", logKey, time.Now)
	cfg := publish.Config{Dir: filepath.Join(t.TempDir(), "tlog"), Ledger: id, Signer: signer, LogKey: logKey, Quorum: 1, Log: followtest.Quiet(),
		Witnesses: []publish.Witness{{URL: w.URL, Key: w.Key}}}
	p, err := publish.Open(t.Context(), cfg, l)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	const auditor = "auditor"
	mux := http.NewServeMux()
	mux.Handle("/", p.Handler())
	mux.Handle("/entries", p.EntriesHandler(publish.Audience{
		Caller: func(r *http.Request) (contracts.ID, error) { return contracts.ID(r.Header.Get("Member")), nil },
		MayRead: func(caller contracts.ID, e *ledger.Entry) bool {
			return caller == auditor || publish.InAudience(caller, e)
		},
	}))
	srv := httptest.NewServer(mux)
	defer srv.Close()
	es, err := l.Entries(t.Context(), 0, 1)
	if err != nil || len(es) != 1 {
		t.Fatal(err)
	}
	trust := follow.TrustRoot{Format: follow.TrustRootFormat, Ledger: id, LogKey: logKey, Witnesses: []string{w.Key}, Quorum: 1,
		Genesis: contracts.Hash(hex.EncodeToString(es[0].Hash[:]))}
	open := func(who contracts.ID, all bool) *follow.Follower {
		f, err := follow.Open(follow.Config{Path: filepath.Join(t.TempDir(), "state"), Trust: trust, URL: srv.URL, Me: who, All: all, Log: followtest.Quiet(),
			HTTP: &http.Client{Transport: member{who}}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		if err := f.RunOnce(t.Context()); err != nil {
			t.Fatalf("%s: %v", who, err)
		}
		if err := f.MayStart(time.Now(), time.Minute); err != nil {
			t.Errorf("%s: %v", who, err)
		}
		return f
	}
	f := open(auditor, true)
	height, want, err := l.StateHash()
	if err != nil {
		t.Fatal(err)
	}
	h := ledger.NewStateHash()
	for _, kv := range f.Scan("", 1<<30) {
		h.Add(kv.Key, kv.Value)
	}
	if s := f.Status(); s.Size != height || h.Sum() != want {
		t.Errorf("at %d of %d the follower's state is another", s.Size, height)
	}
	for _, who := range []contracts.ID{m.Provider.ID, m.Buyer.ID, ""} {
		g := open(who, false)
		mine := 0
		for _, kv := range g.Scan("", 1<<30) {
			if v, ok := f.Get(kv.Key); !ok || string(v) != string(kv.Value) {
				t.Errorf("%s sees %s otherwise than the ledger", who, kv.Key)
			}
			mine++
		}
		t.Logf("member %q: %d of %d keys", who, mine, len(f.Scan("", 1<<30)))
	}
}

type member struct{ id contracts.ID }

func (m member) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Member", string(m.id))
	return http.DefaultTransport.RoundTrip(r)
}
