package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/embedded"
	"github.com/bund-exchange/bund/ledger/fabric/profile"
	"github.com/bund-exchange/bund/ledger/publish"
	"github.com/bund-exchange/bund/server/pg/pgtest"
	"github.com/bund-exchange/bund/server/projection"
	"github.com/bund-exchange/bund/server/trading"
)

// joined is a replica's part in a ledger that others use, too: closing it leaves it to them. What it shows may be behind.
type joined struct {
	Ledger
	lag *lag
}

func (joined) Close() error                       { return nil }
func (joined) Collectors() []prometheus.Collector { return nil }

func (j joined) Height(ctx context.Context) (uint64, error) {
	h, err := j.Ledger.Height(ctx)
	return j.lag.bound(h), err
}

func (j joined) Entries(ctx context.Context, from uint64, limit int) ([]*ledger.Stored, error) {
	es, err := j.Ledger.Entries(ctx, from, limit)
	h := j.lag.bound(from + uint64(len(es)))
	if h <= from {
		return nil, err
	}
	return es[:h-from], err
}

func (j joined) Wait(ctx context.Context, from uint64) error {
	for {
		at, grew := j.lag.now()
		if at > from {
			return j.Ledger.Wait(ctx, from)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-grew:
		}
	}
}

// lag is how far the blocks have come that a replica knows.
type lag struct {
	mu   sync.Mutex
	at   uint64
	grew chan struct{}
}

const upToDate = 1 << 62

func newLag() *lag { return &lag{at: upToDate, grew: make(chan struct{})} }

func (l *lag) set(at uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at = at
	close(l.grew)
	l.grew = make(chan struct{})
}

func (l *lag) now() (uint64, chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at, l.grew
}

func (l *lag) bound(h uint64) uint64 {
	at, _ := l.now()
	return min(h, at)
}

// several are replicas of one market in one process: an embedded ledger stands for the network, and has one database and
// one folder of the published log with all of them.
type several struct {
	*stand
	db   *sqlx.DB
	url  string
	lags map[string]*lag
}

