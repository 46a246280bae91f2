package follow_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/follow"
	"github.com/bund-exchange/bund/ledger/follow/followtest"
	"github.com/bund-exchange/bund/ledger/publish/publishtest"
)

var (
	bank     = publishtest.ID(1)
	provider = publishtest.ID(2)
	rival    = publishtest.ID(3)
)

func put(key, value string) contracts.Write { return contracts.Write{Key: key, Value: []byte(value)} }
func del(key string) contracts.Write        { return contracts.Write{Key: key} }

// grant is an entry between bank and provider about one object.
func grant(object uint64, ws ...contracts.Write) publishtest.Toy {
	return publishtest.Toy{Objects: []contracts.ID{publishtest.ID(object)}, Audience: []contracts.ID{bank, provider}, Writes: ws}
}

func foreign(object uint64) publishtest.Toy {
	return publishtest.Toy{Objects: []contracts.ID{publishtest.ID(object)}, Audience: []contracts.ID{rival}, Writes: []contracts.Write{put("grant/rival", "secret")}}
}

func public(ws ...contracts.Write) publishtest.Toy { return publishtest.Toy{Public: true, Writes: ws} }

func follow1(t *testing.T, f *follow.Follower) {
	t.Helper()
	if err := f.RunOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, f *follow.Follower, key, value string) {
	t.Helper()
	if v, ok := f.Get(key); string(v) != value || ok != (value != "") {
		t.Errorf("%s is %q, want %q", key, v, value)
	}
}

func TestFollow(t *testing.T) {
	m := followtest.New(t)
	var seen []uint64
	path := filepath.Join(t.TempDir(), "state")
	open := func() *follow.Follower {
		return m.Follower(bank, path, func(c *follow.Config) {
			c.OnEntry = func(e *ledger.Entry) { seen = append(seen, e.Position) }
		})
	}
	f := open()
	if err := f.MayStart(m.Clock.Now(), time.Hour); !errors.Is(err, follow.ErrStale) {
		t.Fatalf("a follower that has seen nothing: %v", err)
	}
	m.Log.Append(public(put("product/1", "listed")), grant(10, put("grant/10", "active")), foreign(20), public(put("product/2", "listed")), grant(11, put("grant/11", "active"), del("product/1")))
	m.Publish()
	follow1(t, f)
	want(t, f, "product/1", "")
	want(t, f, "product/2", "listed")
	want(t, f, "grant/10", "active")
	want(t, f, "grant/rival", "")
	if s := fmt.Sprint(seen); s != "[0 1 2 4 5]" {
		t.Errorf("entries seen: %s", s)
	}
	if ws := f.Scan("grant/", 10); len(ws) != 2 || ws[0].Key != "grant/10" || ws[1].Key != "grant/11" {
		t.Errorf("scan gives %v", ws)
	}
	if err := f.MayStart(m.Clock.Now(), time.Minute); err != nil {
		t.Fatal(err)
	}
	// A restart knows everything without asking, the freshness too.
	f.Close()
	f = open()
	want(t, f, "grant/11", "active")
	if err := f.MayStart(m.Clock.Now(), time.Minute); err != nil {
		t.Fatal(err)
	}
	m.Log.Append(grant(10, put("grant/10", "revoked")))
	m.Publish()
	follow1(t, f)
	want(t, f, "grant/10", "revoked")
	f.View(func(v follow.View) {
		b, err := v.Rules().Get("grant/10")
		if ws, err2 := v.Rules().Scan("grant", 1); string(b) != "revoked" || err != nil || err2 != nil || len(ws) != 1 || v.Size() != 7 {
			t.Errorf("view: %q %v %v", b, ws, v.Size())
		}
	})
	f.Close()
	// The file belongs to one member and one trust root.
	if _, err := follow.Open(follow.Config{Path: path, Trust: m.Trust, URL: m.URL, Me: rival}); !errors.Is(err, follow.ErrForeignStore) {
		t.Errorf("another member opened the state: %v", err)
	}
}

