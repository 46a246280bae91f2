package gate_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/contracts/signing"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/follow"
	"github.com/bund-exchange/bund/ledger/follow/followtest"
	"github.com/bund-exchange/bund/ledger/publish/publishtest"
	"github.com/bund-exchange/bund/node/gate"
	"github.com/bund-exchange/bund/node/peer"
)

// world is a market with a running trade, its log with three witnesses, and the provider's node that follows it.
type world struct {
	t *testing.T
	*contractstest.Market
	pure    *contractstest.Pure
	log     *followtest.Market
	ledger  *follow.Follower
	gate    *gate.Gate
	listing *contractstest.Listing
	deal    *contractstest.Deal

	consent contracts.ID
	key     [32]byte
	written int // of pure.Applied that are in the log

	// one call
	from  peer.Identity
	calls int64
	req   gate.Request
}

const subject = contracts.CreditCode("91310115MA1K00007Q")

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, pure: contractstest.NewPure("gate.test/1"), log: followtest.New(t)}
	w.Market = contractstest.NewMarket("gate.test/1", w.pure, 1)
	must(t, w.Begin())
	auth, err := w.Authorize()
	must(t, err)
	w.listing, err = w.List(w.Facts(auth))
	must(t, err)
	w.deal, err = w.Agree(w.listing, contracts.Trade, contractstest.Policy(policy.PreLoan), contractstest.Terms())
	must(t, err)
	must(t, errors.Join(w.Deposit(w.deal, 1_000_000), w.Activate(w.deal)))
	w.consent, w.key, err = w.Consent(w.listing, subject, policy.PreLoan)
	must(t, err)

	dir := t.TempDir()
	w.ledger = w.log.Follower(followtest.Regulator, filepath.Join(dir, "followed.db"))
	counts, err := gate.OpenCounter(dir)
	must(t, err)
	t.Cleanup(func() { counts.Close() })
	w.gate = &gate.Gate{Node: w.Provider.Node, Follower: gate.Followed{Ledger: w.ledger, Now: w.log.Clock.Now}, Early: new(gate.Early), Records: new(gate.Records), Consents: counts,
		Now: func() time.Time { return w.Now.Time() }}
	w.follow()
	w.from = peer.Identity{Member: w.Buyer.ID, Node: w.Buyer.Node, Region: "CN-31"}
	w.req = gate.Request{Consent: w.consent, ConsentKey: w.key[:], Fields: contractstest.Fields[:2], Operation: policy.Query, Purpose: policy.PreLoan, Subject: subject}
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// publish brings the log up to the market.
func (w *world) publish() {
	w.t.Helper()
	for _, a := range w.pure.Applied[w.written:] {
		w.log.Log.Append(publishtest.Toy{Public: true, Writes: a.Result.Writes})
		w.written++
	}
	w.log.Publish()
}

// follow brings log and node up to the market.
func (w *world) follow() {
	w.t.Helper()
	w.publish()
	must(w.t, w.ledger.RunOnce(w.t.Context()))
	w.gate.Early.Followed(w.ledger.Status().Size)
}

// announce lets the node know what the market has done, ahead of the log.
func (w *world) announce() {
	at := w.ledger.Status().Size
	for i, a := range w.pure.Applied[w.written:] {
		w.gate.Early.Announce(&ledger.Entry{Position: at + uint64(i), Writes: a.Result.Writes})
	}
}

// write puts a record into the log that no rule would write, or with nil takes it away.
func (w *world) write(key string, record any) {
	w.t.Helper()
	var v []byte
	if record != nil {
		v = canon.Marshal(record)
	}
	w.log.Log.Append(publishtest.Toy{Public: true, Writes: []contracts.Write{{Key: key, Value: v}}})
	w.log.Publish()
	must(w.t, w.ledger.RunOnce(w.t.Context()))
}

// restore puts a record back.
func (w *world) restore(key string, value []byte) {
	w.t.Helper()
	w.log.Log.Append(publishtest.Toy{Public: true, Writes: []contracts.Write{{Key: key, Value: value}}})
	w.log.Publish()
	must(w.t, w.ledger.RunOnce(w.t.Context()))
}

// edit changes a record in the log as no rule would.
func edit[T any](w *world, key string, change func(*T)) {
	w.t.Helper()
	b, ok := w.ledger.Get(key)
	if !ok {
		w.t.Fatalf("no %s", key)
	}
	r, err := contracts.Read[T](b)
	must(w.t, err)
	change(r)
	w.write(key, r)
}

func (w *world) do(a *contractstest.Actor, kind string, body any, keys ...signing.Key) {
	w.t.Helper()
	must(w.t, w.Do(a.ID, kind, body, nil, keys...))
}

func (w *world) admit() (*gate.Pass, error) {
	return w.gate.Admit(context.Background(), w.deal.Agreement, w.from, w.calls, w.req.Bytes())
}

// code gives the refusal's code, "" for admitted.
func (w *world) code() contracts.Code {
	w.t.Helper()
	_, err := w.admit()
	var r *contracts.Refusal
	if err != nil && !errors.As(err, &r) {
		w.t.Fatalf("a failure: %v", err)
	}
	if r == nil {
		return ""
	}
	if r.Detail == "" || bytes.Contains([]byte(r.Detail), []byte(subject)) {
		w.t.Errorf("detail %q", r.Detail)
	}
	return r.Code
}

func (w *world) want(code contracts.Code) {
	w.t.Helper()
	if got := w.code(); got != code {
		w.t.Fatalf("got %q, want %q", got, code)
	}
}
