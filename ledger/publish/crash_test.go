package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/transparency-dev/tessera/api/layout"

	"github.com/bund-exchange/bund/ledger/publish/publishtest"
)

const toyLedger = "ledger.example/1"

func quietConfig(t testing.TB) Config {
	s, v := publishtest.Key(t, toyLedger)
	return Config{Dir: "tlog", Ledger: toyLedger, Signer: s, LogKey: v, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		CheckpointEvery: time.Millisecond}
}

// window shows a growing prefix of a ledger, so that a thousand runs build its entries once.
type window struct {
	*publishtest.Log
	height uint64
}

func (w *window) Height(context.Context) (uint64, error) { return w.height, nil }

// hashes are the leaf hashes of a toy ledger.
func hashes(l *publishtest.Log, n uint64) [][]byte {
	row := make([][]byte, n)
	for i := range row {
		row[i] = LeafHash(l.Leaf(uint64(i)))
	}
	return row
}

func rootOf(l *publishtest.Log, n uint64) [32]byte {
	r := Factory.NewEmptyRange(0)
	for i := range n {
		r.Append(LeafHash(l.Leaf(i)), nil)
	}
	h, _ := r.GetRootHash(nil)
	return [32]byte(h)
}

// checkTree compares every file that the tree of size needs with hashes computed from the entries.
func (f *volatileFiles) checkTree(t interface {
	Helper()
	Fatalf(string, ...any)
}, l *publishtest.Log, size uint64) {
	t.Helper()
	row := hashes(l, size)
	for lv := uint64(0); len(row) > 0; lv++ {
		var up [][]byte
		for n := uint64(0); n*256 < uint64(len(row)); n++ {
			part := row[n*256 : min(n*256+256, uint64(len(row)))]
			w := uint8(len(part) % 256)
			b, err := f.Read(layout.TilePath(lv, n, w))
			if err != nil || !bytes.Equal(b, bytes.Join(part, nil)) {
				t.Fatalf("tile %d/%d.p/%d is wrong: %v", lv, n, w, err)
			}
			if w == 0 {
				up = append(up, subtreeRoot(bytes.Join(part, nil)))
			}
			if lv == 0 {
				leaves, err := readBundle(f, n, w)
				if err != nil {
					t.Fatalf("bundle %d: %v", n, err)
				}
				for i, x := range leaves {
					if !bytes.Equal(x, l.Leaf(n*256+uint64(i))) {
						t.Fatalf("leaf %d of bundle %d is wrong", i, n)
					}
				}
			}
		}
		row = up
	}
}

// script grows the ledger in steps that cross tile borders, publishing after each.
var script = []int{1, 100, 155, 3, 253, 300, 1}

func play(cfg Config, f files, l *window, grow bool) error {
	p, err := open(context.Background(), cfg, l, f)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer p.Close()
	if !grow {
		return nil
	}
	for _, n := range script {
		l.height += uint64(n)
		if err := p.RunOnce(context.Background()); err != nil {
			return err
		}
	}
	return nil
}

