package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

func frame(i int) []byte { return bytes.Repeat([]byte{byte(i + 1)}, i*7%20) }

func fill(t *testing.T, x *Session, n int) {
	t.Helper()
	for i := range n {
		if err := errors.Join(x.put(uint64(i), frame(i)), x.Frames().Send(context.Background(), uint64(i), frame(i+1))); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFramesSurvive: frames of both directions are read back after a restart, empty ones too.
func TestFramesSurvive(t *testing.T) {
	dir := t.TempDir()
	s := openShelf(t, dir, nil)
	fill(t, create(t, s, terms(bank)), 9)
	s.Close()
	x, _ := openShelf(t, dir, nil).Session(agreement, sid)
	f := x.Frames()
	for i := range 9 {
		in, err := f.Receive(context.Background(), uint64(i))
		out, err2 := f.Own(uint64(i))
		if err := errors.Join(err, err2); err != nil || !bytes.Equal(in, frame(i)) || !bytes.Equal(out, frame(i+1)) {
			t.Fatalf("frame %d: %x and %x, %v", i, in, out, err)
		}
	}
	if _, err := f.Own(9); err == nil || f.Sent() != 9 {
		t.Errorf("own frame 9: %v; %d sent", err, f.Sent())
	}
}

// TestPut: a frame again is taken for what it is, other bytes or a gap are refused, and so is more than the bounds.
func TestPut(t *testing.T) {
	tm := terms(bank)
	tm.MaxReceived, tm.MaxSent = 100, 50
	x := create(t, openShelf(t, t.TempDir(), nil), tm)
	if err := errors.Join(x.put(0, make([]byte, 60)), x.put(0, make([]byte, 60))); err != nil {
		t.Fatal(err)
	}
	wantCode(t, x.put(0, make([]byte, 59)), Changed)
	wantCode(t, x.put(0, append(make([]byte, 59), 1)), Changed)
	wantCode(t, x.put(2, nil), Gap)
	wantCode(t, x.put(1, make([]byte, 41)), TooLarge)
	wantCode(t, x.put(1, make([]byte, MaxFrameBytes+1)), TooLarge)
	if err := x.put(1, make([]byte, 40)); err != nil {
		t.Errorf("to the last byte: %v", err)
	}
	wantCode(t, x.put(2, []byte{1}), TooLarge)
	wantCode(t, x.Frames().Send(context.Background(), 0, make([]byte, 51)), TooLarge)
	if err := x.Frames().Send(context.Background(), 1, nil); err == nil {
		t.Error("own frame 1 before 0")
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errLine)
	if err := x.Frames().Send(ctx, 0, nil); !errors.Is(err, errLine) {
		t.Errorf("after the context's end: %v", err)
	}
	if _, err := x.Frames().Receive(ctx, 2); !errors.Is(err, errLine) {
		t.Errorf("after the context's end: %v", err)
	}
}

// TestTornTail cuts the log at every byte and turns every byte over: frames that were whole stay, a torn last one is cut,
// damage before it is an error and no shorter log.
func TestTornTail(t *testing.T) {
	dir := t.TempDir()
	s := openShelf(t, dir, nil)
	x := create(t, s, terms(bank))
	fill(t, x, 4)
	ends := append([]int64{0}, x.in.ends...)
	s.Close()
	path := filepath.Join(x.dir, inFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	reopen := func(b []byte) (uint64, error) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := openFrameLog(openFile, path, 1000)
		if err != nil {
			return 0, err
		}
		defer l.f.Close()
		for i := range l.count() {
			at, end := l.span(i)
			if b, err := l.read(i, at, end); err != nil || !bytes.Equal(b, frame(int(i))) {
				t.Fatalf("frame %d: %x, %v", i, b, err)
			}
		}
		return l.count(), nil
	}
	for cut := range len(whole) {
		want := uint64(0)
		for want < 4 && ends[want+1] <= int64(cut) {
			want++
		}
		if got, err := reopen(whole[:cut]); err != nil || got != want {
			t.Errorf("cut at %d: %d frames, %v; want %d", cut, got, err, want)
		}
	}
	for at := range whole {
		bad := bytes.Clone(whole)
		bad[at] ^= 0x40
		got, err := reopen(bad)
		switch last := int64(at) >= ends[3]; {
		case last && (err != nil || got != 3):
			t.Errorf("byte %d of the last frame: %d frames, %v", at, got, err)
		case !last && err == nil && got == 4:
			t.Errorf("byte %d: not noticed", at)
		}
	}
}

// failing is a file whose writes or syncs fail at some point, before or after they have happened.
type failing struct {
	file
	left *int
	done bool
}

var errDisk = errors.New("disk is broken")

func (f failing) step(do func() error) error {
	if *f.left--; *f.left == 0 {
		if f.done {
			do()
		}
		return errDisk
	}
	return do()
}

func (f failing) WriteAt(b []byte, off int64) (n int, err error) {
	err = f.step(func() error { n, err = f.file.WriteAt(b, off); return err })
	return n, err
}

func (f failing) Sync() error { return f.step(f.file.Sync) }

// TestFailedWrites: the first failure stops the session; nothing is acknowledged that a restart doesn't find, and what a
// restart finds beyond that is the frame that failed.
func TestFailedWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "session")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		left := rapid.IntRange(3, 40).Draw(t, "operations until the failure")
		done := rapid.Bool().Draw(t, "it happens nevertheless")
		open := func(path string) (file, int64, error) {
			f, size, err := openFile(path)
			return failing{f, &left, done}, size, err
		}
		s, err := OpenShelf(Config{Dir: dir, Now: clock, open: open})
		if err != nil {
			t.Fatal(err)
		}
		x, err := s.Create(terms(bank))
		if err != nil {
			t.Fatal(err)
		}
		acked := 0
		for err == nil && acked < 10 {
			if err = x.put(uint64(acked), frame(acked)); err == nil {
				acked++
			}
		}
		if err != nil {
			if !errors.Is(err, errDisk) {
				t.Fatal(err)
			}
			if err := x.put(uint64(acked), frame(acked)); !errors.Is(err, ErrStopped) {
				t.Fatalf("after the failure: %v", err)
			}
		}
		s.Close()
		if s, err = OpenShelf(Config{Dir: dir, Now: clock}); err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		x, _ = s.Session(agreement, sid)
		if got := int(x.received()); got < acked || got > acked+1 {
			t.Fatalf("%d acknowledged, %d found", acked, got)
		}
		for i := range x.received() {
			if b, err := x.Frames().Receive(context.Background(), i); err != nil || !bytes.Equal(b, frame(int(i))) {
				t.Fatalf("frame %d: %x, %v", i, b, err)
			}
		}
	})
}

