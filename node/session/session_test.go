package session

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/privacy/psi"
)

// TestIntersection runs a set intersection between two nodes over HTTP, and looks at what is left of it.
func TestIntersection(t *testing.T) {
	w := newWorld(t)
	w.up()
	sent := make(chan error, 1)
	go func() { sent <- w.send(context.Background(), ids(providerIDs, 20)) }()
	if err := errors.Join(w.receive(context.Background(), w.client(http.DefaultTransport)), <-sent); err != nil {
		t.Fatal(err)
	}
	w.wantFound()
	for name, p := range map[string]*party{"bank": w.bank, "provider": w.provider} {
		o, ended := p.x.Outcome()
		if !ended || o.Code != "" || o.ByPeer {
			t.Errorf("%s: outcome %+v, %v", name, o, ended)
		}
		wantFiles(t, p.x.dir, termsFile, outcomeFile)
		if err := p.x.Run(context.Background(), nil); !isRefusal(err, Ended) {
			t.Errorf("%s: run again: %v", name, err)
		}
	}
	// The outcome outlives the process, and a frame that is sent again is still acknowledged.
	w.down()
	w.up()
	defer w.down()
	if o, ended := w.provider.x.Outcome(); !ended || o.Code != "" || o.Received == 0 {
		t.Errorf("reopened: %+v, %v", o, ended)
	}
	if err := w.provider.x.put(0, []byte("x")); err != nil {
		t.Errorf("frame sent again: %v", err)
	}
}

