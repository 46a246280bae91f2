package peer_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/signing"
	"github.com/bund-exchange/bund/node/peer"
)

// world is a market whose state two nodes have followed, and an announced write that they haven't.
type world struct {
	t *testing.T
	*contractstest.Market
	pure *contractstest.Pure

	mu    sync.Mutex
	early map[string][]byte
	wall  atomic.Int64 // ms
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, pure: contractstest.NewPure("peer.test/1"), early: map[string][]byte{}}
	w.Market = contractstest.NewMarket("peer.test/1", w.pure, 1)
	if err := w.Begin(); err != nil {
		t.Fatal(err)
	}
	w.wall.Store(int64(w.Now))
	return w
}

func (w *world) now() time.Time { return time.UnixMilli(w.wall.Load()) }

// apply submits a command and makes its writes known to both nodes.
func (w *world) apply(a *contractstest.Actor, kind string, body any, keys ...signing.Key) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.Do(a.ID, kind, body, nil, keys...); err != nil {
		w.t.Fatal(err)
	}
}

// announce lets the nodes know of a command ahead of the state.
func (w *world) announce(a *contractstest.Actor, kind string, body any, keys ...signing.Key) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	cmd, err := contracts.Decode(w.Sign(a.ID, kind, body, nil, keys...))
	if err != nil {
		w.t.Fatal(err)
	}
	res, err := contracts.Apply(w.pure.State, contracts.Env{Ledger: w.Ledger, Now: w.Now}, cmd)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, x := range res.Writes {
		w.early[x.Key] = x.Value
	}
}

type overlaid struct {
	contracts.State
	top map[string][]byte
}

func (o overlaid) Get(key string) ([]byte, error) {
	if v, ok := o.top[key]; ok {
		return v, nil
	}
	return o.State.Get(key)
}

func (w *world) pins(k signing.Key) peer.Pins {
	seed, ok := w.Seeds[k.Public]
	if !ok {
		w.t.Fatal("no seed")
	}
	return peer.Pins{Key: ed25519.NewKeyFromSeed(seed[:]), Now: w.now, Read: func(fn func(contracts.State) error) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if err := fn(w.pure.State); err != nil || len(w.early) == 0 {
			return err
		}
		return fn(overlaid{w.pure.State, maps.Clone(w.early)})
	}}
}

// serve starts a node that tells a peer who it is.
func (w *world) serve(p peer.Pins) *httptest.Server {
	conf, err := p.Server()
	if err != nil {
		w.t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		id, err := p.Of(r)
		if err != nil {
			http.Error(rw, err.Error(), http.StatusForbidden)
			return
		}
		io.WriteString(rw, string(id.Member)+" "+string(id.Node)+" "+id.Region)
	}))
	s.TLS, s.Config.ErrorLog = conf, log.New(io.Discard, "", 0)
	s.StartTLS()
	w.t.Cleanup(s.Close)
	return s
}

func (w *world) link(p peer.Pins, node contracts.ID) *peer.Link {
	l, err := p.Link(node)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(l.CloseIdleConnections)
	return l
}

func ask(l http.RoundTripper, url string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("a consent's key"))
	if err != nil {
		return "", err
	}
	resp, err := l.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(strings.TrimSpace(string(b)))
	}
	return string(b), err
}

// refused demands that the request fails, and, when want is given, with that error.
func refused(t *testing.T, l http.RoundTripper, url string, want error) {
	t.Helper()
	got, err := ask(l, url)
	if err == nil {
		t.Fatalf("answered %q", got)
	}
	if want != nil && !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
}

func TestPinned(t *testing.T) {
	w := newWorld(t)
	s := w.serve(w.pins(w.Provider.TLS))
	l := w.link(w.pins(w.Buyer.TLS), w.Provider.Node)
	want := string(w.Buyer.ID) + " " + string(w.Buyer.Node) + " CN-31"
	for range 3 {
		if got, err := ask(l, s.URL); err != nil || got != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	}
}

func TestUnknownClient(t *testing.T) {
	w := newWorld(t)
	s := w.serve(w.pins(w.Provider.TLS))
	for name, k := range map[string]signing.Key{
		"a key on no ledger": w.Key(), "a member's key that no node has": w.LawFirm.TLS, "a command key": w.Buyer.Machine, "a receipt key": w.Buyer.Receipt,
	} {
		t.Run(name, func(t *testing.T) { refused(t, w.link(w.pins(k), w.Provider.Node), s.URL, nil) })
	}
}

// A client that isn't this program's may hold no certificate, an old TLS, or a key of a kind that no node has.
func TestForeignClients(t *testing.T) {
	w := newWorld(t)
	s := w.serve(w.pins(w.Provider.TLS))
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, conf := range map[string]*tls.Config{
		"no certificate": {InsecureSkipVerify: true},
		"TLS 1.2":        {InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12},
		"P-384":          {InsecureSkipVerify: true, Certificates: []tls.Certificate{{Certificate: [][]byte{selfSigned(t, p384)}, PrivateKey: p384}}},
	} {
		t.Run(name, func(t *testing.T) {
			tr := &http.Transport{TLSClientConfig: conf}
			defer tr.CloseIdleConnections()
			refused(t, tr, s.URL, nil)
		})
	}
}