// TestTapes: appended, read, cut and removed, across restarts; names stay in the session's directory.
func TestTapes(t *testing.T) {
	dir := t.TempDir()
	s := openShelf(t, dir, nil)
	x := create(t, s, terms(bank))
	for i := range 3 {
		if err := x.Tapes.Append("points", fmt.Appendf(nil, "block %d;", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(x.Tapes.Truncate("points", 16), x.Tapes.Append("points", []byte("end")), x.Tapes.Sync("points")); err != nil {
		t.Fatal(err)
	}
	s.Close()
	x, _ = openShelf(t, dir, nil).Session(agreement, sid)
	b := make([]byte, 11)
	if err := x.Tapes.ReadAt("points", b, 8); err != nil || string(b) != "block 1;end" {
		t.Errorf("%q, %v", b, err)
	}
	if err := x.Tapes.ReadAt("points", b, 9); err == nil {
		t.Error("read past the end")
	}
	if err := x.Tapes.Truncate("points", 20); err == nil {
		t.Error("cut to more than there is")
	}
	if err := errors.Join(x.Tapes.Truncate("points", 0), x.Tapes.Truncate("never", 0)); err != nil {
		t.Errorf("removing: %v", err)
	}
	wantFiles(t, x.dir, termsFile, inFile, outFile)
	for _, name := range []string{"", "../x", "a/b"} {
		if err := x.Tapes.Append(name, b); err == nil {
			t.Errorf("%q is taken for a name", name)
		}
	}
}