func newSeveral(t *testing.T, names ...string) *several {
	t.Helper()
	s := &several{stand: newStand(t, ""), lags: map[string]*lag{}}
	s.db, s.url = pgtest.NewURL(t)
	l, err := embedded.Open(embedded.Config{Dir: s.path("network"), LedgerID: ledgerID, Key: ed25519.NewKeyFromSeed(make([]byte, 32)), Openings: trading.Openings{DB: s.db}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	was := joinNetwork
	t.Cleanup(func() { joinNetwork = was })
	joinNetwork = func(_ context.Context, m *Market, _ *profile.Network) (Ledger, error) {
		return joined{l, s.lags[filepath.Base(m.cfg.Dir)]}, nil
	}
	s.profile(ledgerID)
	for _, name := range names {
		s.lags[name] = newLag()
	}
	s.configs(names, "fabric: {network: network.yaml, organisation: venue, tlog: tlog}\n")
	s.begin()
	return s
}

// configs writes the configuration of each replica, and for init that of the last.
func (s *several) configs(names []string, fabric string) {
	s.t.Helper()
	separator := "?"
	if strings.Contains(s.url, "?") {
		separator = "&"
	}
	for _, name := range names {
		s.config(s.url+separator+"application_name="+name, fabric)
		b, err := os.ReadFile(s.path("market.yaml"))
		if err != nil {
			s.t.Fatal(err)
		}
		file := strings.NewReplacer("promiseKey: promise.seed\n", "", "dir: market\n", "dir: "+name+"\n").Replace(string(b))
		s.write(name+".yaml", file)
		s.write("market.yaml", file)
	}
}

// replica is one that runs.
type replica struct {
	*several
	name string
	base string
	stop context.CancelFunc
	done chan struct{}
	err  error // of Run, once done
	dead bool  // what it says at its end is no matter
	log  *watch
}

// start runs a replica until it stops, or the test ends.
func (s *several) start(name string) *replica {
	s.t.Helper()
	cfg, err := ReadConfig(s.path(name + ".yaml"))
	if err != nil {
		s.t.Fatal(err)
	}
	r := &replica{several: s, name: name, done: make(chan struct{}), log: &watch{open: make(chan string, 1)}}
	m, err := OpenMarket(s.t.Context(), cfg, slog.New(slog.NewJSONHandler(r.log, nil)))
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(s.t.Context())
	r.stop = stop
	go func() {
		defer close(r.done)
		r.err = m.Run(ctx)
	}()
	var once sync.Once
	ended := func() {
		once.Do(func() {
			stop()
			<-r.done
			if err := errors.Join(r.err, m.Close()); err != nil && !errors.Is(err, context.Canceled) && !r.dead {
				s.t.Errorf("replica %s: %v", name, err)
			}
		})
	}
	r.stop = ended
	s.t.Cleanup(ended)
	select {
	case addr := <-r.log.open:
		r.base = "http://" + addr
	case <-r.done:
		s.t.Fatalf("replica %s ended: %v\n%s", name, r.err, r.log.text())
	}
	return r
}

// use makes a replica the one that commands and questions go to.
func (r *replica) use() { r.several.stand.base = r.base }

// ask asks this replica as the venue's machine.
func (r *replica) ask(method, path string) (int, string) {
	r.t.Helper()
	was := r.several.stand.base
	defer func() { r.several.stand.base = was }()
	r.use()
	return r.several.stand.ask(method, path, "")
}

// until waits for a condition, much longer than it takes.
func (s *several) until(what string, ok func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			s.t.Fatalf("it doesn't come to this: %s", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// jobs are those of which one replica runs each.
var jobs = []string{"clearing", "compliance.anchor", "erasures", "identity.sweep", "intents", "projector", "published log"}

// holds are the jobs whose lock a replica has.
func (s *several) holds(name string) (held []string) {
	s.t.Helper()
	const q = `SELECT DISTINCT replace(a.application_name, $1 || ' job ', '') FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		WHERE l.locktype = 'advisory' AND l.granted AND a.datname = current_database() AND a.application_name LIKE $1 || ' job %' ORDER BY 1`
	if err := s.db.Select(&held, q, name); err != nil {
		s.t.Fatal(err)
	}
	return held
}

func (s *several) allBy(name string) {
	s.t.Helper()
	s.until(name+" has all jobs", func() bool { return slices.Equal(s.holds(name), jobs) })
}

// terminate ends a replica's sessions: those of its jobs, or all.
func (s *several) terminate(name string, all bool) {
	s.t.Helper()
	const q = `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND (application_name LIKE $1 || ' job %' OR $2 AND application_name = $1)`
	var n int
	if err := s.db.Get(&n, q, name, all); err != nil || n < len(jobs) {
		s.t.Fatalf("%d sessions of %s ended: %v", n, name, err)
	}
}

func (s *several) height() uint64 {
	s.t.Helper()
	var n uint64
	if err := s.db.Get(&n, `SELECT next FROM proj.position`); err != nil {
		s.t.Fatal(err)
	}
	return n
}

// same holds what replicas serve against each other: it must be equal, byte for byte.
func (s *several) same(size uint64, rs ...*replica) {
	s.t.Helper()
	for _, r := range rs {
		// A request for cosignatures publishes all there is, through whichever replica.
		status, body := r.ask(http.MethodPost, "/cosign")
		if status != http.StatusOK || !strings.HasPrefix(body, fmt.Sprintf("%s\n%d\n", ledgerID, size)) || !strings.Contains(body, "witness.test") {
			s.t.Fatalf("/cosign at %s, want size %d: status %d: %s\n%s", r.name, size, status, body, r.log.text())
		}
	}
	position := size - 1
	paths := []string{fmt.Sprintf("/members?min_position=%d", position),
		fmt.Sprintf("/tile/0/000.p/%d", size), fmt.Sprintf("/tile/entries/000.p/%d", size), fmt.Sprintf("/entries?from=0&to=%d", size)}
	for _, path := range paths {
		_, want := rs[0].ask(http.MethodGet, path)
		for _, r := range rs {
			if status, body := r.ask(http.MethodGet, path); status != http.StatusOK || body != want || body == "" {
				s.t.Errorf("%s at %s: status %d\n%q\nwant\n%q", path, r.name, status, body, want)
			}
		}
	}
	// The first ones carry cosignatures, which are renewed meanwhile; the last says what a replica knows to be projected.
	for _, path := range []string{"/checkpoint", fmt.Sprintf("/proofs/%d", position), "/ledger"} {
		s.until("equal "+path, func() bool {
			answers := map[string]bool{}
			for _, r := range rs {
				status, body := r.ask(http.MethodGet, path)
				if status != http.StatusOK {
					s.t.Fatalf("%s at %s: status %d: %s", path, r.name, status, body)
				}
				answers[body] = true
			}
			return len(answers) == 1
		})
	}
	for _, r := range rs {
		if status, body := r.ask(http.MethodGet, "/readyz"); status != http.StatusOK {
			s.t.Errorf("%s isn't ready: %s\n%s", r.name, body, r.log.text())
		}
	}
}

func TestReplicas(t *testing.T) {
	s := newSeveral(t, "a", "b")
	a := s.start("a")
	s.allBy("a")
	b := s.start("b")
	size := uint64(1)
	admit := func(r *replica, name string) {
		t.Helper()
		r.use()
		s.admit(name)
		size += 3
	}
	admit(a, "甲")
	admit(b, "乙")
	s.same(size, a, b)
	if held := s.holds("b"); len(held) > 0 {
		t.Errorf("b has %v, too", held)
	}
	// A node asks now one, now the other.
	balancer := &balancer{}
	balancer.to(a, b)
	front := httptest.NewServer(balancer)
	t.Cleanup(front.Close)
	s.base = front.URL
	node := s.follower()
	s.upTo(node, size)

	// The ledger has come further at a than at b: b shows what it has, and nothing of the rest.
	s.lags["b"].set(size)
	admit(a, "丙")
	if status, body := a.ask(http.MethodPost, "/cosign"); status != http.StatusOK {
		t.Fatalf("status %d: %s", status, body)
	}
	if _, body := b.ask(http.MethodGet, "/checkpoint"); !strings.HasPrefix(body, fmt.Sprintf("%s\n%d\n", ledgerID, size-3)) {
		t.Errorf("b shows %s", body)
	}
	if status, _ := b.ask(http.MethodGet, fmt.Sprintf("/tile/0/000.p/%d", size)); status != http.StatusNotFound {
		t.Errorf("b serves a tile that it can't compare: status %d", status)
	}

	// a loses the sessions of its jobs while it works, and goes on to serve. b, whose turn it is, is behind what was done.
	s.terminate("a", false)
	admit(a, "丁")
	s.allBy("b")
	s.until("b waits for its ledger", func() bool { return strings.Contains(b.log.text(), "the projection is ahead of the ledger here") })
	s.lags["b"].set(upToDate)
	admit(b, "戊")
	s.same(size, a, b)
	s.upTo(node, size)

	// b dies: no session of it gives anything back, and it leaves a command behind that it had taken.
	desk := &trading.Desk{DB: s.db, Ledger: lost{}, Now: func() time.Time { return time.Now().Add(-time.Hour) }, Log: slog.Default()}
	left := s.cast.Sign(s.cast.Venue.ID, "clock.advance", contracts.ClockAdvance{To: s.cast.Now.Add(60)}, nil, s.cast.Venue.Machine)
	if _, err := desk.Submit(t.Context(), left); !errors.Is(err, ledger.ErrOutcomeUnknown) {
		t.Fatal(err)
	}
	b.dead = true
	s.terminate("b", true)
	b.stop()
	balancer.to(a)
	s.allBy("a")
	size++
	s.until("the command left behind is taken up", func() bool { return s.height() == size })
	s.cast.Now = s.cast.Now.Add(60)
	admit(a, "己")
	s.same(size, a)
	var open int
	if err := s.db.Get(&open, `SELECT count(*) FROM app.intents`); err != nil || open > 0 {
		t.Errorf("%d commands are open (%v)", open, err)
	}

	// It comes back, and one that is alone serves what both served.
	b = s.start("b")
	balancer.to(a, b)
	s.same(size, a, b)
	s.upTo(node, size)
	balancer.to(b)
	a.stop()
	s.allBy("b")
	admit(b, "庚")
	s.same(size, b)
	s.upTo(node, size)
	b.stop()
	s.unforked(size)
	before := s.dump()
	for _, name := range []string{"a", "b"} {
		var o, e bytes.Buffer
		if code := run(t.Context(), []string{"rebuild", "--config", s.path(name + ".yaml")}, &o, &e); code != 0 || !strings.Contains(o.String(), fmt.Sprintf("from %d entries", size)) {
			t.Fatalf("rebuild: exit code %d, %s%s", code, o.String(), e.String())
		}
		if s.dump() != before {
			t.Error("the projection isn't what a rebuild makes of the ledger")
		}
	}
}

// balancer takes each request to the next replica.
type balancer struct {
	mu   sync.Mutex
	next int
	all  []*httputil.ReverseProxy
}

func (b *balancer) to(rs ...*replica) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = nil
	for _, r := range rs {
		u, err := url.Parse(r.base)
		if err != nil {
			r.t.Fatal(err)
		}
		b.all = append(b.all, httputil.NewSingleHostReverseProxy(u))
	}
}

func (b *balancer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	b.next++
	to := b.all[b.next%len(b.all)]
	b.mu.Unlock()
	to.ServeHTTP(w, r)
}

// lost is a ledger of which no answer comes, and to which nothing came.
type lost struct{ trading.Ledger }

func (lost) Submit(context.Context, contracts.Submission) (*ledger.Receipt, error) {
	return nil, ledger.ErrOutcomeUnknown
}

func (s *several) dump() string {
	s.t.Helper()
	var b bytes.Buffer
	if err := projection.Dump(s.t.Context(), s.db, "proj", &b); err != nil {
		s.t.Fatal(err)
	}
	return b.String()
}

// unforked opens the published log with every leaf compared: it is the ledger's, and the witness has seen no other.
func (s *several) unforked(size uint64) {
	s.t.Helper()
	cfg, err := ReadConfig(s.path("a.yaml"))
	if err != nil {
		s.t.Fatal(err)
	}
	l, err := joinNetwork(s.t.Context(), &Market{cfg: cfg}, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	c := (&Market{cfg: cfg, now: time.Now, log: slog.Default()}).publishConfig()
	c.CompareAll = true
	p, err := publish.Open(s.t.Context(), c, l)
	if err != nil {
		s.t.Fatal(err)
	}
	if o := p.Opening(); o.Published != size || o.Height != size || o.Highest != size || o.Accepted != nil {
		s.t.Errorf("opened with %+v, want %d entries of each", o, size)
	}
	if err := p.Close(); err != nil {
		s.t.Error(err)
	}
}
