package gate

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/bund-exchange/bund/contracts"
)

func consentNo(n int) contracts.ID { return contracts.ID(fmt.Sprintf("%032x", n+1)) }

func open(t *testing.T, dir string) *Counter {
	t.Helper()
	c, err := OpenCounter(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// use takes and counts one use.
func use(c *Counter, id contracts.ID, limit int64) error {
	u, err := c.Hold(id, limit)
	if err != nil {
		return err
	}
	return u.Keep()
}

func useTimes(t *testing.T, c *Counter, id contracts.ID, n int) {
	t.Helper()
	for range n {
		if err := use(c, id, 1<<40); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLimitUnderCrowd(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir)
	var wg sync.WaitGroup
	var kept [3]atomic.Int64
	for g := range 64 {
		wg.Go(func() {
			for i := range 30 {
				n := (g + i) % len(kept)
				u, err := c.Hold(consentNo(n), int64(100*(n+1)))
				switch {
				case errors.Is(err, errUsedUp):
				case err != nil:
					t.Error(err)
				case (g*31+i)%7 == 0:
					u.Release()
				default:
					if err := u.Keep(); err != nil {
						t.Error(err)
					}
					kept[n].Add(1)
				}
			}
		})
	}
	wg.Wait()
	for n := range kept {
		id, limit := consentNo(n), int64(100*(n+1))
		for use(c, id, limit) == nil { // up to the limit, to the last one
			kept[n].Add(1)
		}
		if got := kept[n].Load(); got != limit || c.Used(id) != limit {
			t.Errorf("consent %d: %d uses, counted %d, limit %d", n, got, c.Used(id), limit)
		}
	}
	if len(c.held) != 0 {
		t.Errorf("still held: %v", c.held)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = open(t, dir)
	for n := range kept {
		if got := c.Used(consentNo(n)); got != kept[n].Load() {
			t.Errorf("consent %d after reopening: %d, want %d", n, got, kept[n].Load())
		}
	}
}

// What is held stands against the limit until it ends one way or the other.
func TestHeldCounts(t *testing.T) {
	c := open(t, t.TempDir())
	id := consentNo(1)
	a, err := c.Hold(id, 2)
	if err != nil {
		t.Fatal(err)
	}
	b, err := c.Hold(id, 2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Hold(id, 2); !errors.Is(err, errUsedUp) {
		t.Fatalf("a third of two: %v", err)
	}
	b.Release()
	if err := a.Keep(); err != nil {
		t.Fatal(err)
	}
	if err := use(c, id, 2); err != nil {
		t.Fatal(err)
	}
	if err := use(c, id, 2); !errors.Is(err, errUsedUp) || c.Used(id) != 2 {
		t.Fatalf("%v, %d used", err, c.Used(id))
	}
	// A lowered limit refuses, a raised one admits.
	if err := use(c, id, 3); err != nil {
		t.Fatal(err)
	}
	if err := use(c, id, 1); !errors.Is(err, errUsedUp) {
		t.Fatal(err)
	}
}

// TestHoldAll: all or none are taken, and the one that is used up is named.
func TestHoldAll(t *testing.T) {
	c := open(t, t.TempDir())
	ids := []contracts.ID{consentNo(0), consentNo(1), consentNo(2)}
	useTimes(t, c, ids[1], 2)
	us, full, err := c.HoldAll(ids, 3)
	if err != nil || full != -1 || len(us) != 3 {
		t.Fatalf("held %d, %d, %v", len(us), full, err)
	}
	if us, full, err := c.HoldAll(ids, 3); err != nil || full != 1 || us != nil {
		t.Errorf("past the limit: %v, %d, %v", us, full, err)
	}
	if err := us.Keep(); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int64{1, 3, 1} {
		if got := c.Used(ids[i]); got != want {
			t.Errorf("%d is counted %d times, want %d", i, got, want)
		}
	}
	// What was refused holds nothing: the others have two left.
	if us, full, err := c.HoldAll([]contracts.ID{ids[0], ids[2]}, 2); err != nil || full != -1 || len(us) != 2 {
		t.Errorf("after a refusal: %d, %v", full, err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, full, err := c.HoldAll(ids[:1], 9); err == nil || full != -1 {
		t.Errorf("closed: %d, %v", full, err)
	}
}

func TestOneProcess(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir)
	if _, err := OpenCounter(dir); err == nil {
		t.Fatal("opened twice")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := use(c, consentNo(0), 5); !errors.Is(err, errClosed) {
		t.Errorf("a closed counter: %v", err)
	}
	open(t, dir)
}

// TestTornTail cuts a file at every length: what was counted by whole frames stays, the rest is cut, and counting goes on.
func TestTornTail(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, usesName)
	c := open(t, dir)
	var ends []int // of the frames
	for n := range 4 {
		useTimes(t, c, consentNo(n%2), 1)
		st, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, int(st.Size()))
	}
	c.Close()
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(whole) + 1 {
		if err := os.WriteFile(name, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		frames := 0
		for _, e := range ends {
			if e <= cut {
				frames++
			}
		}
		c := open(t, dir)
		if got := c.Used(consentNo(0)) + c.Used(consentNo(1)); got != int64(frames) {
			t.Fatalf("cut at %d: %d uses, want %d", cut, got, frames)
		}
		useTimes(t, c, consentNo(0), 1)
		c.Close()
		c = open(t, dir)
		if got := c.Used(consentNo(0)) + c.Used(consentNo(1)); got != int64(frames)+1 {
			t.Fatalf("cut at %d, then one use: %d uses, want %d", cut, got, frames+1)
		}
		c.Close()
	}
	// A tail of zeros, as some file systems leave it, is torn too.
	if err := os.WriteFile(name, append(whole[:ends[1]:ends[1]], make([]byte, 100)...), 0o600); err != nil {
		t.Fatal(err)
	}
	if c := open(t, dir); c.Used(consentNo(0))+c.Used(consentNo(1)) != 2 {
		t.Error("zeros count")
	}
}

// TestDamage flips every byte of a file: in the last frame it is a torn tail, before it is refused with its place.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, usesName)
	c := open(t, dir)
	useTimes(t, c, consentNo(0), 2)
	c.Close()
	first, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	last := len(first) / 2 // two equal frames
	for i := range first {
		b := append([]byte(nil), first...)
		b[i] ^= 1
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := OpenCounter(dir)
		if i >= last {
			if err != nil || c.Used(consentNo(0)) != 1 {
				t.Fatalf("byte %d: %v", i, err)
			}
			c.Close()
			continue
		}
		if !errors.Is(err, errDamaged) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "offset 0:") {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
	// Frames in another order, one twice, one of another file.
	a, b := encodeFrame(1, map[[16]byte]int64{{1}: 1}), encodeFrame(2, map[[16]byte]int64{{1}: 2})
	for what, x := range map[string][]byte{"order": append(append([]byte(nil), b...), a...), "twice": append(append([]byte(nil), a...), a...),
		"falling": append(append([]byte(nil), a...), encodeFrame(2, map[[16]byte]int64{{1}: 1})...)} {
		if _, err := parseUses(x); !errors.Is(err, errDamaged) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// faulty is a file that fails as told.
type faulty struct {
	appendFile
	write, sync atomic.Bool
	short       bool
}

var errDisk = errors.New("no space left on device")

func (f *faulty) Write(b []byte) (int, error) {
	if f.write.Load() {
		if f.short {
			f.appendFile.Write(b[:len(b)/2])
		}
		return 0, errDisk
	}
	return f.appendFile.Write(b)
}

func (f *faulty) Sync() error {
	if f.sync.Load() {
		return errDisk
	}
	return f.appendFile.Sync()
}

// The first failed write stops the counter for good, also when the disk has room again; what was answered is counted.
func TestWriteError(t *testing.T) {
	for name, fail := range map[string]func(*faulty){
		"write": func(f *faulty) { f.write.Store(true) }, "short write": func(f *faulty) { f.short = true; f.write.Store(true) }, "sync": func(f *faulty) { f.sync.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c := open(t, dir)
			f := &faulty{appendFile: c.file}
			c.file = f
			useTimes(t, c, consentNo(0), 3)
			fail(f)
			if err := use(c, consentNo(0), 100); !errors.Is(err, errDisk) {
				t.Fatalf("got %v", err)
			}
			f.write.Store(false)
			f.sync.Store(false)
			for range 3 {
				if err := use(c, consentNo(1), 100); !errors.Is(err, errDisk) {
					t.Fatalf("it goes on: %v", err)
				}
			}
			if !errors.Is(c.Err(), errDisk) {
				t.Errorf("Err: %v", c.Err())
			}
			c.Close()
			c = open(t, dir)
			if n := c.Used(consentNo(0)); n != 3 && (name != "sync" || n != 4) {
				t.Errorf("%d uses", n)
			}
			useTimes(t, c, consentNo(0), 1)
		})
	}
}

// All who wait for one failed write are told.
func TestWriteErrorUnderCrowd(t *testing.T) {
	c := open(t, t.TempDir())
	f := &faulty{appendFile: c.file}
	c.file = f
	var wg sync.WaitGroup
	var ok, failed atomic.Int64
	for g := range 64 {
		wg.Go(func() {
			for i := range 20 {
				if g == 0 && i == 10 {
					f.sync.Store(true)
				}
				if err := use(c, consentNo(g), 1000); err == nil {
					ok.Add(1)
				} else {
					failed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if failed.Load() == 0 || ok.Load()+failed.Load() != 64*20 {
		t.Errorf("%d counted, %d failed", ok.Load(), failed.Load())
	}
}

// A long file is written anew at the next open; a crash on the way leaves the old one or the new one.
func TestCompact(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, usesName)
	counts := map[[16]byte]int64{}
	var b []byte
	for i := range 3000 {
		id := consentNo(i % 50).Bytes()
		counts[id]++
		b = append(b, encodeFrame(uint64(i+1), map[[16]byte]int64{id: counts[id]})...)
	}
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name+".new", b[:100], 0o600); err != nil { // of a crashed attempt
		t.Fatal(err)
	}
	for range 2 {
		c := open(t, dir)
		for i := range 50 {
			if got := c.Used(consentNo(i)); got != counts[consentNo(i).Bytes()] {
				t.Fatalf("consent %d: %d, want %d", i, got, counts[consentNo(i).Bytes()])
			}
		}
		useTimes(t, c, consentNo(7), 1)
		counts[consentNo(7).Bytes()]++
		c.Close()
	}
	st, err := os.Stat(name)
	if err != nil || st.Size() > 4096 {
		t.Errorf("%d bytes, %v", st.Size(), err)
	}
}

// TestKilled kills a process that uses consents and tells each use after it is durable.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("GATE_TEST_COUNTER"); dir != "" {
		c, err := OpenCounter(dir)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		var mu sync.Mutex
		for g := range 8 {
			go func() {
				for {
					if err := use(c, consentNo(g), 1<<40); err != nil {
						fmt.Println(err)
						os.Exit(1)
					}
					mu.Lock()
					fmt.Println("used", g)
					mu.Unlock()
				}
			}()
		}
		select {}
	}
	dir := t.TempDir()
	var told [8]int64
	for round := range 5 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), "GATE_TEST_COUNTER="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			g, ok := strings.CutPrefix(lines.Text(), "used ")
			if !ok {
				t.Fatalf("the process says %q", lines.Text())
			}
			i, err := strconv.Atoi(g)
			if err != nil {
				t.Fatal(err)
			}
			told[i]++
			if n == 100+37*round {
				cmd.Process.Kill() // and read what it had said before
			}
		}
		cmd.Wait()
		c := open(t, dir)
		for g := range told {
			if got := c.Used(consentNo(g)); got < told[g] || got > told[g]+int64(round+1) {
				t.Fatalf("round %d: consent %d has %d uses, told were %d", round, g, got, told[g])
			}
		}
		c.Close()
	}
}

// A counter is a map that forgets nothing.
func TestCounterModel(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		dir := filepath.Join(dir, fmt.Sprint(n))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		model, held := map[contracts.ID]int64{}, map[contracts.ID][]*Use{}
		c, err := OpenCounter(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { c.Close() }()
		id := rapid.Map(rapid.IntRange(0, 3), consentNo)
		t.Repeat(map[string]func(*rapid.T){
			"hold": func(t *rapid.T) {
				id, limit := id.Draw(t, "id"), rapid.Int64Range(1, 6).Draw(t, "limit")
				u, err := c.Hold(id, limit)
				if want := model[id]+int64(len(held[id])) < limit; want != (err == nil) || err != nil && !errors.Is(err, errUsedUp) {
					t.Fatalf("%v", err)
				}
				if err == nil {
					held[id] = append(held[id], u)
				}
			},
			"end": func(t *rapid.T) {
				id := id.Draw(t, "id")
				if len(held[id]) == 0 {
					return
				}
				u := held[id][0]
				held[id] = held[id][1:]
				if rapid.Bool().Draw(t, "keep") {
					if err := u.Keep(); err != nil {
						t.Fatal(err)
					}
					model[id]++
				} else {
					u.Release()
				}
			},
			"reopen": func(t *rapid.T) {
				c.Close()
				clear(held)
				var err error
				if c, err = OpenCounter(dir); err != nil {
					t.Fatal(err)
				}
			},
			"": func(t *rapid.T) {
				for i := range 4 {
					if c.Used(consentNo(i)) != model[consentNo(i)] {
						t.Fatalf("consent %d: %d, want %d", i, c.Used(consentNo(i)), model[consentNo(i)])
					}
				}
			},
		})
	})
}

func FuzzCounterFile(f *testing.F) {
	one, two := encodeFrame(1, map[[16]byte]int64{{1}: 1, {2}: 7}), encodeFrame(2, map[[16]byte]int64{{1}: 2})
	f.Add([]byte{})
	f.Add(append(append([]byte(nil), one...), two...))
	f.Add(append(append([]byte(nil), one...), two[:len(two)-1]...))
	f.Add(append(append([]byte(nil), one[:10]...), two...))
	f.Add([]byte(frameMagic + "\x00\x00\x00\x00\x00\x00\x00\x01\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		u, err := parseUses(b)
		if err != nil {
			if !errors.Is(err, errDamaged) {
				t.Fatal(err)
			}
			return
		}
		again, err := parseUses(b[:u.good])
		if err != nil || again.good != u.good || again.next != u.next || len(again.used) != len(u.used) {
			t.Fatalf("what is kept reads otherwise: %+v, %+v, %v", u, again, err)
		}
		next := encodeFrame(u.next, map[[16]byte]int64{{9}: u.used[[16]byte{9}] + 1})
		after, err := parseUses(append(b[:u.good:u.good], next...))
		if err != nil || after.used[[16]byte{9}] != u.used[[16]byte{9}]+1 {
			t.Fatalf("it can't be continued: %v", err)
		}
	})
}

// Uses that are counted and not yet waited for are written together by the first who waits, and by nobody else.
func TestOneWriteForMany(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir)
	f := &counting{appendFile: c.file}
	c.file = f
	var waits []func() error
	for n := range 5 {
		for range n + 1 {
			u, err := c.Hold(consentNo(n), 100)
			if err != nil {
				t.Fatal(err)
			}
			waits = append(waits, u.Count())
		}
	}
	if f.writes != 0 || c.Used(consentNo(4)) != 5 {
		t.Fatalf("%d writes before anybody waits, %d uses", f.writes, c.Used(consentNo(4)))
	}
	for i := len(waits) - 1; i >= 0; i-- {
		if err := waits[i](); err != nil {
			t.Fatal(err)
		}
		if f.writes != 1 || f.syncs != 1 {
			t.Fatalf("%d writes and %d syncs of one group", f.writes, f.syncs)
		}
	}
	// One that is never waited for is not lost, as long as the process lives: the next write takes it along.
	u, err := c.Hold(consentNo(7), 100)
	if err != nil {
		t.Fatal(err)
	}
	u.Count()
	useTimes(t, c, consentNo(0), 1)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = open(t, dir)
	for n, want := range map[int]int64{0: 2, 1: 2, 4: 5, 7: 1} {
		if got := c.Used(consentNo(n)); got != want {
			t.Errorf("consent %d: %d uses, want %d", n, got, want)
		}
	}
	// Whoever waits for a group that a close came before is told.
	if u, err = c.Hold(consentNo(0), 100); err != nil {
		t.Fatal(err)
	}
	wait := u.Count()
	c.Close()
	if err := wait(); !errors.Is(err, errClosed) {
		t.Errorf("after a close: %v", err)
	}
	if (*Use)(nil).Count() != nil || (*Use)(nil).Keep() != nil {
		t.Error("a call without a consent waits for a count")
	}
}

type counting struct {
	appendFile
	writes, syncs int
}

func (f *counting) Write(b []byte) (int, error) { f.writes++; return f.appendFile.Write(b) }
func (f *counting) Sync() error                 { f.syncs++; return f.appendFile.Sync() }
