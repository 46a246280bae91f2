package projection_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/server/projection"
	"github.com/bund-exchange/bund/server/projection/projectiontest"
)

// others takes the nouns of other capabilities, so that the base can be tested alone.
func others() projection.Schema {
	s := projection.Schema{Name: "others", Version: 1, DDL: `CREATE TABLE proj.others (id text COLLATE "C" PRIMARY KEY, position bigint NOT NULL, record text NOT NULL)`}
	for _, n := range []string{"product", "version", "dataset", "attestation", "objection"} {
		s.Nouns = append(s.Nouns, prefixed{n, projection.Table[contractsRaw]{Noun: n, Name: "others"}})
	}
	return s
}

func dump(t *testing.T, m *projectiontest.Market, schema string) string {
	t.Helper()
	var b bytes.Buffer
	m.Must(projection.Dump(context.Background(), m.DB, schema, &b))
	return b.String()
}

func TestProjectMembersAndKeys(t *testing.T) {
	ctx := context.Background()
	m := projectiontest.Begin(t, nil, others())
	m.Project()
	rec, err := projection.One[contracts.Member](ctx, m.DB, `SELECT id, position, record FROM proj.members WHERE credit_code = $1`, string(m.Buyer.App.CreditCode))
	m.Must(err)
	if contracts.ID(rec.ID) != m.Buyer.ID || rec.Value.State != contracts.Active || rec.Value.Name != m.Buyer.App.Name {
		t.Errorf("the buyer is %+v", rec)
	}
	state, err := m.Get(contracts.KeyMember(m.Buyer.ID))
	m.Must(err)
	if !bytes.Equal(rec.JSON, state) {
		t.Errorf("the record is not the ledger's:\n%s\n%s", rec.JSON, state)
	}
	var node, purpose string
	m.Must(m.DB.QueryRow(`SELECT node, purpose FROM proj.keys WHERE id = $1`, string(m.Provider.TLS.Public.ID())).Scan(&node, &purpose))
	if contracts.ID(node) != m.Provider.Node || purpose != "tls" {
		t.Errorf("the provider's TLS key is of node %q, purpose %q", node, purpose)
	}
	var people, duties string
	m.Must(m.DB.QueryRow(`SELECT count(*), string_agg(array_to_string(duties, '+'), ' ' ORDER BY duties) FROM proj.people WHERE member = $1`,
		string(m.Venue.ID)).Scan(&people, &duties))
	if people != "4" || duties != "administrator auditor checker maker+finance" {
		t.Errorf("the venue has %s people: %s", people, duties)
	}
}

func TestEntriesIndex(t *testing.T) {
	m := projectiontest.Begin(t, nil, others())
	m.Project()
	es, err := m.Ledger.Entries(context.Background(), 0, 1000)
	m.Must(err)
	for _, e := range es {
		var hash, kind string
		var at int64
		var public bool
		m.Must(m.DB.QueryRow(`SELECT hash, kind, time, public FROM proj.entries WHERE position = $1`, int64(e.Position)).Scan(&hash, &kind, &at, &public))
		if hash != hex.EncodeToString(e.Hash[:]) || contracts.Millis(at) != e.Time || public != e.Public || kind == "" {
			t.Fatalf("entry %d is %s %s %d %v", e.Position, hash, kind, at, public)
		}
	}
	var n int
	m.Must(m.DB.Get(&n, `SELECT count(*) FROM proj.entries`))
	if n != len(es) {
		t.Errorf("%d rows for %d entries", n, len(es))
	}
}

// The same rows come from one big batch, from batches of one, and from a rebuild.
func TestRebuildIsEqual(t *testing.T) {
	ctx := context.Background()
	m := projectiontest.Begin(t, nil, others())
	m.Listed()
	m.Project()
	first := dump(t, m, "proj")
	if !strings.Contains(first, string(m.Buyer.ID)) {
		t.Fatal("the dump doesn't hold the buyer")
	}
	m.Projector.Batch = 1
	m.Must(m.Projector.Rebuild(ctx))
	if again := dump(t, m, "proj"); again != first {
		t.Error("a rebuild in batches of one entry gives other rows")
	}
	m.Projector.Batch = 3
	m.Must(m.Projector.RunOnce(ctx))
	if again := dump(t, m, "proj"); again != first {
		t.Error("projecting nothing new changed rows")
	}
}