// TestCrashAtEveryWrite cuts the power at every operation of the folder, three times each with another fate of what was
// not synced, and a second time while the first crash is repaired. Opening never refuses, and the tree is the one that
// was never interrupted.
func TestCrashAtEveryWrite(t *testing.T) {
	cfg := quietConfig(t)
	all := &publishtest.Log{}
	all.Fill(813)
	roots := map[uint64][32]byte{}
	clean := newVolatile()
	if err := play(cfg, clean, &window{Log: all}, true); err != nil {
		t.Fatal(err)
	}
	ops := clean.ops
	if ops < 50 {
		t.Fatalf("only %d operations: the script tests too little", ops)
	}
	crashes := 0
	for at := 1; at <= ops; at++ {
		for seed := range uint64(3) {
			r := rand.New(rand.NewPCG(seed, uint64(at)))
			l := &window{Log: all}
			f := newVolatile()
			f.crashAt, f.torn = at, int(seed)
			if err := play(cfg, f, l, true); !errors.Is(err, errCrash) {
				t.Fatalf("operation %d: want a power cut, got %v", at, err)
			}
			crashes++
			f = f.reboot(r)
			if f.crashAt = 1 + r.IntN(12); seed == 0 {
				f.crashAt = 0
			}
			if err := play(cfg, f, l, false); err != nil {
				if !errors.Is(err, errCrash) {
					t.Fatalf("operation %d seed %d: %v", at, seed, err)
				}
				f = f.reboot(r)
				if err := play(cfg, f, l, false); err != nil {
					t.Fatalf("operation %d seed %d, second start: %v", at, seed, err)
				}
			}
			size := l.height
			if _, ok := roots[size]; !ok && size > 0 {
				roots[size] = rootOf(all, size)
			}
			f.crashAt = 0
			p, err := open(t.Context(), cfg, l, f)
			if err != nil {
				t.Fatal(err)
			}
			h, ok := p.Head()
			if size > 0 && (!ok || h.Size != size || h.Root != roots[size]) {
				t.Fatalf("operation %d seed %d: published %d of %d", at, seed, h.Size, size)
			}
			if seed == 0 || at%5 == 0 {
				f.checkTree(t, all, size)
			}
			p.Close()
		}
	}
	t.Logf("%d power cuts over %d operations", crashes, ops)
}

// TestFailedWriteStops: after a write error the tree in memory is ahead of the files, so nothing more is published
// until a new start, which heals.
func TestFailedWriteStops(t *testing.T) {
	cfg := quietConfig(t)
	f, l := newVolatile(), &publishtest.Log{}
	l.Fill(10)
	p, err := open(t.Context(), cfg, l, f)
	if err != nil {
		t.Fatal(err)
	}
	l.Fill(300)
	f.crashAt = f.ops + 2
	if err := p.RunOnce(t.Context()); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	f.crashAt = 0
	if err := p.RunOnce(t.Context()); !errors.Is(err, errCrash) || p.Status(t.Context()).Broken == nil {
		t.Fatalf("went on after a failed write: %v", err)
	}
	if h, _ := p.Head(); h.Size != 10 {
		t.Fatalf("head moved to %d", h.Size)
	}
	p, err = open(t.Context(), cfg, l, f)
	if err != nil {
		t.Fatal(err)
	}
	if h, _ := p.Head(); h.Size != 310 {
		t.Fatalf("published %d of 310", h.Size)
	}
}

// TestStalePartials: partial tiles of full tiles go away, those of older checkpoints on the open edge stay.
func TestStalePartials(t *testing.T) {
	cfg := quietConfig(t)
	all := &publishtest.Log{}
	all.Fill(813)
	f, l := newVolatile(), &window{Log: all}
	if err := play(cfg, f, l, true); err != nil {
		t.Fatal(err)
	}
	for n := range uint64(3) {
		for _, d := range []string{layout.TilePath(0, n, 0) + ".p", layout.EntriesPath(n, 0) + ".p"} {
			if have, _ := f.List(d); len(have) > 0 {
				t.Errorf("%s still holds %v", d, have)
			}
		}
	}
	if have, _ := f.List("tile/0/003.p"); len(have) != 2 { // sizes 812 and 813
		t.Errorf("want the partial tiles of both checkpoints on the edge, have %v", have)
	}
	// A crash in collect leaves some behind; the next opening removes them.
	f.Write("tile/0/001.p/7", []byte("stale"))
	f.Write("tile/entries/000.p/9", []byte("stale"))
	if err := play(cfg, f, l, false); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"tile/0/001.p/7", "tile/entries/000.p/9"} {
		if _, err := f.Read(n); err == nil {
			t.Errorf("%s is still there", n)
		}
	}
	f.checkTree(t, all, 813)
}
