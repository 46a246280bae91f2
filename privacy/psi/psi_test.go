package psi_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/bund-exchange/bund/privacy/psi"
)

// drawSet draws distinct ids out of few, so that sets meet, some of them empty or long.
func drawSet(t *rapid.T, name string) [][]byte {
	return rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) []byte {
		n := rapid.IntRange(0, 30).Draw(t, "id")
		if n == 0 {
			return []byte{}
		}
		return bytes.Repeat([]byte{byte(n)}, 1+n*n%50)
	}), 0, 31, func(b []byte) string { return string(b) }).Draw(t, name)
}

func drawParams(t *rapid.T, w *world) {
	w.params.FrameElements = uint32(rapid.IntRange(1, 9).Draw(t, "frame elements"))
	w.params.Padding = rapid.SampledFrom([]psi.Padding{psi.Exact, psi.Rounded}).Draw(t, "padding")
}

// TestOracle holds the intersection of random sets against the plain one, and the transcript's length against what was
// said beforehand.
func TestOracle(t *testing.T) {
	psi.Small(t)
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(drawSet(t, "x"), drawSet(t, "y"))
		drawParams(t, w)
		sent, received, err := w.run(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.Collect(w.matches.All()); !slices.Equal(got, plain(w.x, w.y)) || uint64(len(got)) != w.matches.Len() {
			t.Fatalf("matches %v, want %v", got, plain(w.x, w.y))
		}
		for i := range uint64(len(w.x) + 2) {
			if w.matches.Has(i) != slices.Contains(plain(w.x, w.y), i) {
				t.Fatalf("place %d: has %v", i, w.matches.Has(i))
			}
		}
		n, m := psi.RoundedSize(w.params.Padding, uint64(len(w.x))), psi.RoundedSize(w.params.Padding, uint64(len(w.y)))
		if sent != received || sent.Receiver != n || sent.Sender != m {
			t.Fatalf("sender says %+v, receiver %+v, sizes are %d and %d", sent, received, n, m)
		}
		down, up := w.params.Bytes(m, n)
		if got := total(w.sender.link.out); got != down {
			t.Fatalf("sender sent %d bytes, announced %d", got, down)
		}
		if got := total(w.receiver.link.out); got != up {
			t.Fatalf("receiver sent %d bytes, announced %d", got, up)
		}
	})
}

func total(w *wire) (n int64) {
	for _, f := range w.frames {
		n += int64(len(f))
	}
	return n
}

// TestCrashes cuts both links at random operations and restarts both sides, each time with what their spools had synced,
// until they are done. The wires hold a broken rule against whoever makes a frame twice.
func TestCrashes(t *testing.T) {
	psi.Small(t)
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(drawSet(t, "x"), drawSet(t, "y"))
		drawParams(t, w)
		var frames [2][][]byte
		for run := 0; ; run++ {
			if run < 12 {
				w.sender.link.cut = rapid.IntRange(1, 25).Draw(t, "cut of the sender")
				w.receiver.link.cut = rapid.IntRange(1, 25).Draw(t, "cut of the receiver")
			} else {
				w.sender.link.cut, w.receiver.link.cut = 0, 0
			}
			// Another scalar would be drawn now: none may be, once a frame was sent.
			w.sender.seed[1], w.receiver.seed[1] = byte(run), byte(run)
			_, _, err := w.run(context.Background())
			for i, l := range []*link{w.sender.link, w.receiver.link} {
				if len(frames[i]) > len(l.out.frames) || !slices.EqualFunc(frames[i], l.out.frames[:len(frames[i])], bytes.Equal) {
					t.Fatal("a sent frame has changed")
				}
				frames[i] = slices.Clone(l.out.frames)
			}
			if err == nil {
				break
			}
			if !errors.Is(err, errCut) || run >= 12 {
				t.Fatalf("run %d: %v", run, err)
			}
			w.sender.spool.crash()
			w.receiver.spool.crash()
		}
		if got := slices.Collect(w.matches.All()); !slices.Equal(got, plain(w.x, w.y)) {
			t.Fatalf("matches %v, want %v", got, plain(w.x, w.y))
		}
	})
}

// TestForgets: while a session is under way its record holds the scalar, afterwards nothing does, and the spool is
// empty. A finished session that is run again answers from its record.
func TestForgets(t *testing.T) {
	w := newWorld(ids(20, 0), ids(20, 10))
	first, _, err := w.run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*side{"sender": w.sender, "receiver": w.receiver} {
		// Both sides drew their scalar before anything else.
		scalar := make([]byte, 32)
		rand.NewChaCha8(s.seed).Read(scalar)
		if !bytes.Contains(s.store.records[0], scalar[1:31]) {
			t.Errorf("%s: the record never held the scalar; this test proves nothing", name)
		}
		if bytes.Contains(s.store.record, scalar[1:31]) {
			t.Errorf("%s: the scalar outlives the session", name)
		}
		if n := s.spool.size(); n != 0 {
			t.Errorf("%s: the spool keeps %d bytes", name, n)
		}
	}
	again, received, err := w.run(context.Background())
	if err != nil || again != first || received != first || w.deliveries != 1 {
		t.Errorf("run again: %+v and %+v, %d deliveries, %v", again, received, w.deliveries, err)
	}
}

