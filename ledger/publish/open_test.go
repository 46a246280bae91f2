package publish_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/bund-exchange/bund/ledger/publish"
	"github.com/bund-exchange/bund/ledger/publish/publishtest"
	"github.com/bund-exchange/bund/ledger/witness/witnesstest"
)

const origin = "ledger.example/1"

// bench is a log key, a folder and three witnesses.
type bench struct {
	t         testing.TB
	signer    note.Signer
	key       string
	dir       string
	witnesses []*witnesstest.Server
	logged    bytes.Buffer
}

func now() time.Time { return time.Unix(1_800_000_000, 0) }

func newBench(t testing.TB, witnesses ...string) *bench {
	b := &bench{t: t, dir: filepath.Join(t.TempDir(), "tlog")}
	b.signer, b.key = publishtest.Key(t, origin)
	for _, name := range witnesses {
		b.witnesses = append(b.witnesses, witnesstest.Start(t, name, b.key, now))
	}
	return b
}

func (b *bench) config() publish.Config {
	c := publish.Config{Dir: b.dir, Ledger: origin, Signer: b.signer, LogKey: b.key, Quorum: len(b.witnesses)/2 + len(b.witnesses)%2,
		Now: now, Log: slog.New(slog.NewTextHandler(&b.logged, nil)), CheckpointEvery: time.Millisecond}
	for _, w := range b.witnesses {
		c.Witnesses = append(c.Witnesses, publish.Witness{URL: w.URL, Key: w.Key})
	}
	return c
}

// open publishes l and closes again.
func (b *bench) open(l publish.Source, options ...func(*publish.Config)) (publish.Head, publish.Opening, error) {
	b.t.Helper()
	c := b.config()
	for _, o := range options {
		o(&c)
	}
	p, err := publish.Open(b.t.Context(), c, l)
	if err != nil {
		return publish.Head{}, publish.Opening{}, err
	}
	h, _ := p.Head()
	if err := p.Close(); err != nil {
		b.t.Fatal(err)
	}
	return h, p.Opening(), nil
}

func (b *bench) mustOpen(l publish.Source, options ...func(*publish.Config)) publish.Head {
	b.t.Helper()
	h, _, err := b.open(l, options...)
	if err != nil {
		b.t.Fatal(err)
	}
	return h
}

