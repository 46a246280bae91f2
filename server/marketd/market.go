package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/embedded"
	"github.com/bund-exchange/bund/ledger/publish"
	"github.com/bund-exchange/bund/server/catalog"
	"github.com/bund-exchange/bund/server/identity"
	"github.com/bund-exchange/bund/server/pg"
	"github.com/bund-exchange/bund/server/projection"
	"github.com/bund-exchange/bund/server/publication"
	"github.com/bund-exchange/bund/server/trading"
)

// Market is all parts of a market, open. Parts are opened in the order in which they depend on each other: nothing is
// accepted before the witnesses have said that this is no old backup.
type Market struct {
	cfg      *Config
	log      *slog.Logger
	now      func() time.Time
	db       *pg.Database
	openings trading.Openings
	ledger   Ledger
	pub      published
	proj     *projection.Projector
	identity *identity.Directory
}

// published is the log that everybody reads: this process's own, or the one that all replicas serve and one writes.
type published interface {
	Head() (publish.Head, bool)
	Handler() http.Handler
	EntriesHandler(a publish.Audience) http.Handler
	Proof(ctx context.Context, index uint64) (publish.Proof, error)
	Status(ctx context.Context) publish.Status
	Run(ctx context.Context) error
	Close() error
}

// schemas are what the projection holds.
func schemas() []projection.Schema {
	return []projection.Schema{catalog.Schema(), trading.Schema()}
}

// openDatabase opens and migrates PostgreSQL.
func openDatabase(ctx context.Context, cfg *Config, log *slog.Logger) (*pg.Database, error) {
	db, err := pg.Open(ctx, pg.Config{URL: cfg.Database, Dir: filepath.Join(cfg.Dir, "postgres"), CacheDir: filepath.Join(cfg.Dir, "postgres-programs"), Log: log})
	if err != nil {
		return nil, err
	}
	if err := pg.Migrate(ctx, db.DB, log); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func (m *Market) publishConfig() publish.Config {
	c := m.cfg
	return publish.Config{Dir: c.tlog(), Ledger: c.Ledger, Signer: c.log, LogKey: c.logPublic, Witnesses: c.witnesses(), Quorum: c.Quorum,
		AllowUnwitnessed: c.AllowUnwitnessed, RecosignEvery: 10 * time.Second, Now: m.now, Log: m.log}
}

// OpenMarket opens everything.
func OpenMarket(ctx context.Context, cfg *Config, log *slog.Logger) (_ *Market, err error) {
	m := &Market{cfg: cfg, log: log, now: time.Now}
	defer func() {
		if err != nil {
			m.Close()
		}
	}()
	if m.db, err = openDatabase(ctx, cfg, log); err != nil {
		return nil, err
	}
	m.openings = trading.Openings{DB: m.db.DB}
	known, err := publish.Ask(ctx, m.publishConfig())
	if err != nil {
		return nil, err
	}
	atLeast := known.Size
	if known.Epoch > known.Here.Epoch {
		atLeast = known.Here.Size // sizes of another epoch say nothing; the published log refuses below
	}
	if err := m.openLedger(ctx, atLeast); errors.Is(err, embedded.ErrLogBehind) {
		return nil, fmt.Errorf("%w (the published checkpoint and the witnesses speak for %d entries)", err, known.Size)
	} else if err != nil {
		return nil, err
	}
	if h, err := m.ledger.Height(ctx); err != nil || h == 0 {
		return nil, errors.Join(err, errors.New("the ledger has no genesis: run marketd init"))
	}
	if err := m.openPublished(ctx); err != nil {
		return nil, fmt.Errorf("couldn't open the published log: %w", err)
	}
	if m.proj, err = projection.New(m.db.DB, m.ledger, schemas()...); err != nil {
		return nil, err
	}
	m.proj.Log, m.proj.Shared = log, cfg.Fabric != nil
	if err := m.proj.Prepare(ctx); err != nil {
		return nil, err
	}
	if err := (&catalog.Catalog{DB: m.db.DB}).IndexManuals(ctx); err != nil {
		return nil, err
	}
	m.identity = identity.New(m.db.DB)
	return m, nil
}

// openPublished opens the log. An embedded ledger's is this process's own from the start: only its witnesses know of an old
// backup. A network has its history from its peers, and the replica whose turn it is publishes it.
func (m *Market) openPublished(ctx context.Context) error {
	if m.cfg.Fabric != nil {
		l, err := publication.Open(ctx, m.db.DB, m.publishConfig(), m.ledger)
		if err != nil {
			return err
		}
		m.pub = l
		return nil
	}
	p, err := publish.Open(ctx, m.publishConfig(), m.ledger)
	if err != nil {
		return err
	}
	m.pub = p
	m.log.Info("the published log is open", "opening", fmt.Sprintf("%+v", p.Opening()))
	return nil
}

// Close closes in reverse order.
func (m *Market) Close() error {
	var errs []error
	if m.pub != nil {
		errs = append(errs, m.pub.Close())
	}
	if m.ledger != nil {
		errs = append(errs, m.ledger.Close())
	}
	if m.db != nil {
		errs = append(errs, m.db.Close())
	}
	return errors.Join(errs...)
}

// callerOf authenticates a request beside the API: a machine by its bearer token, nobody without one.
func (m *Market) callerOf(r *http.Request) (contracts.ID, error) {
	const scheme = "Bearer "
	h := r.Header.Get("Authorization")
	if h == "" {
		return "", nil
	}
	if len(h) <= len(scheme) || h[:len(scheme)] != scheme {
		return "", errors.New("want a bearer token")
	}
	c, err := m.identity.Bearer(r.Context(), h[len(scheme):])
	return c.Member, err
}

// mayRead: the audience, and whoever supervises.
func (m *Market) mayRead(caller contracts.ID, e *ledger.Entry) bool {
	if publish.InAudience(caller, e) {
		return true
	}
	if caller == "" {
		return false
	}
	supervises := false
	m.ledger.View(func(_ uint64, st contracts.State) error {
		b, err := st.Get(contracts.KeyMember(caller))
		if err != nil || b == nil {
			return err
		}
		x, err := contracts.Read[contracts.Member](b)
		supervises = err == nil && x.State == contracts.Active && (x.Has(contracts.RoleVenue) || x.Has(contracts.RoleRegulator))
		return err
	})
	return supervises
}
