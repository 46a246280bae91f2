package compliance_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/evidence"
	"github.com/bund-exchange/bund/ledger/follow"
	"github.com/bund-exchange/bund/ledger/publish"
	"github.com/bund-exchange/bund/ledger/publish/publishtest"
	"github.com/bund-exchange/bund/ledger/witness/witnesstest"
	"github.com/bund-exchange/bund/server/catalog"
	"github.com/bund-exchange/bund/server/compliance"
	"github.com/bund-exchange/bund/server/projection"
	"github.com/bund-exchange/bund/server/projection/projectiontest"
	"github.com/bund-exchange/bund/server/trading"
)

// bureau is a market with a published log and a witness, and one trade settled.
type bureau struct {
	*projectiontest.Market
	t         *testing.T
	openings  trading.Openings
	publisher *publish.Publisher
	exporter  *compliance.Exporter
	trust     evidence.Trust
	seen      []byte // a checkpoint from before the trade
	deal      *contractstest.Deal
}

func open(t *testing.T) *bureau {
	t.Helper()
	m := projectiontest.Begin(t, func(db *sqlx.DB) ledger.Openings { return trading.Openings{DB: db} }, catalog.Schema(), trading.Schema())
	b := &bureau{Market: m, t: t, openings: trading.Openings{DB: m.DB}}
	signer, key := publishtest.Key(t, projectiontest.LedgerID)
	w := witnesstest.Start(t, "regulator.example", key, time.Now)
	var err error
	b.publisher, err = publish.Open(t.Context(), publish.Config{Dir: t.TempDir(), Ledger: projectiontest.LedgerID, Signer: signer, LogKey: key,
		Witnesses: []publish.Witness{{URL: w.URL, Key: w.Key}}, Quorum: 1, CheckpointEvery: time.Millisecond, Now: time.Now, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}, m.Ledger)
	m.Must(err)
	t.Cleanup(func() { b.publisher.Close() })
	es, err := m.Ledger.Entries(t.Context(), 0, 1)
	m.Must(err)
	b.trust, err = evidence.TrustOf(follow.TrustRoot{Format: follow.TrustRootFormat, Ledger: projectiontest.LedgerID,
		Genesis: contracts.Hash(hex.EncodeToString(es[0].Hash[:])), LogKey: key, Witnesses: []string{w.Key}, Quorum: 1})
	m.Must(err)
	b.exporter = &compliance.Exporter{LedgerID: projectiontest.LedgerID, Ledger: m.Ledger, Head: b.publisher.Head, Openings: b.openings, Signer: signer, Now: time.Now}

	b.publish()
	h, _ := b.publisher.Head()
	b.seen = h.Signed
	d, err := m.Agree(m.Listed(), contracts.Trade, contractstest.Policy(policy.PreLoan), contractstest.Terms())
	m.Must(err)
	b.deal = d
	m.Must(m.Deposit(d, 1_000_000))
	m.Must(m.Activate(d))
	m.Must(m.Report(d, 1, false, 400, contracts.Totals{Calls: 400, Units: 400, Micro: 400 * d.Terms.UnitPrice}))
	m.Must(m.Do(m.Provider.ID, "period.close", contracts.PeriodClose{Agreement: d.Agreement, Number: 1, Month: contracts.PeriodOf(m.Now)}, nil, m.Provider.Machine))
	m.Must(m.Report(d, 1, true, 401, contracts.Totals{Calls: 400, Units: 400, Micro: 400 * d.Terms.UnitPrice}))
	m.Must(m.Do(m.Buyer.ID, "acceptance.record", contracts.AcceptanceRecord{Agreement: d.Agreement, Period: 1, Report: contracts.HashOf("test/acceptance")}, nil, m.Buyer.Two()...))
	m.Must(m.Settle(d, 1, 335_320))
	return b
}

// publish brings the published log up to the ledger.
func (b *bureau) publish() {
	b.t.Helper()
	for {
		b.Must(b.publisher.RunOnce(b.t.Context()))
		if h, ok := b.publisher.Head(); ok && h.Size == b.Height() {
			return
		}
	}
}