// TestCatchUp follows over several steps, each proved against a checkpoint that is ahead of it.
func TestCatchUp(t *testing.T) {
	m := followtest.New(t)
	toys := make([]publishtest.Toy, 20_000)
	for i := range toys {
		switch i % 4 {
		case 0:
			toys[i] = public(put(fmt.Sprintf("product/%05d", i), "x"))
		case 1:
			toys[i] = grant(uint64(1000+i), put(fmt.Sprintf("grant/%05d", i), "x"))
		default:
			toys[i] = foreign(uint64(100_000 + i))
		}
	}
	m.Log.Append(toys...)
	m.Publish()
	path := filepath.Join(t.TempDir(), "state")
	f := m.Follower(bank, path)
	follow1(t, f)
	if s := f.Status(); s.Size != 20_001 || s.Head != 20_001 || s.Fresh.IsZero() {
		t.Fatalf("%+v", s)
	}
	if ws := f.Scan("grant/", 1<<20); len(ws) != 5000 {
		t.Errorf("%d grants", len(ws))
	}
	// Interrupted after a step, it goes on from there. The bundle that fails is in the third step.
	g := m.Follower(bank, filepath.Join(t.TempDir(), "state"))
	m.Alter("/tile/entries/070", func([]byte) []byte { return nil })
	if err := g.RunOnce(t.Context()); err == nil || errors.Is(err, follow.ErrFork) {
		t.Fatalf("an empty bundle: %v", err)
	}
	if s := g.Status(); s.Size != 16384 || !s.Fresh.IsZero() {
		t.Fatalf("halfway: %+v", s)
	}
	if err := g.MayStart(m.Clock.Now(), time.Hour); !errors.Is(err, follow.ErrStale) {
		t.Fatalf("halfway it may start: %v", err)
	}
	m.Alter("/tile/entries/070", nil)
	follow1(t, g)
	if s := g.Status(); s.Size != 20_001 || s.Fresh.IsZero() {
		t.Fatalf("%+v", s)
	}
}

func TestFreshness(t *testing.T) {
	m := followtest.New(t)
	f := m.Follower(bank, filepath.Join(t.TempDir(), "state"))
	follow1(t, f)
	m.Clock.Add(61 * time.Second)
	if err := f.MayStart(m.Clock.Now(), time.Minute); !errors.Is(err, follow.ErrStale) {
		t.Fatalf("after a minute: %v", err)
	}
	// The log at rest is cosigned again; that alone makes it fresh.
	m.Publish()
	follow1(t, f)
	if err := f.MayStart(m.Clock.Now(), time.Minute); err != nil {
		t.Fatal(err)
	}
	// One of three is not a quorum: entries are followed, freshness stands still.
	m.Witnesses[0].Down(true)
	m.Witnesses[1].Down(true)
	m.Clock.Add(time.Minute)
	m.Log.Append(public(put("freeze/1", "frozen")))
	m.Publish()
	was := f.Status().Fresh
	follow1(t, f)
	want(t, f, "freeze/1", "frozen")
	if s := f.Status(); !s.Fresh.Equal(was) || s.Size != 2 {
		t.Fatalf("%+v", s)
	}
	if err := f.MayStart(m.Clock.Now(), time.Minute-time.Second); !errors.Is(err, follow.ErrStale) {
		t.Fatalf("without a quorum: %v", err)
	}
	// Two of three are. The quorum's time is the older of the two.
	m.Witnesses[0].Down(false)
	m.Clock.Add(40 * time.Second) // past the pause after misses
	m.Publish()
	follow1(t, f)
	if err := f.MayStart(m.Clock.Now(), time.Minute); err != nil {
		t.Fatal(err)
	}
	// A follower whose clock is behind does not take times from its future.
	late := m.Follower(bank, filepath.Join(t.TempDir(), "late"), func(c *follow.Config) {
		c.Now = func() time.Time { return m.Clock.Now().Add(-time.Minute) }
	})
	follow1(t, late)
	if err := late.MayStart(m.Clock.Now().Add(-time.Minute), time.Hour); !errors.Is(err, follow.ErrStale) {
		t.Fatalf("cosignatures of the future: %v", err)
	}
}

func TestStartNow(t *testing.T) {
	m := followtest.New(t)
	f := m.Follower(bank, filepath.Join(t.TempDir(), "state"))
	follow1(t, f)
	if err := f.MayStart(m.Clock.Now(), 0); !errors.Is(err, follow.ErrStale) {
		t.Fatalf("maxStale 0 needs a round: %v", err)
	}
	// A revocation that nobody has published yet is seen by the round.
	m.Clock.Add(time.Second)
	m.Log.Append(public(put("grant/10", "revoked")))
	if err := f.StartNow(t.Context()); err != nil {
		t.Fatal(err)
	}
	want(t, f, "grant/10", "revoked")
	// An old checkpoint, however well cosigned, doesn't do.
	old, _ := m.Publisher.Head()
	m.Clock.Add(time.Minute)
	m.Alter("/cosign", func([]byte) []byte { return old.Signed })
	if err := f.StartNow(t.Context()); !errors.Is(err, follow.ErrStale) {
		t.Fatalf("an old checkpoint: %v", err)
	}
	m.Alter("/cosign", nil)
	m.Witnesses[0].Down(true)
	m.Witnesses[2].Down(true)
	m.Clock.Add(10 * time.Second)
	if err := f.StartNow(t.Context()); !errors.Is(err, follow.ErrStale) {
		t.Fatalf("without a quorum: %v", err)
	}
}

