package witness

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/bund-exchange/bund/ledger/publish"
)

func (h history) head(t testing.TB, w *Witness, epoch, size, branchAt uint64) publish.Head {
	t.Helper()
	x, err := w.policy.Open(h.inEpoch(t, epoch, size, branchAt))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func cosigned(t testing.TB, h history, w *Witness, sizes ...uint64) {
	t.Helper()
	for _, n := range sizes {
		if a := w.add(h.body(t, w.last.Size, n, never)); a.status != 200 {
			t.Fatalf("size %d: %+v", n, a)
		}
	}
}

// A request never moves a witness to another epoch: it says in which it is, whichever way the other differs.
func TestEpochs(t *testing.T) {
	h := newHistory(t)
	w, cfg, _ := begin(t, h)
	cosigned(t, h, w, 10, 100, 120)
	next := fmt.Appendf(nil, "old 0\n\n%s", h.inEpoch(t, 2, 0, never))
	if a := w.add(next); a.status != 404 || !a.elsewhen || a.epoch != 0 {
		t.Errorf("a later epoch: %+v", a)
	}
	// Kept 105, of which this witness saw 100; the log went on otherwise from there.
	loss := Loss{Head: h.head(t, w, 2, 130, 105), Kept: 105, Root: func(size uint64) ([32]byte, error) { return [32]byte(root(0, size, 105)), nil }}
	forged := loss
	forged.Root = func(size uint64) ([32]byte, error) { return [32]byte(root(0, size, 50)), nil }
	if _, err := w.Accept(forged); err == nil {
		t.Error("the first 100 entries are others")
	}
	unread := loss
	unread.Root = func(uint64) ([32]byte, error) { return [32]byte{}, errors.New("not known") }
	empty := loss
	empty.Kept = 130
	for name, l := range map[string]Loss{"unread": unread, "nothing behind": empty, "no head": {}} {
		if _, err := w.Accept(l); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if w.last.Epoch != 0 || w.last.Size != 120 {
		t.Fatalf("a refused loss changed the state: %+v", w.last.Checkpoint)
	}
	if n, err := w.Accept(loss); err != nil || n != 100 {
		t.Fatalf("proven %d: %v", n, err)
	}
	w = reopen(t, w, cfg)
	if a := w.add(h.body(t, 0, 0, never)); a.status != 404 || !a.elsewhen || a.epoch != 2 {
		t.Errorf("the lost log: %+v", a)
	}
	if a := w.add(next); a.status != 409 || a.size != 130 {
		t.Errorf("the log that goes on: %+v", a)
	}
	if a := w.add(fmt.Appendf(nil, "old 130\n%s\n%s", prove(t, 130, 140, 105), h.inEpoch(t, 2, 140, 105))); a.status != 200 {
		t.Errorf("growth: %+v", a)
	}
	if c, ok, err := w.cosigned.upTo(139); err != nil || !ok || c.Size != 130 {
		t.Errorf("cosigned up to 139: %+v, %v", c, err)
	}
	if c, ok, err := w.cosigned.upTo(129); err != nil || !ok || c.Size != 100 {
		t.Errorf("what was lost is still on the roll: %+v, %v", c, err)
	}
	// One that has cosigned nothing takes the log in whatever epoch it is, and not backwards.
	fresh, _, _ := begin(t, h)
	if a := fresh.add(next); a.status != 200 {
		t.Errorf("a new witness: %+v", a)
	}
	if a := fresh.add(h.body(t, 0, 0, never)); a.status != 404 || a.epoch != 2 {
		t.Errorf("backwards: %+v", a)
	}
}

// The roll and the state are two files: whatever a crash leaves of the roll, it fits the state again or is refused.
func TestRoll(t *testing.T) {
	h := newHistory(t)
	w, cfg, _ := begin(t, h)
	cosigned(t, h, w, 10, 100, 120)
	name := filepath.Join(cfg.Dir, rollName)
	whole, err := os.ReadFile(name)
	if err != nil || len(whole) != 3*rollBytes {
		t.Fatalf("%d bytes: %v", len(whole), err)
	}
	beyond := append([]byte{}, whole...)
	beyond = append(beyond, 0, 0, 0, 0, 0, 0, 0, 200)
	beyond = append(beyond, make([]byte, 32)...)
	for what, b := range map[string][]byte{"torn": whole[:2*rollBytes+7], "one less": whole[:2*rollBytes], "one more": beyond, "none": nil} {
		w.Close()
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		w = reopen(t, w, cfg)
		c, ok, err := w.cosigned.upTo(1 << 40)
		if err != nil || !ok || c.Size != 120 || c.Root != w.last.Root {
			t.Errorf("%s: %+v, %v", what, c, err)
		}
		if _, ok, err = w.cosigned.upTo(99); err != nil || ok != (what != "none") {
			t.Errorf("%s: below 100: %v, %v", what, ok, err)
		}
		if err := os.WriteFile(name, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		w = reopen(t, w, cfg)
	}
	w.Close()
	whole[len(whole)-1] ^= 1
	if err := os.WriteFile(name, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if w, err := Open(cfg); err == nil {
		w.Close()
		t.Error("a roll of another history opened")
	}
}