func TestTwoProjectorsTakeTurns(t *testing.T) {
	ctx := context.Background()
	m := projectiontest.Begin(t, nil, others())
	m.Projector.Batch = 2
	m.Must(m.Projector.Prepare(ctx))
	second, err := projection.New(m.DB, m.Ledger, others())
	m.Must(err)
	second.Batch = 3
	m.Must(second.Prepare(ctx))
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i, p := range []*projection.Projector{m.Projector, second} {
		wg.Go(func() { errs[i] = p.RunOnce(ctx) })
	}
	wg.Wait()
	m.Must(errors.Join(errs...))
	shared := dump(t, m, "proj")
	m.Must(m.Projector.Rebuild(ctx))
	if alone := dump(t, m, "proj"); alone != shared {
		t.Error("two projectors made other rows than one")
	}
}

func TestWaitFor(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	m := projectiontest.Begin(t, nil, others())
	done := make(chan error, 1)
	m.Must(m.Projector.Prepare(ctx))
	go func() { done <- m.Projector.Run(ctx) }()
	at := m.Height()
	m.Must(m.Advance(60))
	m.Must(m.Projector.WaitFor(ctx, at))
	var kind string
	m.Must(m.DB.Get(&kind, `SELECT kind FROM proj.entries WHERE position = $1`, int64(at)))
	if kind != "clock.advance" {
		t.Errorf("the entry waited for is %s", kind)
	}
	// Another process sees the same through the database.
	other, err := projection.New(m.DB, m.Ledger, others())
	m.Must(err)
	m.Must(other.WaitFor(ctx, at))
	waiting, cancel := context.WithCancel(ctx)
	cancel()
	if err := m.Projector.WaitFor(waiting, at+1); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for what isn't there: %v", err)
	}
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run ended with %v", err)
	}
}

func TestMarketTime(t *testing.T) {
	ctx := context.Background()
	m := projectiontest.Begin(t, nil, others())
	m.Must(m.Advance(3600))
	m.Project()
	mk, err := projection.ReadMarket(ctx, m.DB)
	m.Must(err)
	now, err := mk.Now(m.Now + 1e9)
	m.Must(err)
	if now != m.Now || mk.Venue != m.Venue.ID || mk.Rules.Version != 1 {
		t.Errorf("scripted time %d, want %d; venue %s, rules %+v", now, m.Now, mk.Venue, mk.Rules)
	}
	m.Must(m.Do(m.Venue.ID, "clock.release", contracts.ClockRelease{Reason: "test"}, nil, m.Venue.Machine))
	m.Project()
	mk, err = projection.ReadMarket(ctx, m.DB)
	m.Must(err)
	if now, err = mk.Now(m.Now + 5); err != nil || now != m.Now+5 {
		t.Errorf("released time %d, %v", now, err)
	}
}

// altered is a ledger whose entry at a position has another predecessor.
type altered struct {
	projection.Source
	at uint64
}

func (a altered) Entries(ctx context.Context, from uint64, limit int) ([]*ledger.Stored, error) {
	es, err := a.Source.Entries(ctx, from, limit)
	for i, e := range es {
		if e.Position == a.at {
			c, s := *e.Entry, *e
			c.Prev[0] ^= 1
			s.Entry = &c
			es[i] = &s
		}
	}
	return es, err
}

// shorter is a ledger restored from a backup.
type shorter struct {
	projection.Source
	height uint64
}

func (s shorter) Height(context.Context) (uint64, error) { return s.height, nil }
func (s shorter) Entries(ctx context.Context, from uint64, limit int) ([]*ledger.Stored, error) {
	if from >= s.height {
		return nil, nil
	}
	return s.Source.Entries(ctx, from, min(limit, int(s.height-from)))
}

func TestOtherLedgerIsRefused(t *testing.T) {
	ctx := context.Background()
	m := projectiontest.Begin(t, nil, others())
	m.Must(m.Projector.Prepare(ctx))
	real := m.Projector.Source
	m.Projector.Source = altered{real, 4}
	m.Projector.Batch = 3
	if err := m.Projector.RunOnce(ctx); !errors.Is(err, projection.ErrDiverged) {
		t.Fatalf("an entry with another predecessor: %v", err)
	}
	m.Projector.Source = real
	m.Must(m.Projector.RunOnce(ctx))
	m.Projector.Source = shorter{real, 5}
	if err := m.Projector.RunOnce(ctx); !errors.Is(err, projection.ErrDiverged) {
		t.Errorf("a ledger shorter than the projection: %v", err)
	}
	m.Must(m.Projector.Rebuild(ctx))
	if got := m.Projector.Projected(); got != 5 {
		t.Errorf("%d entries after the rebuild of a shorter ledger", got)
	}
}