func selfSigned(t *testing.T, k *ecdsa.PrivateKey) []byte {
	t.Helper()
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestWrongServer(t *testing.T) {
	w := newWorld(t)
	client := w.pins(w.Buyer.TLS)
	t.Run("another node at the address", func(t *testing.T) {
		s := w.serve(w.pins(w.Buyer.TLS))
		refused(t, w.link(client, w.Provider.Node), s.URL, peer.ErrAnother)
	})
	t.Run("nobody's key at the address", func(t *testing.T) {
		s := w.serve(w.pins(w.Key()))
		refused(t, w.link(client, w.Provider.Node), s.URL, peer.ErrUnknown)
	})
	t.Run("no such node", func(t *testing.T) {
		s := w.serve(w.pins(w.Provider.TLS))
		refused(t, w.link(client, contracts.ID(strings.Repeat("7", 32))), s.URL, peer.ErrUnknown)
	})
}

func TestStandingConnections(t *testing.T) {
	revoke := func(k signing.Key) contracts.KeyRevoke {
		return contracts.KeyRevoke{Key: k.Public.ID(), Reason: "lost"}
	}
	for name, c := range map[string]struct {
		stop   func(w *world)
		client error // what the client itself says; nil when only the server refuses
	}{
		"the client's key is revoked": {func(w *world) { w.apply(w.Buyer, "key.revoke", revoke(w.Buyer.TLS), w.Buyer.Admin) }, nil},
		"its revocation is announced": {func(w *world) { w.announce(w.Buyer, "key.revoke", revoke(w.Buyer.TLS), w.Buyer.Admin) }, nil},
		"the client's node is retired": {func(w *world) {
			w.apply(w.Buyer, "node.retire", contracts.NodeRetire{Node: w.Buyer.Node}, w.Buyer.Admin)
		}, nil},
		"the server's key is revoked": {func(w *world) { w.apply(w.Provider, "key.revoke", revoke(w.Provider.TLS), w.Provider.Admin) }, peer.ErrUnknown},
		"its revocation is announced to the client": {func(w *world) { w.announce(w.Provider, "key.revoke", revoke(w.Provider.TLS), w.Provider.Admin) },
			peer.ErrUnknown},
		"the server's node is retired": {func(w *world) {
			w.apply(w.Provider, "node.retire", contracts.NodeRetire{Node: w.Provider.Node}, w.Provider.Admin)
		}, peer.ErrUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.pins(w.Provider.TLS)
			s := w.serve(p)
			l := w.link(w.pins(w.Buyer.TLS), w.Provider.Node)
			if _, err := ask(l, s.URL); err != nil {
				t.Fatal(err)
			}
			c.stop(w)
			refused(t, l, s.URL, c.client)
			if err := l.Standing(); !errors.Is(err, c.client) {
				t.Errorf("standing: %v", err)
			}
		})
	}
}

// A key with an end is good until then, on a connection that stands too.
func TestExpiredKey(t *testing.T) {
	w := newWorld(t)
	k := w.Key()
	w.apply(w.LawFirm, "key.add", contracts.KeyAdd{Key: contracts.KeySpec{Key: k.Public, Purpose: contracts.PurposeTLS, NotAfter: w.Now.Add(3600)}}, w.LawFirm.Admin, w.LawFirm.Check)
	w.apply(w.LawFirm, "node.register", contracts.NodeRegister{TLSKey: k.Public.ID(), ReceiptKey: w.LawFirm.Receipt.Public.ID(), Region: "CN-31"}, w.LawFirm.Admin)
	s := w.serve(w.pins(w.Provider.TLS))
	l := w.link(w.pins(k), w.Provider.Node)
	if _, err := ask(l, s.URL); err != nil {
		t.Fatal(err)
	}
	w.wall.Add(3_601_000)
	refused(t, l, s.URL, nil)
}

// A node that follows its retired predecessor with the same keys is another node.
func TestReplacedNode(t *testing.T) {
	w := newWorld(t)
	s := w.serve(w.pins(w.Provider.TLS))
	l := w.link(w.pins(w.Buyer.TLS), w.Provider.Node)
	if _, err := ask(l, s.URL); err != nil {
		t.Fatal(err)
	}
	w.apply(w.Provider, "node.retire", contracts.NodeRetire{Node: w.Provider.Node}, w.Provider.Admin)
	w.apply(w.Provider, "node.register", contracts.NodeRegister{TLSKey: w.Provider.TLS.Public.ID(), ReceiptKey: w.Provider.Receipt.Public.ID(), URL: w.NodeURL, Region: "CN-31"},
		w.Provider.Admin)
	refused(t, l, s.URL, peer.ErrUnknown)
	if _, err := ask(w.link(w.pins(w.Buyer.TLS), w.Last("node")), s.URL); err != nil {
		t.Errorf("the new node: %v", err)
	}
}

// An announced node is no peer before the checkpoint that has it: an announcement only stops.
func TestAnnouncementStartsNothing(t *testing.T) {
	w := newWorld(t)
	s := w.serve(w.pins(w.Provider.TLS))
	w.announce(w.LawFirm, "node.register", contracts.NodeRegister{TLSKey: w.LawFirm.TLS.Public.ID(), ReceiptKey: w.LawFirm.Receipt.Public.ID(), Region: "CN-31"}, w.LawFirm.Admin)
	refused(t, w.link(w.pins(w.LawFirm.TLS), w.Provider.Node), s.URL, nil)
}
