package evidence_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger/evidence"
	"github.com/bund-exchange/bund/ledger/evidence/evidencetest"
)

var (
	flips    = flag.Int("flips", 100, "bytes to flip in each file of TestFlips; 0 flips every byte, or a million of a larger file (minutes)")
	flipSeed = flag.Uint64("flips.seed", 1, "which")
)

// spared are ranges whose flips are not found, with reasons. There are none: every byte of an export is covered by a
// signature, a commitment, the rules or the tree, besides the manifest's digests.
var spared = map[string][][2]int{}

// TestFlips flips bytes of every file. Each flip must be found twice: by the manifest's digest, which tells a damaged copy,
// and by what doesn't rest on the venue's word at all, naming file and field; in the entries, the entry too.
func TestFlips(t *testing.T) {
	w := trade(t)
	dir := export(t, w.Ledger, true)
	m := newMemory(w.Ledger)
	trust, err := evidence.TrustOf(w.Trust())
	if err != nil {
		t.Fatal(err)
	}
	run := func() *evidence.Report {
		cfg := evidence.Config{Dir: dir, Trust: trust}
		cfg.Remember(m.decode, m.apply)
		r, err := evidence.Audit(context.Background(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := run(); !r.OK() {
		t.Fatal("the export was not whole to begin with")
	}
	m.learning = false
	for _, name := range []string{evidence.ManifestFile, evidence.CheckpointFile, evidence.OpeningsFile, evidence.EntriesFile} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, name)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var starts []int
			if name == evidence.EntriesFile {
				starts = framesOf(b)
			}
			m.flipped = -1
			for _, at := range offsets(len(b), *flips, *flipSeed) {
				bit := byte(1) << ((uint64(at) + *flipSeed) % 8)
				entry := -1
				for entry+1 < len(starts) && starts[entry+1] <= at {
					entry++
				}
				m.flipped = entry
				if name == evidence.ManifestFile || name == evidence.CheckpointFile {
					m.flipped = 1 << 30 // no entry is touched
				}
				if _, err := f.WriteAt([]byte{b[at] ^ bit}, int64(at)); err != nil {
					t.Fatal(err)
				}
				r := run()
				if err := found(r, name, entry); err != nil && !isSpared(name, at) {
					t.Errorf("byte %d, bit %d: %v", at, bit, err)
					show(t, r)
				}
				if _, err := f.WriteAt(b[at:at+1], int64(at)); err != nil {
					t.Fatal(err)
				}
				if t.Failed() {
					return
				}
			}
			t.Logf("%d bytes", len(b))
		})
	}
	m.flipped = 1 << 30
	if !run().OK() {
		t.Error("the test has left damage")
	}
}

func isSpared(name string, at int) bool {
	for _, s := range spared[name] {
		if at >= s[0] && at < s[1] {
			return true
		}
	}
	return false
}

// offsets picks n of size, all of them when n is 0 or not below size.
func offsets(size, n int, seed uint64) (out []int) {
	if n == 0 {
		n = 1 << 20
	}
	if n >= size {
		for i := range size {
			out = append(out, i)
		}
		return out
	}
	rng := rand.New(rand.NewPCG(seed, uint64(size)))
	for i := range n { // one of every stretch, so that none is left out
		from, to := i*size/n, (i+1)*size/n
		out = append(out, from+rng.IntN(to-from))
	}
	return out
}

func framesOf(b []byte) (starts []int) {
	for at := 0; at < len(b); {
		starts = append(starts, at)
		at += 4 + int(b[at])<<24 + int(b[at+1])<<16 + int(b[at+2])<<8 + int(b[at+3])
	}
	return starts
}

var entryOfPlace = regexp.MustCompile(`entry (\d+)`)

// found checks a report about a flip in a file, of an entry in it.
func found(r *evidence.Report, name string, entry int) error {
	if name == evidence.ManifestFile {
		if c := r.Check(evidence.CheckManifest); c.Verdict != evidence.Failed || !strings.HasPrefix(c.Where, "manifest: ") {
			return errors.New("not found")
		}
		return nil
	}
	if c := r.Check(evidence.CheckFiles); c.Verdict != evidence.Failed || !strings.HasPrefix(c.Where, name+": ") {
		return errors.New("the digest has not found it")
	}
	for _, c := range r.Checks {
		if c.Name == evidence.CheckFiles || c.Verdict != evidence.Failed || !strings.HasPrefix(c.Where, name+": ") {
			continue
		}
		if entry < 0 {
			return nil
		}
		// A link can't tell which of its two entries was changed.
		if m := entryOfPlace.FindStringSubmatch(c.Where); m != nil && strings.Count(c.Where, ": ") >= 2 {
			if n, _ := strconv.Atoi(m[1]); n == entry || n == entry+1 && c.Name == evidence.CheckChain {
				return nil
			}
		}
	}
	// The last entry has no successor: a change that the rules allow shows in the root.
	if c := r.Check(evidence.CheckTree); entry >= 0 && c.Verdict == evidence.Failed && strings.HasPrefix(c.Where, "checkpoint: root") && r.Check(evidence.CheckEntries).Count-1 == entry {
		return nil
	}
	return fmt.Errorf("found by the digest alone, or elsewhere (entry %d)", entry)
}

// memory answers for the rule book about bytes that it has seen: decoding is a pure function of them, and what the rules
// say of an entry before the flipped one can't have changed. Without it every flip would verify a hundred signatures
// anew.
type memory struct {
	mu       sync.Mutex
	learning bool
	flipped  int // position of the entry that is flipped
	position map[contracts.Hash]int
	decoded  map[string]*contracts.Command
	applied  map[contracts.Hash]*contracts.Result // by digest of the command
}

func newMemory(l *evidencetest.Ledger) *memory {
	m := &memory{learning: true, position: map[contracts.Hash]int{}, decoded: map[string]*contracts.Command{}, applied: map[contracts.Hash]*contracts.Result{}}
	for i, e := range l.Entries {
		m.position[contracts.HashOf("bund/digest/v1", e.Raw)] = i
	}
	return m
}

func (m *memory) decode(sub contracts.Submission) (*contracts.Command, error) {
	var key strings.Builder
	key.Write(sub.Raw)
	for _, s := range sub.Signatures {
		key.WriteString(string(s.Key))
		key.Write(s.Sig)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.decoded[key.String()]; c != nil {
		c := *c
		return &c, nil
	}
	c, err := contracts.Decode(sub)
	if m.learning && err == nil {
		x := *c
		m.decoded[key.String()] = &x
	}
	return c, err
}

func (m *memory) apply(st contracts.State, env contracts.Env, cmd *contracts.Command) (*contracts.Result, error) {
	m.mu.Lock()
	res := m.applied[cmd.Digest]
	at, known := m.position[cmd.Digest]
	flipped := m.flipped
	m.mu.Unlock()
	if res != nil && known && at < flipped {
		return res, nil
	}
	res, err := contracts.Apply(st, env, cmd)
	if m.learning && err == nil {
		m.mu.Lock()
		m.applied[cmd.Digest] = res
		m.mu.Unlock()
	}
	return res, err
}
