package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/privacy/psi"
)

const (
	agreement contracts.ID = "00000000000000000000000000000a01"
	sid       contracts.ID = "00000000000000000000000000000b02"
	bank      contracts.ID = "00000000000000000000000000000c03"
	provider  contracts.ID = "00000000000000000000000000000d04"
)

var begin = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

func clock() time.Time { return begin }

func terms(peer contracts.ID) Terms {
	return Terms{Agreement: agreement, ID: sid, Peer: peer, Protocol: "psi", MaxReceived: 1 << 20, MaxSent: 1 << 20, ExpiresAt: contracts.Millis(begin.Add(time.Hour).UnixMilli())}
}

func openShelf(t testing.TB, dir string, open opener) *Shelf {
	t.Helper()
	s, err := OpenShelf(Config{Dir: dir, Now: clock, open: open})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func create(t testing.TB, s *Shelf, tm Terms) *Session {
	t.Helper()
	x, err := s.Create(tm)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func wantCode(t testing.TB, err error, code contracts.Code) {
	t.Helper()
	if !isRefusal(err, code) {
		t.Errorf("got %v, want refusal %s", err, code)
	}
}

// asBank is how a mount tells who a peer is, here by a header.
func asBank(r *http.Request) contracts.ID { return contracts.ID(r.Header.Get("Test-Peer")) }

type peerHeader struct {
	peer contracts.ID
	to   http.RoundTripper
}

func (p peerHeader) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Test-Peer", string(p.peer))
	return p.to.RoundTrip(r)
}

// cutting breaks connections: at the cut, the request gets lost, or its answer does. Then the line is dead.
type cutting struct {
	to http.RoundTripper
	mu sync.Mutex
	at int // requests until the cut; 0 for none
	rd *rand.Rand
	on func()
}

var errLine = errors.New("the line is cut")

func (c *cutting) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	cut, before := false, false
	if c.at > 0 {
		if c.at--; c.at == 0 {
			cut, before = true, c.rd.IntN(2) == 0
		}
	}
	c.mu.Unlock()
	if cut && before {
		c.on()
		return nil, errLine
	}
	rs, err := c.to.RoundTrip(r)
	if err == nil && cut {
		io.Copy(io.Discard, rs.Body)
		rs.Body.Close()
		c.on()
		return nil, errLine
	}
	return rs, err
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// party is one node across its restarts.
type party struct {
	t     *testing.T
	dir   string
	shelf *Shelf
	x     *Session
}

func (p *party) open(peer contracts.ID) {
	p.shelf = openShelf(p.t, p.dir, nil)
	p.x = create(p.t, p.shelf, terms(peer))
}

// intersection makes the side of an intersection that runs in a session.
func intersection(x *Session) *psi.Session {
	return &psi.Session{Params: psi.Params{Session: [32]byte{1}, SenderMax: 1000, ReceiverMax: 1000, Padding: psi.Rounded, FrameElements: 4},
		Link: x.Frames(), Spool: x.Tapes, Store: x.Record, Workers: 2}
}

func ids(n, from int) psi.IDs {
	return func(yield func([]byte, error) bool) {
		for i := range n {
			if !yield(fmt.Appendf(nil, "9111000%010dX", i+from), nil) {
				return
			}
		}
	}
}

// world is a bank that connects and a provider that serves, with an intersection between them.
type world struct {
	t              *testing.T
	bank, provider *party
	server         *httptest.Server
	found          []uint64
}

const bankIDs, providerIDs = 60, 90 // places 20 to 59 of the bank's are common

func newWorld(t *testing.T) *world {
	dir := t.TempDir()
	return &world{t: t, bank: &party{t: t, dir: filepath.Join(dir, "bank")}, provider: &party{t: t, dir: filepath.Join(dir, "provider")}}
}

func (w *world) url() string {
	return w.server.URL + "/agreements/" + string(agreement) + "/sessions/" + string(sid)
}

// up starts both processes.
func (w *world) up() {
	w.bank.open(provider)
	w.provider.open(bank)
	w.server = httptest.NewServer(w.provider.shelf.Handler(asBank))
}

// down stops both, whatever they do.
func (w *world) down() {
	w.server.CloseClientConnections()
	w.bank.shelf.Close()
	w.provider.shelf.Close()
	w.server.Close()
}

func (w *world) client(to http.RoundTripper) *Client {
	return &Client{Session: w.bank.x, HTTP: &http.Client{Transport: peerHeader{bank, to}}, URL: w.url(), Log: quiet(), Pause: time.Millisecond, Wait: time.Second}
}

func (w *world) send(ctx context.Context, set psi.IDs) error {
	return w.provider.x.Run(ctx, func(ctx context.Context) error {
		_, err := intersection(w.provider.x).Send(ctx, set)
		return err
	})
}

func (w *world) receive(ctx context.Context, c *Client) error {
	return c.Run(ctx, func(ctx context.Context) error {
		_, err := intersection(w.bank.x).Receive(ctx, ids(bankIDs, 0), func(m *psi.Matches) error {
			w.found = nil
			for p := range m.All() {
				w.found = append(w.found, p)
			}
			return nil
		})
		return err
	})
}

func (w *world) wantFound() {
	w.t.Helper()
	for i := range uint64(bankIDs - 20) {
		if len(w.found) != bankIDs-20 || w.found[i] != i+20 {
			w.t.Fatalf("found %v, want 20 to 59", w.found)
		}
	}
}
