package meter

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
)

// many opens n more agreements at the provider of w, and gives their logs.
func (w *world) many(n int) (logs []*Log) {
	w.t.Helper()
	for i := range n {
		x := w.terms
		x.Agreement = contracts.ID(fmt.Sprintf("%032x", i+1))
		l, err := w.p.Open(w.t.Context(), Fixed(x), Backend{Admit: w.admit, Execute: w.execute})
		if err != nil {
			w.t.Fatal(err)
		}
		logs = append(logs, l)
	}
	return logs
}

func segments(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "wal-*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// Segments are shared by all agreements and given up although some agreements stand still with an answer that nobody
// acknowledged: it is carried forward, and is there after a restart.
func TestSegmentsAreRetired(t *testing.T) {
	w := newWorld(t, windowOf(50), func(w *world) {
		w.pcfg = func(c *ProviderConfig) { c.segmentBytes = 16 << 10 }
	})
	idle := w.many(5)
	for i, l := range idle {
		if _, err := l.Serve(t.Context(), &Call{ID: w.requestID("1"), Epoch: 1, Body: fmt.Appendf(nil, "%d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		w.must(40, "a")
		if err := w.settle(); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(w.dir, "provider")
	names := segments(t, dir)
	if first := filepath.Base(names[0]); len(names) > 8 || first == filepath.Base(segmentPath("", 1)) {
		t.Errorf("%d segments from %s on", len(names), first)
	}
	for range 2 {
		w.restartProvider()
		for i, l := range w.many(5) {
			a, err := l.AnswerAt(1, 0)
			if err != nil || string(a.Body) != fmt.Sprintf(`{"answer":%d}`, i) {
				t.Errorf("agreement %d: %v", i, err)
			}
		}
		w.must(20, "b")
		if err := w.settle(); err != nil {
			t.Fatal(err)
		}
	}
	w.agreed(440, 440)
}

// A retirement that is cut off at any of its writes loses nothing.
func TestRetirementIsCutOff(t *testing.T) {
	for n := int64(60); n <= 100; n += 4 {
		f, dead := crashAt("provider.committed", n)
		var idle []*Log
		w := newWorld(t, windowOf(50), func(w *world) {
			w.pcfg = func(c *ProviderConfig) { c.segmentBytes, c.faults = 8<<10, f }
		})
		idle = w.many(3)
		for _, l := range idle {
			if _, err := l.Serve(t.Context(), &Call{ID: w.requestID("1"), Epoch: 1, Body: []byte("7")}); err != nil {
				t.Fatal(err)
			}
		}
		for i := 0; !dead.Load(); i++ {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			w.c.Call(ctx, NewNonce(time.Now()), []byte("1"))
			cancel()
			if i%20 == 0 {
				w.c.RunOnce(t.Context())
			}
		}
		size := w.c.State().Size
		w.pcfg = func(c *ProviderConfig) { c.segmentBytes = 8 << 10 }
		w.restartProvider()
		if err := w.settle(); err != nil {
			t.Fatal(err)
		}
		if st := w.l.State(); st.Size < size || st.Acked != st.Size {
			t.Fatalf("cut at %d: consumer had %d, provider %+v", n, size, st)
		}
		for _, l := range w.many(3) {
			if a, err := l.AnswerAt(1, 0); err != nil || string(a.Body) != `{"answer":7}` {
				t.Fatalf("cut at %d: %v", n, err)
			}
		}
		w.p.Close()
		w.journal.Close()
	}
}

// A torn tail is cut; damage before what was answered refuses to open.
func TestTornAndDamaged(t *testing.T) {
	w := newWorld(t)
	w.must(3, "a")
	w.settle()
	w.must(3, "b")
	w.p.Close()
	dir := filepath.Join(w.dir, "provider")
	names := segments(t, dir)
	last := names[len(names)-1]
	whole, err := os.ReadFile(last)
	if err != nil {
		t.Fatal(err)
	}
	var frames []int // offsets
	for off := 0; ; {
		_, f := readFrame(whole[off:])
		if f == nil {
			break
		}
		frames = append(frames, off)
		off += len(f)
	}
	end := frames[len(frames)-1]
	open := func(change func(b []byte)) (*Log, error) {
		at := filepath.Join(t.TempDir(), "provider")
		copyDir(t, dir, at)
		b := bytes.Clone(whole)
		change(b)
		if err := os.WriteFile(filepath.Join(at, filepath.Base(last)), b, 0o600); err != nil {
			t.Fatal(err)
		}
		p, l, err := w.openProvider(at, w.fence)
		if err == nil {
			t.Cleanup(func() { p.Close() })
		}
		return l, err
	}
	for name, change := range map[string]func(b []byte){
		"nothing":             func([]byte) {},
		"torn in the last":    func(b []byte) { clear(b[end+40:]) },
		"garbage in the last": func(b []byte) { b[end+frameHeader+9] ^= 1 },
		"header only":         func(b []byte) { clear(b[end+8:]) },
		"garbage behind":      func(b []byte) { copy(b[len(b)-100:], "BWL1 garbage") },
		"an old frame behind": func(b []byte) { copy(b[len(b)-4096:], whole[frames[0]:frames[1]]) },
	} {
		l, err := open(change)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := int64(6)
		if name[0] != 'n' && name != "garbage behind" && name != "an old frame behind" {
			want = 5
		}
		if got := l.State().Size; got != want {
			t.Errorf("%s: %d leaves, want %d", name, got, want)
		}
	}
	for i, off := range frames[:len(frames)-1] {
		if _, err := open(func(b []byte) { b[off+frameHeader+2] ^= 1 }); err == nil {
			t.Errorf("opened with frame %d damaged", i)
		}
	}
	for name, change := range map[string]func(dir string){
		"leaf file cut": func(dir string) {
			os.Truncate(filepath.Join(dir, "leaves", string(w.terms.Agreement)+"-1"), 2*LeafSize)
		},
		"fence damaged":   func(dir string) { os.WriteFile(filepath.Join(dir, "fence"), []byte("xxxxxxxxxxxxxxxxxxxx"), 0o600) },
		"unknown segment": func(dir string) { os.WriteFile(filepath.Join(dir, "wal-x"), nil, 0o600) },
		"segment missing": func(dir string) {
			os.Rename(filepath.Join(dir, filepath.Base(last)), segmentPath(dir, 99))
			os.WriteFile(segmentPath(dir, 97), whole, 0o600)
		},
	} {
		at := filepath.Join(t.TempDir(), "provider")
		copyDir(t, dir, at)
		change(at)
		p, l, err := w.openProvider(at, w.fence)
		if err != nil {
			continue
		}
		// A cut file that the segments can fill again is no damage.
		if name != "leaf file cut" || l.State().Size != 6 {
			t.Errorf("%s: opened", name)
		}
		p.Close()
	}
}

// The flat file is needed once the segments are gone, and a leaf that was altered in it is found by its root.
func TestLeafFileIsChecked(t *testing.T) {
	w := newWorld(t, func(w *world) { w.pcfg = func(c *ProviderConfig) { c.segmentBytes = 8 << 10 } })
	for range 10 {
		w.must(20, "a")
		w.settle()
	}
	if err := w.l.Audit(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(w.dir, "provider", "leaves", string(w.terms.Agreement)+"-1")
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.WriteAt([]byte{0xff}, 5*LeafSize+100)
	if _, err := w.l.Evidence(3, *w.l.Acknowledged(), contracts.TagAck); err == nil {
		t.Error("evidence from altered leaves")
	}
	if err := w.l.Audit(); err == nil {
		t.Error("altered leaves passed the audit")
	}
}

// Answers are ciphertext on disk, at both sides.
func TestAnswersAreSealed(t *testing.T) {
	w := newWorld(t)
	w.must(1, "a very private name")
	w.settle()
	w.must(1, "a very private name")
	w.journal.Close()
	filepath.Walk(w.dir, func(path string, fi os.FileInfo, err error) error {
		if err != nil || fi.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte("private name")) {
			t.Errorf("%s holds an answer in the clear", filepath.Base(path))
		}
		return err
	})
	w.startConsumer()
}

// The journal gives up old answers and keeps their leaves.
func TestJournalDropsOldAnswers(t *testing.T) {
	now := time.Now()
	w := newWorld(t, func(w *world) {
		clock := func() time.Time { return now }
		w.pcfg = func(c *ProviderConfig) { c.Now = clock }
		w.ccfg = func(c *ConsumerConfig) { c.Now, c.KeepAnswers = clock, time.Hour }
	})
	call := func() {
		if _, err := w.c.Call(t.Context(), NewNonce(now), []byte("1")); err != nil {
			t.Fatal(err)
		}
		if err := w.settle(); err != nil {
			t.Fatal(err)
		}
	}
	call()
	now = now.Add(30 * time.Minute)
	call()
	now = now.Add(45 * time.Minute)
	call()
	for seq, kept := range []bool{false, true, true} {
		_, _, err := w.journal.answer(w.c.agreement, 1, int64(seq), w.c.sealer)
		if (err == nil) != kept {
			t.Errorf("answer %d: %v, want it kept: %v", seq, err, kept)
		}
		if _, err := w.c.Leaf(int64(seq)); err != nil {
			t.Error(err)
		}
	}
	w.restartConsumer()
	call()
	w.agreed(4, 4)
}

// Chunks are found by any of their leaves.
func TestJournalChunks(t *testing.T) {
	w := newWorld(t, windowOf(1000))
	for _, n := range []int{1, 300, 256, 2} {
		w.must(n, "a")
		if err := w.settle(); err != nil {
			t.Fatal(err)
		}
	}
	w.agreed(559, 559)
	for seq := range int64(559) {
		raw, answer, err := w.journal.answer(w.c.agreement, 1, seq, w.c.sealer)
		theirs, _ := w.l.Leaf(seq)
		if err != nil || !bytes.Equal(raw, theirs) || !bytes.Contains(answer, []byte("answer")) {
			t.Fatalf("receipt %d: %v", seq, err)
		}
	}
	for _, seq := range []int64{-1, 559, 1000} {
		if _, err := w.journal.leaf(w.c.agreement, 1, seq); err == nil {
			t.Errorf("receipt %d was found", seq)
		}
	}
}