// TestOrderOfIDs: frames are a function of the set, not of the order in which a list has it.
func TestOrderOfIDs(t *testing.T) {
	psi.Small(t)
	var want [][]byte
	for turn := range 3 {
		w := newWorld(ids(17, 0), ids(23, 10))
		rand.New(rand.NewPCG(uint64(turn), 1)).Shuffle(len(w.x), func(i, j int) { w.x[i], w.x[j] = w.x[j], w.x[i] })
		rand.New(rand.NewPCG(uint64(turn), 2)).Shuffle(len(w.y), func(i, j int) { w.y[i], w.y[j] = w.y[j], w.y[i] })
		if _, _, err := w.run(context.Background()); err != nil {
			t.Fatal(err)
		}
		got := slices.Concat(w.sender.link.out.frames, w.receiver.link.out.frames)
		if turn > 0 && !slices.EqualFunc(got, want, bytes.Equal) {
			t.Fatal("another order of the same ids gave other frames")
		}
		want = got
	}
}

// TestGolden holds the bytes on the wire: a change of them is another version.
func TestGolden(t *testing.T) {
	w := newWorld(ids(20, 0), ids(30, 10))
	w.params.Padding = psi.Rounded
	if _, _, err := w.run(context.Background()); err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	for _, f := range slices.Concat(w.sender.link.out.frames, w.receiver.link.out.frames) {
		fmt.Fprintf(h, "%d:%x\n", len(f), f)
	}
	const want = "bea464c65969d7da90a66c0f385bb3030a5ec779d107115bfe8e8f2065d7ddb9"
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		t.Errorf("transcript %s, want %s", got, want)
	}
}

// TestPadding: rounded sizes are fixed points, not below n, and at most 12 % above it.
func TestPadding(t *testing.T) {
	for p, want := range map[psi.Padding]map[uint64]uint64{
		psi.Exact:   {0: 1, 1: 1, 9: 9, 100_000: 100_000},
		psi.Rounded: {0: 1, 1: 1, 2: 2, 9: 10, 100: 104, 1000: 1024, 100_000: 100_352, 1_000_000: 1_015_808, 1<<20 - 1: 1 << 20},
	} {
		for n, size := range want {
			if got := psi.RoundedSize(p, n); got != size {
				t.Errorf("padding %d of %d is %d, want %d", p, n, got, size)
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint64Range(1, psi.MaxSize).Draw(t, "n")
		got := psi.RoundedSize(psi.Rounded, n)
		if got < n || (got-n)*100 > n*12 || psi.RoundedSize(psi.Rounded, got) != got {
			t.Fatalf("%d is rounded to %d, and that to %d", n, got, psi.RoundedSize(psi.Rounded, got))
		}
	})
}

// TestTagSize: 40 bits beside the logarithms of both sizes.
func TestTagSize(t *testing.T) {
	for _, c := range []struct {
		n, m uint64
		want int
	}{{1, 1, 5}, {2, 1, 6}, {256, 1, 6}, {257, 1, 7}, {100_000, 100_000, 10}, {1 << 20, 1 << 20, 10}, {1<<20 + 1, 1 << 20, 11}, {psi.MaxSize, psi.MaxSize, 15}} {
		if got := psi.TagSize(c.n, c.m); got != c.want {
			t.Errorf("%d × %d: %d bytes, want %d", c.n, c.m, got, c.want)
		}
	}
}

// TestResumesOnlyItself: a record of other parameters or of the other role, a damaged or a missing one.
func TestResumesOnlyItself(t *testing.T) {
	began := func() *world {
		w := newWorld(ids(20, 0), ids(20, 10))
		w.sender.link.cut, w.receiver.link.cut = 6, 6
		if _, _, err := w.run(context.Background()); !errors.Is(err, errCut) {
			t.Fatal(err)
		}
		w.sender.link.cut, w.receiver.link.cut = 0, 0
		return w
	}
	for name, change := range map[string]func(w *world){
		"other parameters": func(w *world) { w.params.SenderMax++ },
		"other session":    func(w *world) { w.params.Session[5]++ },
		"other role":       func(w *world) { w.sender.store = w.receiver.store },
		"damaged":          func(w *world) { w.sender.store.record = w.sender.store.record[1:] },
		"missing":          func(w *world) { w.sender.store.record = nil },
	} {
		w := began()
		change(w)
		ctx, cancel := context.WithCancel(context.Background())
		if _, err := w.send(ctx); err == nil {
			t.Errorf("%s: resumed", name)
		}
		cancel()
	}
	w := began()
	if _, _, err := w.run(context.Background()); err != nil {
		t.Errorf("unchanged: %v", err)
	}
}

// TestProgress: every stage is told, and nothing after the last.
func TestProgress(t *testing.T) {
	w := newWorld(ids(20, 0), ids(20, 10))
	var stages []psi.Stage
	s := w.receiver.session(w.params)
	s.OnProgress = func(p psi.Progress) {
		if len(stages) == 0 || stages[len(stages)-1] != p.Stage {
			stages = append(stages, p.Stage)
		}
		if p.Total > 0 && p.Done > p.Total {
			t.Errorf("%+v", p)
		}
	}
	go w.send(context.Background())
	if _, err := s.Receive(context.Background(), list(w.x), func(*psi.Matches) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if want := []psi.Stage{psi.Preparing, psi.Exchanging, psi.Evaluating, psi.Intersected}; !slices.Equal(stages, want) {
		t.Errorf("stages %v, want %v", stages, want)
	}
}