func copyDir(t testing.TB, from string) string {
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestLostFolder: the tlog is republished to the same tree, and the witnesses go on with it.
func TestLostFolder(t *testing.T) {
	b := newBench(t, "a.example", "b.example")
	l := &publishtest.Log{}
	l.Fill(700)
	first := b.mustOpen(l)
	before := tree(t, b.dir)
	if err := os.RemoveAll(b.dir); err != nil {
		t.Fatal(err)
	}
	again, o, err := b.open(l)
	if err != nil {
		t.Fatal(err)
	}
	if again.Checkpoint != first.Checkpoint || o.Published != 0 || o.Highest != 700 || len(again.Cosignatures) != 2 {
		t.Errorf("first %d %x, again %d %x with %d cosignatures, %+v", first.Size, first.Root, again.Size, again.Root, len(again.Cosignatures), o)
	}
	after := tree(t, b.dir)
	for name, content := range before {
		if name != "checkpoint" && name != "lock" && after[name] != content {
			t.Errorf("%s differs after republication", name)
		}
	}
}

func tree(t testing.TB, dir string) map[string]string {
	m := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		m[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestOldBackups restores each part from a backup under newer others.
func TestOldBackups(t *testing.T) {
	newer := &publishtest.Log{}
	newer.Fill(300)
	older := newer.Prefix(100)
	regrown := newer.Prefix(100)
	regrown.Append(publishtest.Toy{}) // not what the newer one has at 100
	regrown.Fill(400)
	for _, c := range []struct {
		name      string
		published publish.Source // what the folder holds
		ledger    publish.Source // what is opened on it
		want      error
		figures   string
	}{
		{"both new", newer, newer, nil, ""},
		{"old tlog", older, newer, nil, ""},
		{"old ledger", newer, older, publish.ErrBehind, "100 entries, 300 published"},
		{"old ledger, grown otherwise past the tlog", newer, regrown, publish.ErrDiffers, "entry 299"},
		{"rewritten ledger", newer, newer.Rewritten(50), publish.ErrDiffers, "entry 299"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.mustOpen(c.published)
			_, _, err := b.open(c.ledger)
			if !errors.Is(err, c.want) || c.figures != "" && !strings.Contains(err.Error(), c.figures) {
				t.Errorf("%v, want %v with %q", err, c.want, c.figures)
			}
		})
	}
}

// TestOldBackupOfEverything: nothing local can tell. The witness can.
func TestOldBackupOfEverything(t *testing.T) {
	b := newBench(t, "a.example", "b.example", "c.example")
	l := &publishtest.Log{}
	l.Fill(100)
	b.mustOpen(l)
	old, backup := l.Prefix(100), copyDir(t, b.dir)
	l.Fill(200)
	b.mustOpen(l)

	if n, err := publish.Ask(t.Context(), b.config()); n.Size != 300 || err != nil {
		t.Errorf("known: %+v %v", n, err)
	}
	b.dir = backup
	if n, err := publish.Ask(t.Context(), b.config()); n.Size != 300 || err != nil {
		t.Errorf("known to the witnesses: %+v %v", n, err)
	}
	signedBefore, err := os.ReadFile(filepath.Join(backup, "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	b.witnesses[0].Down(true)
	_, _, err = b.open(old)
	if !errors.Is(err, publish.ErrWitnessAhead) || !strings.Contains(err.Error(), "300") || !strings.Contains(err.Error(), "100") {
		t.Fatalf("an old backup opened: %v", err)
	}
	if b, _ := os.ReadFile(filepath.Join(backup, "checkpoint")); !bytes.Equal(b, signedBefore) {
		t.Error("a checkpoint was signed before the witnesses were asked")
	}
	// Grown past what the witnesses know, with other entries: they refuse the history itself.
	grown := old.Prefix(100)
	grown.Append(publishtest.Toy{})
	grown.Fill(400)
	if _, _, err := b.open(grown); !errors.Is(err, publish.ErrDiffers) || !errors.Is(err, publish.ErrWitnessConflict) {
		t.Fatalf("another history opened: %v", err)
	}
	if b, _ := os.ReadFile(filepath.Join(backup, "checkpoint")); !bytes.Equal(b, signedBefore) {
		t.Error("another history was published")
	}
	// The operator's explicit word stands, and is told.
	b.dir = copyDir(t, backup)
	_, o, err := b.open(old, func(c *publish.Config) { c.AcceptLoss = true })
	if err != nil || !errors.Is(o.Accepted, publish.ErrWitnessAhead) || o.Highest != 300 {
		t.Fatalf("%v %+v", err, o)
	}
	if len(o.Unreachable) != 1 || o.Unreachable[0] != "a.example" {
		t.Errorf("unreachable: %v", o.Unreachable)
	}
}

// TestConflictBeforeGrowth: a folder and a ledger of another history than the witness's, and not smaller. Nothing new
// of it may be signed.
func TestConflictBeforeGrowth(t *testing.T) {
	b := newBench(t, "a.example")
	l := &publishtest.Log{}
	l.Fill(100)
	b.mustOpen(l)
	other := l.Rewritten(30)
	b.dir = filepath.Join(t.TempDir(), "other")
	b.mustOpen(other, func(c *publish.Config) { c.Witnesses = nil; c.Quorum = 0 })
	signedBefore, _ := os.ReadFile(filepath.Join(b.dir, "checkpoint"))
	other.Fill(5)
	if _, _, err := b.open(other); !errors.Is(err, publish.ErrWitnessConflict) {
		t.Fatal(err)
	}
	if signed, _ := os.ReadFile(filepath.Join(b.dir, "checkpoint")); !bytes.Equal(signed, signedBefore) {
		t.Error("the other history grew")
	}
}

func TestUnreachableWitnesses(t *testing.T) {
	b := newBench(t, "a.example", "b.example")
	l := &publishtest.Log{}
	l.Fill(10)
	b.mustOpen(l)
	b.witnesses[0].Down(true)
	if _, o, err := b.open(l); err != nil || len(o.Unreachable) != 1 || !strings.Contains(b.logged.String(), "a.example") {
		t.Errorf("one of two: %v %+v", err, o)
	}
	b.witnesses[1].Down(true)
	if _, _, err := b.open(l); !errors.Is(err, publish.ErrUnwitnessed) {
		t.Errorf("none of two: %v", err)
	}
	if _, o, err := b.open(l, func(c *publish.Config) { c.AllowUnwitnessed = true }); err != nil || !errors.Is(o.Accepted, publish.ErrUnwitnessed) {
		t.Errorf("the operator says so: %v %+v", err, o)
	}
}

// TestDamagedFolder: what the ledger can't have written is refused, whatever it is.
func TestDamagedFolder(t *testing.T) {
	b := newBench(t)
	l := &publishtest.Log{}
	l.Fill(600)
	b.mustOpen(l)
	for _, name := range []string{"checkpoint", "tile/0/002.p/88", "tile/1/000.p/2", "tile/entries/002.p/88"} {
		t.Run(strings.ReplaceAll(name, "/", "_"), func(t *testing.T) {
			good := b.dir
			defer func() { b.dir = good }()
			b.dir = copyDir(t, good)
			f := filepath.Join(b.dir, name)
			content, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, bad := range [][]byte{flip(content), content[:len(content)-1], nil} {
				if err := os.WriteFile(f, bad, 0o644); err != nil {
					t.Fatal(err)
				}
				if _, _, err := b.open(l); !errors.Is(err, publish.ErrDiffers) {
					t.Errorf("%d of %d bytes: %v", len(bad), len(content), err)
				}
			}
		})
	}
}

func flip(b []byte) []byte {
	b = bytes.Clone(b)
	b[len(b)-10] ^= 1
	return b
}

// counted is a ledger with a tree of its own.
type counted struct {
	*publishtest.Log
	size   uint64
	hashes [][]byte
}

func (c counted) Tree() (uint64, [][]byte) { return c.size, c.hashes }

func TestLedgerTree(t *testing.T) {
	b := newBench(t)
	l := &publishtest.Log{}
	l.Fill(300)
	r := publish.Factory.NewEmptyRange(0)
	for i := range uint64(300) {
		r.Append(publish.LeafHash(l.Leaf(i)), nil)
	}
	hashes := r.Hashes()
	b.mustOpen(counted{l, 300, hashes}, func(c *publish.Config) { c.CompareAll = true })
	wrong := append([][]byte{bytes.Repeat([]byte{1}, 32)}, hashes[1:]...)
	for name, c := range map[string]counted{"another root": {l, 300, wrong}, "another size": {l, 299, hashes}} {
		if _, _, err := b.open(c); !errors.Is(err, publish.ErrDiffers) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A ledger that differs in the middle behind the last entry's back is found only by reading all of it.
	broken := brokenChain{l}
	b.mustOpen(broken)
	if _, _, err := b.open(broken, func(c *publish.Config) { c.CompareAll = true }); !errors.Is(err, publish.ErrDiffers) {
		t.Errorf("compare all: %v", err)
	}
}

func TestFolderInUse(t *testing.T) {
	b := newBench(t)
	p, err := publish.Open(t.Context(), b.config(), &publishtest.Log{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, _, err := b.open(&publishtest.Log{}); !errors.Is(err, publish.ErrInUse) {
		t.Error(err)
	}
}

func TestKeysMustFit(t *testing.T) {
	b := newBench(t)
	_, otherKey := publishtest.Key(t, origin)
	_, wrongName := publishtest.Key(t, "other.example")
	for _, key := range []string{otherKey, wrongName, "", "nonsense"} {
		if _, _, err := b.open(&publishtest.Log{}, func(c *publish.Config) { c.LogKey = key }); err == nil {
			t.Errorf("opened with key %q", key)
		}
	}
	w := witnesstest.Start(t, "w.example", b.key, now)
	twice := []publish.Witness{{URL: w.URL, Key: w.Key}, {URL: w.URL, Key: w.Key}}
	if _, _, err := b.open(&publishtest.Log{}, func(c *publish.Config) { c.Witnesses = twice }); err == nil {
		t.Error("one witness counts twice")
	}
}

var _ io.Closer = (*publish.Publisher)(nil)