func (b *bureau) export(openings bool) string {
	b.t.Helper()
	dir := filepath.Join(b.t.TempDir(), "export")
	b.Must(b.exporter.Write(b.t.Context(), dir, string(b.Regulator.ID), "例行检查", openings))
	return dir
}

func (b *bureau) audit(dir string) *evidence.Report {
	b.t.Helper()
	r, err := evidence.Audit(b.t.Context(), evidence.Config{Dir: dir, Trust: b.trust, Seen: [][]byte{b.seen}})
	b.Must(err)
	return r
}

// verdicts fails for every check that isn't as wanted; those not named must be verified.
func (b *bureau) verdicts(r *evidence.Report, not map[string]evidence.Verdict) {
	b.t.Helper()
	for _, c := range r.Checks {
		want := evidence.Verified
		if v, ok := not[c.Name]; ok {
			want = v
		}
		if c.Verdict != want {
			b.t.Errorf("%s is %s (%s: %s), want %s", c.Name, c.Verdict, c.Where, c.Detail, want)
		}
	}
}

// One market for all: each part leaves it as the next expects it.
func TestExport(t *testing.T) {
	b := open(t)
	for _, part := range []struct {
		name string
		test func(*testing.T, *bureau)
	}{
		{"audited", exportIsAudited}, {"zip", exportAsZip}, {"another history", exportOfAnotherHistory}, {"list of entries", listEntries},
		{"ends at the head", exportEndsAtTheHead}, {"erasure and loss", exportTellsErasureFromLoss},
	} {
		t.Run(part.name, func(t *testing.T) {
			c := *b
			c.t = t
			part.test(t, &c)
		})
	}
}

// What the market exports is verified without the market: all of it with the openings, and without them all that needs
// none.
func exportIsAudited(t *testing.T, b *bureau) {
	b.publish()
	whole := b.audit(b.export(true))
	b.verdicts(whole, nil)
	if d := whole.Check(evidence.CheckMoney).Detail; !strings.Contains(d, "1000000 fen paid in") || !strings.Contains(d, "335320 charged") {
		t.Errorf("money: %s", d)
	}
	if whole.Manifest.Requester != string(b.Regulator.ID) || whole.Manifest.Reason != "例行检查" || whole.Manifest.Entries != int64(b.Height()) {
		t.Errorf("the manifest says %+v", whole.Manifest)
	}
	bare := b.audit(b.export(false))
	b.verdicts(bare, map[string]evidence.Verdict{evidence.CheckRules: evidence.NotCheckable, evidence.CheckOpenings: evidence.NotCheckable,
		evidence.CheckMoney: evidence.NotCheckable})
	if bare.State != whole.State {
		t.Errorf("without openings the state is %s, with them %s", bare.State, whole.State)
	}
}

// The head that was published is what an export is of, however far the ledger has got since.
func exportEndsAtTheHead(t *testing.T, b *bureau) {
	head := b.exporter.Head
	b.exporter.Head = func() (publish.Head, bool) { return publish.Head{}, false }
	if err := b.exporter.Write(t.Context(), t.TempDir(), "operator", "r", true); !errors.Is(err, compliance.ErrNothingPublished) {
		t.Errorf("before anything is published: %v", err)
	}
	b.exporter.Head = head
	b.publish()
	h, _ := b.publisher.Head()
	b.Must(b.Deposit(b.deal, 5_000)) // its openings come along, and belong to no entry of the export
	r := b.audit(b.export(true))
	b.verdicts(r, nil)
	if r.Head.Size != h.Size || r.Manifest.Entries != int64(h.Size) {
		t.Errorf("the export has %d entries, the head %d", r.Manifest.Entries, h.Size)
	}
}