func wantFiles(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for _, n := range names {
		want[n] = true
	}
	for _, e := range entries {
		if !want[e.Name()] {
			t.Errorf("%s is left", e.Name())
		}
		delete(want, e.Name())
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

// TestCuts breaks the line at random requests, before they arrive or before their answer does, and restarts both sides
// each time. Both sides' scalars, points and frames have to survive.
func TestCuts(t *testing.T) {
	for seed := range uint64(8) {
		w := newWorld(t)
		rd := rand.New(rand.NewPCG(seed, 7))
		cuts := 0
		for {
			w.up()
			ctx, cancel := context.WithCancelCause(context.Background())
			c := &cutting{to: http.DefaultTransport, rd: rd, on: func() { cancel(errLine) }}
			if cuts < 10 {
				c.at = 1 + rd.IntN(30)
			}
			sent := make(chan error, 1)
			go func() { sent <- w.send(ctx, ids(providerIDs, 20)) }()
			err := w.receive(ctx, w.client(c))
			if err == nil {
				if err := <-sent; err != nil && !isRefusal(err, Ended) {
					t.Fatalf("seed %d: the bank is done, the provider isn't: %v", seed, err)
				}
				cancel(nil)
				w.down()
				break
			}
			if !errors.Is(err, errLine) {
				t.Fatalf("seed %d: %v", seed, err)
			}
			<-sent
			w.down()
			if _, ended := w.bank.x.Outcome(); ended {
				break // cut after its end
			}
			cuts++
		}
		w.wantFound()
		if cuts == 0 {
			t.Errorf("seed %d: nothing was cut", seed)
		}
	}
}

// TestReconnects: without any restart the client mends broken connections by itself.
func TestReconnects(t *testing.T) {
	w := newWorld(t)
	w.up()
	defer w.down()
	rd := rand.New(rand.NewPCG(1, 2))
	var c *cutting
	cuts := 0
	c = &cutting{to: http.DefaultTransport, rd: rd, at: 3, on: func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if cuts++; cuts < 20 {
			c.at = 1 + rd.IntN(6)
		}
	}}
	sent := make(chan error, 1)
	go func() { sent <- w.send(context.Background(), ids(providerIDs, 20)) }()
	if err := errors.Join(w.receive(context.Background(), w.client(c)), <-sent); err != nil {
		t.Fatal(err)
	}
	w.wantFound()
	if cuts < 5 {
		t.Errorf("only %d cuts", cuts)
	}
}

// TestRefusalEndsBothSides: a side that refuses says so, and the other neither waits nor tries again.
func TestRefusalEndsBothSides(t *testing.T) {
	twice := func(yield func([]byte, error) bool) {
		for range 2 {
			if !yield([]byte("a"), nil) {
				return
			}
		}
	}
	t.Run("provider", func(t *testing.T) {
		w := newWorld(t)
		w.up()
		defer w.down()
		sent := make(chan error, 1)
		go func() { sent <- w.send(context.Background(), twice) }()
		err := w.receive(context.Background(), w.client(http.DefaultTransport))
		var p *PeerRefused
		if !errors.As(err, &p) || p.Code != psi.OwnDuplicate {
			t.Errorf("bank: %v", err)
		}
		wantCode(t, <-sent, psi.OwnDuplicate)
		wantOutcome(t, w.bank.x, psi.OwnDuplicate, true)
		wantOutcome(t, w.provider.x, psi.OwnDuplicate, false)
	})
	t.Run("bank", func(t *testing.T) {
		w := newWorld(t)
		w.up()
		defer w.down()
		sent := make(chan error, 1)
		go func() { sent <- w.send(context.Background(), ids(providerIDs, 20)) }()
		err := w.client(http.DefaultTransport).Run(context.Background(), func(ctx context.Context) error {
			_, err := intersection(w.bank.x).Receive(ctx, twice, nil)
			return err
		})
		wantCode(t, err, psi.OwnDuplicate)
		var p *PeerRefused
		if err := <-sent; !errors.As(err, &p) || p.Code != psi.OwnDuplicate {
			t.Errorf("provider: %v", err)
		}
		wantOutcome(t, w.provider.x, psi.OwnDuplicate, true)
	})
}

func wantOutcome(t *testing.T, x *Session, code contracts.Code, byPeer bool) {
	t.Helper()
	o, ended := x.Outcome()
	if !ended || o.Code != code || o.ByPeer != byPeer {
		t.Errorf("outcome %+v, %v; want %s, by peer %v", o, ended, code, byPeer)
	}
	wantFiles(t, x.dir, termsFile, outcomeFile)
}

// TestForeignRefusal: who may speak at all is decided before the session; a no there leaves it as it is.
func TestForeignRefusal(t *testing.T) {
	w := newWorld(t)
	w.up()
	defer w.down()
	stopped := roundTripper(func(r *http.Request) (*http.Response, error) {
		rec := newRecorder()
		answerError(rec, &contracts.Refusal{Code: "grant.suspended", Detail: "not now"})
		return rec.Result(), nil
	})
	wantCode(t, w.receive(context.Background(), w.client(stopped)), "grant.suspended")
	if _, ended := w.bank.x.Outcome(); ended {
		t.Error("the session has ended")
	}
	sent := make(chan error, 1)
	go func() { sent <- w.send(context.Background(), ids(providerIDs, 20)) }()
	if err := errors.Join(w.receive(context.Background(), w.client(http.DefaultTransport)), <-sent); err != nil {
		t.Fatal(err)
	}
	w.wantFound()
}

// TestExpiry: past its time a session takes nothing, and nothing of it is left but how it ended.
func TestExpiry(t *testing.T) {
	now := begin
	dir := t.TempDir()
	s, err := OpenShelf(Config{Dir: dir, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	x := create(t, s, terms(bank))
	secret := []byte("a scalar that nobody may find")
	if err := errors.Join(x.Record.Save(secret), x.Tapes.Append("points", secret), x.put(0, secret)); err != nil {
		t.Fatal(err)
	}
	waits := make(chan error, 1)
	go func() {
		waits <- x.Run(context.Background(), func(ctx context.Context) error {
			_, err := x.Frames().Receive(ctx, 1)
			return err
		})
	}()
	now = begin.Add(time.Hour)
	if err := s.Sweep(); err != nil {
		t.Fatal(err)
	}
	wantCode(t, <-waits, Expired)
	wantOutcome(t, x, Expired, false)
	wantCode(t, x.put(1, nil), Expired)
	wantCode(t, x.Frames().Send(context.Background(), 0, nil), Expired)
	if err := errors.Join(x.Record.Save(secret)); !errors.Is(err, ErrClosed) {
		t.Errorf("record after the end: %v", err)
	}
	if err := x.Tapes.Append("points", secret); !errors.Is(err, ErrClosed) {
		t.Errorf("tape after the end: %v", err)
	}
	if _, err := s.Create(Terms{Agreement: agreement, ID: bank, Peer: bank, Protocol: "psi", MaxReceived: 1, MaxSent: 1, ExpiresAt: x.Terms.ExpiresAt}); !isRefusal(err, Expired) {
		t.Errorf("made a session in the past: %v", err)
	}
	now = begin.Add(time.Hour + keepFor)
	if err := s.Sweep(); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Session(agreement, sid); ok {
		t.Error("it is still remembered")
	}
	if _, err := os.Stat(x.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("directory: %v", err)
	}
}

// TestCreate: the same terms give the same session, others are refused, and so are more sessions than the shelf takes.
func TestCreate(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenShelf(Config{Dir: dir, Now: clock, Max: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	x := create(t, s, terms(bank))
	if again := create(t, s, terms(bank)); again != x {
		t.Error("another session on the same terms")
	}
	other := terms(bank)
	other.MaxSent++
	_, err = s.Create(other)
	wantCode(t, err, Differs)
	other.ID = bank
	create(t, s, other)
	other.ID = provider
	_, err = s.Create(other)
	wantCode(t, err, TooMany)
	if err := x.end(Outcome{Code: "psi.size"}); err != nil {
		t.Fatal(err)
	}
	create(t, s, other)
	if len(s.Sessions()) != 3 {
		t.Errorf("%d sessions", len(s.Sessions()))
	}
	if _, err := OpenShelf(Config{Dir: dir, Now: clock}); err == nil {
		t.Error("two processes hold the shelf")
	}
	for name, change := range map[string]func(*Terms){
		"agreement": func(m *Terms) { m.Agreement = "x" }, "id": func(m *Terms) { m.ID = "" }, "peer": func(m *Terms) { m.Peer = "A" },
		"received": func(m *Terms) { m.MaxReceived = 0 }, "sent": func(m *Terms) { m.MaxSent = 1<<40 + 1 }, "protocol": func(m *Terms) { m.Protocol = "" },
		"note": func(m *Terms) { m.Note = make([]byte, 64<<10+1) }, "end": func(m *Terms) { m.ExpiresAt = 0 },
	} {
		bad := terms(bank)
		change(&bad)
		if _, err := s.Create(bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestHalfMadeSession: a crash while a session was made leaves nothing.
func TestHalfMadeSession(t *testing.T) {
	dir := t.TempDir()
	half := filepath.Join(dir, newPrefix+"x")
	if err := os.MkdirAll(half, 0o700); err != nil {
		t.Fatal(err)
	}
	openShelf(t, dir, nil)
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// TestOneRun: a session's protocol runs once at a time.
func TestOneRun(t *testing.T) {
	x := create(t, openShelf(t, t.TempDir(), nil), terms(bank))
	err := x.Run(context.Background(), func(context.Context) error {
		if err := x.Run(context.Background(), nil); !errors.Is(err, ErrBusy) {
			t.Errorf("inside a run: %v", err)
		}
		return errLine
	})
	if !errors.Is(err, errLine) {
		t.Errorf("run: %v", err)
	}
}

// TestRecord: the last record that was saved is read back after a restart, and bytes of those before it are on no file.
func TestRecord(t *testing.T) {
	dir := t.TempDir()
	s := openShelf(t, dir, nil)
	x := create(t, s, terms(bank))
	if b, err := x.Record.Load(); b != nil || err != nil {
		t.Errorf("no record: %q, %v", b, err)
	}
	old, err := os.OpenFile(filepath.Join(x.dir, recordFile), os.O_CREATE|os.O_RDWR, 0o600) // keeps the old bytes in sight
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if _, err := old.WriteString("the first secret"); err != nil {
		t.Fatal(err)
	}
	if err := x.Record.Save([]byte("second")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 16)
	if _, err := old.ReadAt(b, 0); err != nil || !bytes.Equal(b, make([]byte, 16)) {
		t.Errorf("the replaced record reads %q, %v", b, err)
	}
	if err := os.WriteFile(filepath.Join(x.dir, recordFile+nextSuffix), []byte("half a record"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Close()
	x, _ = openShelf(t, dir, nil).Session(agreement, sid)
	if b, err := x.Record.Load(); string(b) != "second" || err != nil {
		t.Errorf("reopened: %q, %v", b, err)
	}
	wantFiles(t, x.dir, termsFile, inFile, outFile, recordFile)
}

// awaitAllIn waits until the client has heard that the other side is done.
func (x *Session) awaitAllIn(ctx context.Context) error {
	for {
		x.mu.Lock()
		heard, changed := x.allIn, x.changed
		x.mu.Unlock()
		if heard {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// TestOtherSideIsDoneFirst: who serves may end with its last frame. The other side has all that was said, and goes on
// with it in its own time; only what was never said is refused.
func TestOtherSideIsDoneFirst(t *testing.T) {
	for name, more := range map[string]bool{"enough": false, "one more is wanted": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.up()
			defer w.down()
			said := w.provider.x.Run(t.Context(), func(ctx context.Context) error {
				return errors.Join(w.provider.x.Frames().Send(ctx, 0, []byte("a")), w.provider.x.Frames().Send(ctx, 1, []byte("b")))
			})
			if said != nil {
				t.Fatal(said)
			}
			var got []byte
			err := w.client(http.DefaultTransport).Run(t.Context(), func(ctx context.Context) error {
				if err := w.bank.x.awaitAllIn(ctx); err != nil {
					return err
				}
				for n := range uint64(2) {
					b, err := w.bank.x.Frames().Receive(ctx, n)
					if err != nil {
						return err
					}
					got = append(got, b...)
				}
				if more {
					_, err := w.bank.x.Frames().Receive(ctx, 2)
					return err
				}
				return nil
			})
			if string(got) != "ab" {
				t.Errorf("got %q", got)
			}
			if more {
				wantCode(t, err, Ended)
				wantOutcome(t, w.bank.x, Ended, false)
				return
			}
			if err != nil {
				t.Error(err)
			}
			wantOutcome(t, w.bank.x, "", false)
		})
	}
}