func TestUnknownNounIsRefused(t *testing.T) {
	m := projectiontest.Begin(t, nil) // no table for products
	auth, err := m.Authorize()
	m.Must(err)
	_, err = m.Draft(m.Facts(auth))
	m.Must(err)
	ctx := context.Background()
	m.Must(m.Projector.Prepare(ctx))
	err = m.Projector.RunOnce(ctx)
	if err == nil || !strings.Contains(err.Error(), "no table takes product/") {
		t.Errorf("a noun without a table: %v", err)
	}
	var n int
	m.Must(m.DB.Get(&n, `SELECT count(*) FROM proj.entries`))
	if n != 0 {
		t.Errorf("%d entries of a batch that failed are there", n)
	}
}

// A change of the tables rebuilds proj at the next start, by itself.
func TestChangedSchemaRebuilds(t *testing.T) {
	ctx := context.Background()
	m := projectiontest.Begin(t, nil, others())
	m.Project()
	s := others()
	s.DDL += `; CREATE INDEX others_position ON proj.others (position)`
	p, err := projection.New(m.DB, m.Ledger, s)
	m.Must(err)
	if err := p.RunOnce(ctx); err == nil {
		t.Error("it projected into tables of another version")
	}
	m.Must(p.Prepare(ctx))
	if p.Projected() != 0 {
		t.Errorf("%d entries are projected after the change", p.Projected())
	}
	m.Must(p.RunOnce(ctx))
	if p.Projected() != m.Height() {
		t.Errorf("%d of %d entries", p.Projected(), m.Height())
	}
}

// behind is what another replica's source has of the ledger so far.
type behind struct {
	projection.Source
	mu     sync.Mutex
	height uint64
	grew   chan struct{}
	waits  chan uint64 // for which height somebody begins to wait
}

func (b *behind) have(height uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.height = height
	close(b.grew)
	b.grew = make(chan struct{})
}

func (b *behind) Height(context.Context) (uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.height, nil
}

func (b *behind) Entries(ctx context.Context, from uint64, limit int) ([]*ledger.Stored, error) {
	h, _ := b.Height(ctx)
	if from >= h {
		return nil, nil
	}
	return b.Source.Entries(ctx, from, int(min(uint64(limit), h-from)))
}

func (b *behind) Wait(ctx context.Context, from uint64) error {
	for {
		b.mu.Lock()
		h, grew := b.height, b.grew
		b.mu.Unlock()
		if h > from {
			return nil
		}
		select {
		case b.waits <- from + 1:
		default:
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-grew:
		}
	}
}

// A replica takes over whose ledger has less than what the one before it has projected: it waits, and goes on from there.
// Until then it watches.
func TestTakingOverBehind(t *testing.T) {
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	m := projectiontest.Begin(t, nil, others())
	m.Project()
	height := m.Height()
	source := &behind{Source: m.Ledger, height: 5, grew: make(chan struct{}), waits: make(chan uint64)}
	second, err := projection.New(m.DB, source, others())
	m.Must(err)
	second.Shared = true
	m.Must(second.Prepare(ctx))
	done := make(chan error, 2)
	watching, unwatch := context.WithCancel(ctx)
	go func() { done <- second.Watch(watching) }()
	m.Must(m.Advance(60))
	m.Must(m.Projector.RunOnce(ctx))
	source.have(height + 1)
	for second.Projected() != height+1 {
		if ctx.Err() != nil {
			t.Fatalf("watching, it knows of %d entries of %d", second.Projected(), height+1)
		}
		time.Sleep(time.Millisecond)
	}
	unwatch()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}

	source.have(5)
	m.Must(m.Advance(60))
	m.Must(m.Projector.RunOnce(ctx))
	m.Must(m.Advance(60)) // of this the second one is the first to know
	running, end := context.WithCancel(ctx)
	go func() { done <- second.Run(running) }()
	source.have(height + 1)
	select {
	case err := <-done:
		t.Fatalf("behind, it ended with %v", err)
	case until := <-source.waits:
		if until != height+2 {
			t.Errorf("behind, it waits for %d entries, want %d", until, height+2)
		}
	}
	source.have(height + 3)
	m.Must(second.WaitFor(ctx, height+2))
	end()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	shared := dump(t, m, "proj")
	m.Must(m.Projector.Rebuild(ctx))
	if alone := dump(t, m, "proj"); alone != shared {
		t.Error("two projectors made other rows than one")
	}

	// What is no continuation stays one that isn't.
	second.Source = m.Ledger
	if _, err := m.DB.Exec(`UPDATE proj.position SET hash = repeat('ab', 32)`); err != nil {
		t.Fatal(err)
	}
	m.Must(m.Advance(60))
	if err := second.RunOnce(ctx); !errors.Is(err, projection.ErrDiverged) {
		t.Errorf("another history: %v", err)
	}
}
