package ledger_test

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/signing"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/embedded"
	"github.com/bund-exchange/bund/ledger/evidence"
	"github.com/bund-exchange/bund/ledger/follow"
	"github.com/bund-exchange/bund/ledger/follow/followtest"
	"github.com/bund-exchange/bund/ledger/publish"
	"github.com/bund-exchange/bund/ledger/witness"
)

// lossy is a walk whose market was restored from a backup: more entries were cosigned and followed than are left.
type lossy struct {
	*walk
	backup  string
	kept    uint64
	cut     []uint64
	seen    publish.Head // cosigned at the backup
	lastOld publish.Head // cosigned beyond it
}

func copyTo(t *testing.T, from, to string) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(to), os.CopyFS(to, os.DirFS(from))); err != nil {
		t.Fatal(err)
	}
}

// newLossy makes the market, a backup, what comes after it, and puts the backup back.
func newLossy(t *testing.T) *lossy {
	w := &lossy{walk: newWalk(t)}
	if err := w.m.Begin(); err != nil {
		t.Fatal(err)
	}
	w.follow()
	w.seen, _ = w.p.Head()
	w.kept, _ = w.l.Height(t.Context())
	w.restart()
	now := w.m.Now
	if err := w.m.Admit(w.m.Actor("迟到的会员", contracts.RoleBuyer)); err != nil {
		t.Fatal(err)
	}
	w.followed()
	w.lastOld, _ = w.p.Head()
	w.stop(false)
	w.restore()
	w.m.Now = now
	return w
}

// restart stops the market, keeps a copy of its folders, and opens it again.
func (w *lossy) restart() {
	w.t.Helper()
	w.stop(false)
	w.backup = filepath.Join(w.t.TempDir(), "backup")
	for _, part := range []string{"ledger", "tlog"} {
		copyTo(w.t, filepath.Join(w.dir, part), filepath.Join(w.backup, part))
	}
	w.open()
}

func (w *lossy) restore() {
	w.t.Helper()
	for _, part := range []string{"ledger", "tlog"} {
		copyTo(w.t, filepath.Join(w.backup, part), filepath.Join(w.dir, part))
	}
}