func TestWithheld(t *testing.T) {
	for _, c := range []struct {
		name string
		toy  publishtest.Toy
		stop bool
	}{
		{"public", public(put("freeze/1", "frozen")), true},
		{"mine", grant(10, put("grant/10", "revoked")), true},
		{"mine found in the same step", grant(12, put("grant/12", "revoked")), true},
		{"foreign", foreign(20), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := followtest.New(t)
			f := m.Follower(bank, filepath.Join(t.TempDir(), "state"))
			m.Log.Append(grant(10, put("grant/10", "active")))
			m.Publish()
			follow1(t, f)
			m.Log.Append(grant(12, put("grant/12", "active")))
			p := m.Log.Append(c.toy) - 1
			m.Log.Append(public(put("product/1", "listed")))
			m.Withhold(p, true)
			m.Publish()
			err := f.RunOnce(t.Context())
			if !c.stop {
				if err != nil || f.Status().Size != p+2 {
					t.Fatalf("a withheld foreign body stopped it: %v", err)
				}
				return
			}
			if !errors.Is(err, follow.ErrWithheld) || !strings.Contains(err.Error(), fmt.Sprint("position ", p)) {
				t.Fatalf("not seen: %v", err)
			}
			if err := f.MayStart(m.Clock.Now(), time.Hour); !errors.Is(err, follow.ErrWithheld) {
				t.Fatalf("it may start: %v", err)
			}
			if err := f.StartNow(t.Context()); !errors.Is(err, follow.ErrWithheld) {
				t.Fatalf("it may start: %v", err)
			}
			want(t, f, "product/1", "")
			m.Withhold(p, false)
			follow1(t, f)
			want(t, f, "product/1", "listed")
			if err := f.MayStart(m.Clock.Now(), time.Hour); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestMine: an operator of a data node may know of objects that no body told it of.
func TestMine(t *testing.T) {
	m := followtest.New(t)
	f := m.Follower(bank, filepath.Join(t.TempDir(), "state"), func(c *follow.Config) {
		c.Mine = func(id contracts.ID) bool { return id == publishtest.ID(20) }
	})
	m.Log.Append(foreign(20))
	m.Publish()
	if err := f.RunOnce(t.Context()); !errors.Is(err, follow.ErrWithheld) {
		t.Fatal(err)
	}
}

// TestFalseBody: a body that isn't what the leaf commits to is as good as none.
func TestFalseBody(t *testing.T) {
	m := followtest.New(t)
	f := m.Follower(bank, filepath.Join(t.TempDir(), "state"))
	m.Log.Append(grant(10, put("grant/10", "revoked")))
	m.Publish()
	m.Alter("/entries", func(b []byte) []byte { return bytes.Replace(b, []byte("revoked"), []byte("active!"), 1) })
	if err := f.RunOnce(t.Context()); !errors.Is(err, follow.ErrWithheld) {
		t.Fatal(err)
	}
	want(t, f, "grant/10", "")
	m.Alter("/entries", nil)
	follow1(t, f)
	want(t, f, "grant/10", "revoked")
}

// TestGap: a page that claims to reach further than it was asked, or nowhere, is no answer.
func TestGap(t *testing.T) {
	m := followtest.New(t)
	f := m.Follower(bank, filepath.Join(t.TempDir(), "state"))
	for _, n := range []byte{0, 2} {
		m.Alter("/entries", func(b []byte) []byte {
			b = bytes.Clone(b[:36])
			b[31], b[35] = n, 0 // next, count
			return b
		})
		if err := f.RunOnce(t.Context()); !errors.Is(err, follow.ErrGap) {
			t.Errorf("next %d of 1: %v", n, err)
		}
	}
}

// TestFork: the operator rewrites an entry and signs again. The witness refuses, and so does who followed before.
func TestFork(t *testing.T) {
	m := followtest.New(t)
	path := filepath.Join(t.TempDir(), "state")
	f := m.Follower(bank, path)
	m.Log.Append(grant(10, put("grant/10", "active")), public(put("a", "b")), public(put("c", "d")))
	m.Publish()
	follow1(t, f)
	other := m.Log.Rewritten(2)
	other.Append(public())
	dir := filepath.Join(t.TempDir(), "other")
	if err := m.Open(other, dir, true); err != nil {
		t.Fatal(err)
	}
	for _, w := range m.Publisher.Status(t.Context()).Witnesses {
		if w.Err == nil {
			t.Errorf("witness %s cosigned a rewritten log", w.Name)
		}
	}
	if err := f.RunOnce(t.Context()); !errors.Is(err, follow.ErrFork) {
		t.Fatalf("fork not seen: %v", err)
	}
	if err := f.MayStart(m.Clock.Now(), time.Hour); !errors.Is(err, follow.ErrFork) {
		t.Fatalf("it may start: %v", err)
	}
	if e, err := f.Fork(); err != nil || bytes.Count(e, []byte(followtest.LedgerID+"\n")) != 2 {
		t.Errorf("evidence lacks two checkpoints: %v\n%s", err, e)
	}
	f.Close()
	f = m.Follower(bank, path)
	if err := f.MayStart(m.Clock.Now(), time.Hour); !errors.Is(err, follow.ErrFork) {
		t.Fatalf("forgotten after a restart: %v", err)
	}
	if err := f.Run(t.Context()); !errors.Is(err, follow.ErrFork) {
		t.Fatalf("it follows on: %v", err)
	}
}

// TestForkSameSize: two roots for one size.
func TestForkSameSize(t *testing.T) {
	m := followtest.New(t)
	f := m.Follower(bank, filepath.Join(t.TempDir(), "state"))
	m.Log.Fill(5)
	m.Publish()
	follow1(t, f)
	if err := m.Open(m.Log.Rewritten(3), filepath.Join(t.TempDir(), "other"), true); err != nil {
		t.Fatal(err)
	}
	if err := f.RunOnce(t.Context()); !errors.Is(err, follow.ErrFork) {
		t.Fatalf("fork not seen: %v", err)
	}
}

// TestOldCheckpoint is no news, and not a fork.
func TestOldCheckpoint(t *testing.T) {
	m := followtest.New(t)
	f := m.Follower(bank, filepath.Join(t.TempDir(), "state"))
	old, _ := m.Publisher.Head()
	m.Log.Fill(5)
	m.Publish()
	follow1(t, f)
	m.Alter("/checkpoint", func([]byte) []byte { return old.Signed })
	follow1(t, f)
	if s := f.Status(); s.Size != 6 || s.Stop != nil {
		t.Errorf("%+v", s)
	}
}

// TestForeignGenesis: a ledger with another beginning under the same keys.
func TestForeignGenesis(t *testing.T) {
	m := followtest.New(t)
	m.Trust.Genesis = contracts.Hash(strings.Repeat("ab", 32))
	f := m.Follower(bank, filepath.Join(t.TempDir(), "state"))
	if err := f.RunOnce(t.Context()); !errors.Is(err, follow.ErrFork) {
		t.Fatal(err)
	}
}

func TestForgedCheckpoint(t *testing.T) {
	m := followtest.New(t)
	f := m.Follower(bank, filepath.Join(t.TempDir(), "state"))
	m.Alter("/checkpoint", func(b []byte) []byte { return bytes.Replace(b, []byte("\n1\n"), []byte("\n2\n"), 1) })
	if err := f.RunOnce(t.Context()); err == nil || errors.Is(err, follow.ErrFork) {
		t.Fatalf("a checkpoint that the log didn't sign is no evidence: %v", err)
	}
	if f.Status().Size != 0 {
		t.Error("it was followed")
	}
}

// TestRegulator gets every body, and misses each that is missing.
func TestRegulator(t *testing.T) {
	m := followtest.New(t)
	n := atomic.Int64{}
	f := m.Follower(followtest.Regulator, filepath.Join(t.TempDir(), "state"), func(c *follow.Config) {
		c.All = true
		c.OnEntry = func(*ledger.Entry) { n.Add(1) }
	})
	m.Log.Append(grant(1), foreign(2), public())
	m.Publish()
	m.Withhold(2, true)
	if err := f.RunOnce(t.Context()); !errors.Is(err, follow.ErrWithheld) {
		t.Fatal(err)
	}
	m.Withhold(2, false)
	follow1(t, f)
	if n.Load() != 4 {
		t.Errorf("%d bodies", n.Load())
	}
}

// TestRun follows by itself: a stop order comes early, ahead of its checkpoint, and then verified.
func TestRun(t *testing.T) {
	m := followtest.New(t)
	early, verified := make(chan uint64, 100), make(chan uint64, 100)
	f := m.Follower(bank, filepath.Join(t.TempDir(), "state"), func(c *follow.Config) {
		c.OnEarly = func(e *ledger.Entry) { early <- e.Position }
		c.OnEntry = func(e *ledger.Entry) { verified <- e.Position }
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- f.Run(ctx) }()
	if p := <-verified; p != 0 {
		t.Fatalf("first is %d", p)
	}
	m.Log.Append(foreign(5), grant(10, put("grant/10", "suspended")))
	if p := <-early; p != 2 {
		t.Fatalf("early is %d", p)
	}
	if _, ok := f.Get("grant/10"); ok {
		t.Error("state shows what no checkpoint covers")
	}
	m.Publish()
	if p := <-verified; p != 2 {
		t.Fatalf("verified is %d", p)
	}
	want(t, f, "grant/10", "suspended")
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

// TestResume kills the follower between any two requests, opens it again and lets it go on: the state is that of one
// that was never killed.
func TestResume(t *testing.T) {
	m := followtest.New(t)
	for i := range 600 {
		m.Log.Append(grant(uint64(10+i%7), put(fmt.Sprint("grant/", i%97), fmt.Sprint(i))), foreign(5000), public(put("product/1", fmt.Sprint(i))))
	}
	m.Publish()
	whole := m.Follower(bank, filepath.Join(t.TempDir(), "state"))
	follow1(t, whole)
	path := filepath.Join(t.TempDir(), "state")
	for n := 1; ; n++ {
		f := m.Follower(bank, path, func(c *follow.Config) {
			c.HTTP.Transport = &cut{after: n, RoundTripper: c.HTTP.Transport}
		})
		err := f.RunOnce(t.Context())
		f.Close()
		if err == nil {
			break
		}
		if n > 100 || errors.Is(err, follow.ErrFork) || errors.Is(err, follow.ErrWithheld) {
			t.Fatalf("cut after %d requests: %v", n, err)
		}
	}
	f := m.Follower(bank, path)
	a, b := whole.Scan("", 1<<20), f.Scan("", 1<<20)
	if len(a) != 98 || fmt.Sprint(a) != fmt.Sprint(b) || whole.Status() != f.Status() {
		t.Errorf("whole %d keys %+v, resumed %d keys %+v", len(a), whole.Status(), len(b), f.Status())
	}
}

// cut breaks the network after some requests.
type cut struct {
	after int
	http.RoundTripper
}

func (c *cut) RoundTrip(r *http.Request) (*http.Response, error) {
	if c.after--; c.after < 0 {
		return nil, errors.New("network is down")
	}
	return c.RoundTripper.RoundTrip(r)
}

// TestReadersSeeOnePosition: while steps are applied, a View never mixes two of them.
func TestReadersSeeOnePosition(t *testing.T) {
	m := followtest.New(t)
	f := m.Follower(bank, filepath.Join(t.TempDir(), "state"))
	follow1(t, f)
	stop, done := make(chan struct{}), make(chan struct{})
	views := 0
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			f.View(func(v follow.View) {
				a, _ := v.Get("a")
				b, _ := v.Get("b")
				if string(a) != string(b) {
					t.Errorf("a is %q and b is %q at %d", a, b, v.Size())
				}
				views++
			})
		}
	}()
	for i := range 30 {
		// Each step has an entry for a and one for b.
		m.Log.Append(public(put("a", fmt.Sprint(i))), public(put("b", fmt.Sprint(i))))
		m.Publish()
		follow1(t, f)
	}
	close(stop)
	<-done
	if views == 0 {
		t.Error("nobody looked")
	}
}

func BenchmarkFollow10k(b *testing.B) {
	m := followtest.New(b)
	for i := range 10_000 {
		if i%50 == 0 {
			m.Log.Append(grant(uint64(i+10), put("grant/1", strings.Repeat("x", 300))))
		} else {
			m.Log.Append(foreign(uint64(i + 10)))
		}
	}
	if err := m.Publisher.RunOnce(b.Context()); err != nil {
		b.Fatal(err)
	}
	n := 0
	dir := b.TempDir()
	for b.Loop() {
		n++
		f := m.Follower(bank, filepath.Join(dir, fmt.Sprint(n)))
		if err := f.RunOnce(b.Context()); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}