// A value that is gone without an erasure on the ledger is a failure of the audit; with one it is not.
func exportTellsErasureFromLoss(t *testing.T, b *bureau) {
	b.publish()
	b.Must(b.openings.Destroy(t.Context(), []contracts.Hash{b.deal.Offer.Terms}))
	if r := b.audit(b.export(true)); r.OK() || r.Check(evidence.CheckOpenings).Verdict != evidence.Failed {
		t.Errorf("a lost opening: %+v", r.Check(evidence.CheckOpenings))
	}
	b.Must(b.Do(b.Venue.ID, "erasure.record", contracts.ErasureRecord{Commitments: []contracts.Hash{b.deal.Offer.Terms}, Reason: "test"}, nil, b.Venue.Maker))
	// The erasure isn't published yet: an export that lacks the opening but not the erasure would accuse the venue.
	if err := b.exporter.Write(t.Context(), filepath.Join(t.TempDir(), "export"), "operator", "r", true); !errors.Is(err, compliance.ErrErased) {
		t.Errorf("an export in the middle of an erasure: %v", err)
	}
	b.publish()
	r := b.audit(b.export(true))
	if !r.OK() || r.Check(evidence.CheckOpenings).Verdict != evidence.NotCheckable {
		t.Errorf("an erased opening: %+v", r.Check(evidence.CheckOpenings))
	}
}

// altering is a ledger of a dishonest venue: one byte of an entry is another.
type altering struct {
	compliance.Source
	position uint64
}

func (a altering) Entries(ctx context.Context, from uint64, limit int) ([]*ledger.Stored, error) {
	es, err := a.Source.Entries(ctx, from, limit)
	for i, e := range es {
		if e.Position == a.position {
			c := *e
			c.Encoded = bytes.Clone(e.Encoded)
			c.Encoded[len(c.Encoded)/2] ^= 1
			es[i] = &c
		}
	}
	return es, err
}

func exportOfAnotherHistory(t *testing.T, b *bureau) {
	b.publish()
	honest := b.exporter.Ledger
	defer func() { b.exporter.Ledger = honest }()
	b.exporter.Ledger = altering{b.exporter.Ledger, b.Height() / 2}
	if r := b.audit(b.export(true)); r.OK() {
		t.Error("an altered entry passes the audit")
	}
}

func exportAsZip(t *testing.T, b *bureau) {
	b.publish()
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	f, size, err := b.exporter.Zip(t.Context(), string(b.Regulator.ID), "例行检查", true)
	b.Must(err)
	content, err := io.ReadAll(f)
	b.Must(err)
	if int64(len(content)) != size {
		t.Errorf("%d bytes, %d were announced", len(content), size)
	}
	b.Must(f.Close())
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("%v stay behind, %v", left, err)
	}
	z, err := zip.NewReader(bytes.NewReader(content), size)
	b.Must(err)
	dir := t.TempDir()
	b.Must(os.CopyFS(dir, z))
	b.verdicts(b.audit(dir), nil)
}

func listEntries(t *testing.T, b *bureau) {
	b.Project()
	var positions []int64
	for after := ""; ; {
		items, next, err := compliance.Entries(t.Context(), b.DB, compliance.Query{Limit: 7, After: after})
		b.Must(err)
		for _, e := range items {
			positions = append(positions, e.Position)
		}
		if after = next; after == "" {
			break
		}
	}
	if len(positions) != int(b.Height()) {
		t.Errorf("%d entries of %d", len(positions), b.Height())
	}
	for i, p := range positions {
		if want := int64(b.Height()) - 1 - int64(i); p != want {
			t.Fatalf("entry %d of the list is at %d, want %d", i, p, want)
		}
	}
	for _, c := range []struct {
		q    compliance.Query
		want int
	}{
		{compliance.Query{Kind: "settlement.settle"}, 1},
		{compliance.Query{Kind: "movement.deposit", Member: b.Custodian.ID}, 1},
		{compliance.Query{Kind: "movement.deposit", Member: b.Buyer.ID}, 0},
	} {
		items, next, err := compliance.Entries(t.Context(), b.DB, c.q)
		b.Must(err)
		if len(items) != c.want || next != "" {
			t.Errorf("%+v gives %d entries and %q", c.q, len(items), next)
		}
	}
	for _, after := range []string{"x", "-1", "1.5"} {
		if _, _, err := compliance.Entries(t.Context(), b.DB, compliance.Query{After: after}); !errors.Is(err, projection.ErrBadCursor) {
			t.Errorf("%q: %v", after, err)
		}
	}
}