// followed is follow with a follower that tells of a cut.
func (w *lossy) followed() error {
	w.t.Helper()
	if err := w.p.RunOnce(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	if w.f == nil {
		var err error
		if w.f, err = follow.Open(follow.Config{Path: filepath.Join(w.dir, "provider.state"), Trust: w.trust, URL: w.front.URL, Me: w.m.Provider.ID, Now: wall,
			Log: followtest.Quiet(), HTTP: httpAs(w.m.Provider.ID), OnCut: func(kept uint64) { w.cut = append(w.cut, kept) }}); err != nil {
			w.t.Fatal(err)
		}
	}
	return w.f.RunOnce(w.t.Context())
}

// ledgerAlone opens the restored ledger without asking anybody.
func (w *lossy) ledgerAlone(rules embedded.Rules) *embedded.Ledger {
	w.t.Helper()
	l, err := embedded.Open(embedded.Config{Dir: filepath.Join(w.dir, "ledger"), LedgerID: walkID, Key: w.key, Openings: w.openings, Now: wall, Log: followtest.Quiet(), Rules: rules})
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

// loss is the venue's acceptance over the ledger as it is.
func (w *lossy) loss(l *embedded.Ledger, keys ...signing.Key) contracts.Submission {
	w.t.Helper()
	height, err := l.Height(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	es, err := l.Entries(w.t.Context(), height-1, 1)
	if err != nil {
		w.t.Fatal(err)
	}
	body := contracts.LossAccept{CosignedSize: int64(w.lastOld.Size), RestoredSize: int64(height), Kept: contracts.Hash(hex.EncodeToString(es[0].Hash[:])), Epoch: 1,
		Reason: "磁盘损坏，恢复昨夜备份"}
	sub, _ := signing.Sign(contracts.Unsigned{Ledger: walkID, Member: w.m.Venue.ID, Kind: "loss.accept", Body: body, NotBefore: w.m.Now, Random: [10]byte{9}}, nil, keys...)
	return sub
}

// goOn opens the market after the loss was accepted on the ledger.
func (w *lossy) goOn(l *embedded.Ledger) error {
	w.t.Helper()
	p, err := publish.Open(w.t.Context(), w.publishing(), l)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	if err := errors.Join(p.Close(), l.Close()); err != nil {
		w.t.Fatal(err)
	}
	w.state, w.read = map[string][]byte{}, 0
	w.open()
	return nil
}

// accept is what the witness's operator does, with its own follower.
func (w *lossy) accept(s *witness.Witness) (uint64, error) {
	w.t.Helper()
	f, err := follow.Open(follow.Config{Path: filepath.Join(w.t.TempDir(), "state"), Trust: w.trust, URL: w.front.URL, Now: wall, Log: followtest.Quiet()})
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	if err := f.RunOnce(w.t.Context()); err != nil {
		return 0, err
	}
	return s.Accept(witness.Loss{Head: f.Head(), Kept: uint64(f.Losses()[0].RestoredSize), Root: f.Root})
}

// A backup older than what witnesses cosigned does not open. With the loss accepted by two people of the venue the log
// goes on in a new epoch: followers cut what is lost, witnesses go on when their operators say so, an auditor is told.
func TestLossAccepted(t *testing.T) {
	w := newLossy(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	known, err := publish.Ask(t.Context(), w.publishing())
	if must(err); known.Size != w.lastOld.Size || known.Here.Size != w.kept || known.Epoch != 0 {
		t.Fatalf("known %+v", known)
	}
	l := w.ledgerAlone(embedded.Rules{})
	if _, err := publish.Open(t.Context(), w.publishing(), l); !errors.Is(err, publish.ErrWitnessAhead) {
		t.Fatalf("an old backup: %v", err)
	}
	var refused *ledger.Refused
	if _, err := l.Submit(t.Context(), w.loss(l, w.m.Venue.Maker)); !errors.As(err, &refused) || refused.Code != "signature.people" {
		t.Fatalf("one person: %v", err)
	}
	_, err = l.Submit(t.Context(), w.loss(l, w.m.Venue.Two()...))
	must(err)
	must(w.goOn(l))
	if o := w.p.Opening(); o.Epoch != 1 || len(o.Waiting) != 2 {
		t.Errorf("opening %+v", o)
	}
	h, _ := w.p.Head()
	if h.Epoch != 1 || h.Size != w.kept+1 || len(h.Cosignatures) != 0 || !strings.HasPrefix(h.Text(), walkID+"#1\n") {
		t.Errorf("head %q", h.Signed)
	}

	// The node had seen more: it cuts its state, says so, and starts nothing before the witnesses go on.
	must(w.followed())
	if s := w.f.Status(); s.Size != w.kept+1 || s.Epoch != 1 || len(w.cut) != 1 || w.cut[0] != w.kept {
		t.Errorf("after the cut: %+v, told %v", s, w.cut)
	}
	if err := w.f.MayStart(wall(), time.Hour); !errors.Is(err, follow.ErrStale) {
		t.Errorf("before any witness has gone on: %v", err)
	}
	for _, kv := range w.f.Scan("", 1<<20) {
		if v, err := w.Get(kv.Key); err != nil || string(v) != string(kv.Value) {
			t.Errorf("%s is not what the restored ledger has", kv.Key)
		}
	}
	old := w.lastOld.Signed
	for _, s := range w.witnesses {
		proven, err := w.accept(s.Witness)
		if must(err); proven != w.kept {
			t.Errorf("%s proves %d entries, want %d", s.Name(), proven, w.kept)
		}
		if _, err := w.accept(s.Witness); err == nil || !strings.Contains(err.Error(), "already") {
			t.Errorf("twice: %v", err)
		}
		if ev, _ := filepath.Glob(filepath.Join(s.Dir, "evidence", "loss-*")); len(ev) != 1 {
			t.Errorf("evidence %v", ev)
		}
	}
	must(w.m.Admit(w.m.Actor("新会员", contracts.RoleBuyer)))
	_, err = w.p.Cosign(t.Context()) // also of witnesses that are left alone for a while
	must(err)
	must(w.followed())
	must(w.f.MayStart(wall(), time.Hour))
	h, _ = w.p.Head()
	if h.Epoch != 1 || len(h.Cosignatures) != 2 {
		t.Errorf("the witnesses have not gone on: %q", h.Signed)
	}
	// A restart on every side remembers.
	w.stop(false)
	w.open()
	must(w.followed())
	if s := w.f.Status(); s.Epoch != 1 || len(w.cut) != 1 {
		t.Errorf("after a restart: %+v, told %v", s, w.cut)
	}

	// The auditor: checkpoints of before the backup are extended, those beyond it are excused by the acceptance, which is shown.
	trust, err := evidence.TrustOf(w.trust)
	must(err)
	audit := func(seen ...[]byte) *evidence.Report {
		t.Helper()
		r, err := evidence.Audit(t.Context(), evidence.Config{Dir: w.export(true), Trust: trust, Seen: seen})
		must(err)
		return r
	}
	r := audit(w.seen.Signed, old)
	if c := r.Check(evidence.CheckLosses); !r.OK() || c.Count != 1 || !strings.Contains(c.Detail, "lost") || !strings.Contains(c.Detail, "epoch 1") {
		t.Errorf("%+v", r.Checks)
	}
	if c := r.Check(evidence.CheckConsistency); c.Count != 1 || c.Skipped != 1 {
		t.Errorf("consistency %+v", c)
	}

	// The backup once more: now the witnesses are an epoch ahead of it.
	w.stop(false)
	w.restore()
	l = w.ledgerAlone(embedded.Rules{})
	if _, err := publish.Open(t.Context(), w.publishing(), l); !errors.Is(err, publish.ErrWitnessAhead) || !strings.Contains(err.Error(), "epoch 1") {
		t.Errorf("the backup of before the loss: %v", err)
	}
	if known, err = publish.Ask(t.Context(), w.publishing()); err != nil || known.Epoch != 1 || known.Size != h.Size {
		t.Errorf("known %+v, %v", known, err)
	}
	must(l.Close())
	w.restore()
	w.openAfter(t)
}

// openAfter gives the cleanup something to close.
func (w *lossy) openAfter(t *testing.T) {
	t.Helper()
	l := w.ledgerAlone(embedded.Rules{})
	cfg := w.publishing()
	cfg.AcceptLoss, cfg.Dir = true, filepath.Join(t.TempDir(), "tlog")
	cfg.Witnesses, cfg.Quorum = nil, 0
	p, err := publish.Open(t.Context(), cfg, l)
	if err != nil {
		t.Fatal(err)
	}
	w.l, w.p = l, p
}

// A liar's acceptance: the ledger has it, the venue's two people did not sign it, or signed it over another history.
func TestLossLied(t *testing.T) {
	// believes is a rule book that takes any acceptance of a loss.
	believes := embedded.Rules{Decode: contracts.Decode, Apply: func(st contracts.State, env contracts.Env, cmd *contracts.Command) (*contracts.Result, error) {
		res, err := contracts.Apply(st, env, cmd)
		var r *contracts.Refusal
		if err == nil || cmd.Kind != "loss.accept" || !errors.As(err, &r) {
			return res, err
		}
		b := cmd.Body().(*contracts.LossAccept)
		return &contracts.Result{Rulebook: 1, Public: true, Events: []contracts.Event{{Name: contracts.EventLoss}}, Writes: []contracts.Write{
			{Key: contracts.KeyCommand(cmd.ID), Value: canon.Marshal(contracts.Outcome{Digest: cmd.Digest, Kind: cmd.Kind})},
			{Key: contracts.KeyLoss, Value: canon.Marshal(contracts.Loss{Epoch: b.Epoch, CosignedSize: b.CosignedSize, RestoredSize: b.RestoredSize, Reason: b.Reason, Time: env.Now})}}}, nil
	}}
	t.Run("one person", func(t *testing.T) {
		w := newLossy(t)
		l := w.ledgerAlone(believes)
		if _, err := l.Submit(t.Context(), w.loss(l, w.m.Venue.Maker)); err != nil {
			t.Fatal(err)
		}
		if err := w.goOn(l); err != nil {
			t.Fatal(err)
		}
		if err := w.followed(); !errors.Is(err, follow.ErrFork) || !strings.Contains(err.Error(), "not acceptable") {
			t.Errorf("the follower: %v", err)
		}
		if s := w.f.Status(); s.Size != w.lastOld.Size || s.Epoch != 0 {
			t.Errorf("a false acceptance cut the state: %+v", s)
		}
		if _, err := w.accept(w.witnesses[0].Witness); !errors.Is(err, follow.ErrFork) {
			t.Errorf("the witness: %v", err)
		}
		h, _ := w.p.Head()
		if len(h.Cosignatures) != 0 {
			t.Error("a witness cosigned it")
		}
	})
	t.Run("another history", func(t *testing.T) {
		w := newLossy(t)
		// The operator drops the last entry that the backup had and says that it kept as many.
		l := w.ledgerAlone(believes)
		other := w.rewritten(l)
		if _, err := other.Submit(t.Context(), w.loss(other, w.m.Venue.Two()...)); err != nil {
			t.Fatal(err)
		}
		if err := w.goOn(other); err != nil {
			t.Fatal(err)
		}
		if err := w.followed(); !errors.Is(err, follow.ErrFork) || !strings.Contains(err.Error(), "not those that were followed") {
			t.Errorf("the follower: %v", err)
		}
		if _, err := w.accept(w.witnesses[0].Witness); err == nil || !strings.Contains(err.Error(), "not those that this witness cosigned") {
			t.Errorf("the witness: %v", err)
		}
		if h, _ := w.witnesses[0].Last(); h.Epoch != 0 {
			t.Error("the witness went on")
		}
	})
}

// rewritten plays all but the last entry of l into a ledger of its own, then something else: as many entries, another
// history. It closes l and takes its folder.
func (w *lossy) rewritten(l *embedded.Ledger) *embedded.Ledger {
	w.t.Helper()
	es, err := l.Entries(w.t.Context(), 0, 1<<20)
	if err != nil || len(es) != int(w.kept) {
		w.t.Fatalf("%d entries: %v", len(es), err)
	}
	if err := errors.Join(l.Close(), os.RemoveAll(filepath.Join(w.dir, "ledger")), os.RemoveAll(filepath.Join(w.dir, "tlog"))); err != nil {
		w.t.Fatal(err)
	}
	l = w.ledgerAlone(embedded.Rules{})
	for _, e := range es[:len(es)-1] {
		if _, err := l.Submit(w.t.Context(), contracts.Submission{Raw: e.Raw, Signatures: e.Signatures}); err != nil {
			w.t.Fatal(err)
		}
	}
	sub, _ := signing.Sign(contracts.Unsigned{Ledger: walkID, Member: w.m.Venue.ID, Kind: "snapshot.record", NotBefore: w.m.Now, Random: [10]byte{8},
		Body: contracts.SnapshotRecord{Entries: 1, StateHash: contracts.HashOf("test/other")}}, nil, w.m.Venue.Machine)
	if _, err := l.Submit(w.t.Context(), sub); err != nil {
		w.t.Fatal(err)
	}
	return l
}

// The signed bytes name the entry that they stand on: under another one they convict whoever put them there.
func TestCheckLoss(t *testing.T) {
	m := contractstest.NewMarket(walkID, nil, 1)
	venue := m.Actor("外滩数据交易所", contracts.RoleVenue)
	prev := [32]byte{1, 2, 3}
	entry := func(at uint64, prev [32]byte, kind string) *ledger.Entry {
		raw, _ := contracts.Unsigned{Ledger: walkID, Member: contracts.ID(strings.Repeat("0", 32)), Kind: kind, Lead: venue.Maker.Public, NotBefore: contractstest.Start,
			Body: contracts.LossAccept{CosignedSize: 9, RestoredSize: 7, Kept: contracts.Hash(hex.EncodeToString(append([]byte{1, 2, 3}, make([]byte, 29)...))), Epoch: 1}}.Bytes()
		return &ledger.Entry{Position: at, Prev: prev, Raw: raw, Events: []contracts.Event{{Name: contracts.EventLoss}}}
	}
	if _, err := ledger.CheckLoss(entry(7, prev, "loss.accept")); err != nil {
		t.Error(err)
	}
	for name, e := range map[string]*ledger.Entry{"place": entry(8, prev, "loss.accept"), "history": entry(7, [32]byte{1}, "loss.accept"), "kind": entry(7, prev, "snapshot.record"),
		"garbage": {Position: 7, Prev: prev, Raw: []byte("{}")}} {
		if _, err := ledger.CheckLoss(e); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
