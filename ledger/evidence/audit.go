package evidence

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/publish"
)

// Trust is what an auditor knows from elsewhere, out of band.
type Trust struct {
	Ledger  string
	Genesis [32]byte // hash of entry 0
	Policy  publish.Policy
}

// Verdict of one check.
type Verdict string

const (
	Verified     Verdict = "verified"
	Failed       Verdict = "failed"
	NotCheckable Verdict = "not checkable" // an opening was not supplied, or is erased
)

// Check is one line of an audit.
type Check struct {
	Name    string  `json:"name"`
	Verdict Verdict `json:"verdict"`
	Count   int     `json:"count"`            // of things checked
	Skipped int     `json:"skipped"`          // of things that could not be
	Where   string  `json:"where,omitempty"`  // file and field of the first failure
	Detail  string  `json:"detail,omitempty"` // what is wrong there
}

// Report is the answer of an audit.
type Report struct {
	Manifest *Manifest `json:"-"`
	Checks   []Check   `json:"checks"`
	State    string    `json:"state"` // hash of the state at the end
}

// OK reports whether nothing failed.
func (r *Report) OK() bool {
	return !slices.ContainsFunc(r.Checks, func(c Check) bool { return c.Verdict == Failed })
}

// The checks, in order.
const (
	checkManifest     = "manifest"
	checkFiles        = "files"
	checkEntries      = "entries"
	checkChain        = "hash chain"
	checkSignatures   = "signatures"
	checkRules        = "rules replayed"
	checkTree         = "published log"
	checkWitnesses    = "witness cosignatures"
	checkOpenings     = "openings"
	checkMoney        = "conservation of money"
	checkCertificates = "certificates"
)

// audit is one run.
type audit struct {
	dir    string
	trust  Trust
	checks map[string]*Check
	order  []string

	openings map[contracts.Hash]contracts.KeptOpening
	supplied bool
	state    map[string][]byte
	money    *books
	progress func(done, total int)
}

func (a *audit) check(name string) *Check {
	c := a.checks[name]
	if c == nil {
		c = &Check{Name: name, Verdict: Verified}
		a.checks[name] = c
		a.order = append(a.order, name)
	}
	return c
}

func (a *audit) fail(name, where, format string, args ...any) {
	c := a.check(name)
	if c.Verdict != Failed {
		c.Verdict, c.Where, c.Detail = Failed, where, fmt.Sprintf(format, args...)
	}
}

func (a *audit) skip(name, detail string) {
	c := a.check(name)
	c.Skipped++
	if c.Verdict == Verified {
		c.Verdict, c.Detail = NotCheckable, detail
	}
}

// Audit verifies the export in dir. It reads everything, even after a failure, so that the report is whole. progress
// may be nil. The error is a failure to read, never a verdict.
func Audit(ctx context.Context, dir string, trust Trust, progress func(done, total int)) (*Report, error) {
	a := &audit{dir: dir, trust: trust, checks: map[string]*Check{}, state: map[string][]byte{}, openings: map[contracts.Hash]contracts.KeptOpening{},
		money: newBooks(), progress: progress}
	for _, n := range []string{checkManifest, checkFiles, checkEntries, checkChain, checkSignatures, checkRules, checkTree, checkWitnesses, checkOpenings, checkMoney, checkCertificates} {
		a.check(n)
	}
	files, man, err := a.files()
	if err != nil {
		return nil, err
	}
	a.readOpenings(files[OpeningsFile])
	leaves, err := a.entries(ctx, files[EntriesFile], man)
	if err != nil {
		return nil, err
	}
	a.head(files[CheckpointFile], leaves)
	a.closeBooks()
	r := &Report{Manifest: man, State: a.stateHash()}
	for _, n := range a.order {
		r.Checks = append(r.Checks, *a.checks[n])
	}
	return r, nil
}

// files reads the folder and holds every file against the manifest.
func (a *audit) files() (map[string][]byte, *Manifest, error) {
	names, err := os.ReadDir(a.dir)
	if err != nil {
		return nil, nil, fmt.Errorf("couldn't read the export: %w", err)
	}
	files := map[string][]byte{}
	for _, n := range names {
		b, err := os.ReadFile(filepath.Join(a.dir, n.Name()))
		if err != nil {
			return nil, nil, fmt.Errorf("couldn't read the export: %w", err)
		}
		files[n.Name()] = b
	}
	man, err := parseManifest(files[ManifestFile], a.trust.Policy.Log)
	if err != nil {
		a.fail(checkManifest, ManifestFile, "%v", err)
		man = &Manifest{Ledger: a.trust.Ledger}
		a.skip(checkFiles, "the manifest is not to be trusted")
		return files, man, nil
	}
	a.check(checkManifest).Count = 1
	if man.Ledger != a.trust.Ledger {
		a.fail(checkManifest, ManifestFile+": ledger", "the export is of another ledger")
	}
	for _, d := range man.Files {
		b, ok := files[d.Name]
		h := sha256.Sum256(b)
		switch {
		case !ok:
			a.fail(checkFiles, d.Name, "the file is missing")
		case int64(len(b)) != d.Bytes:
			a.fail(checkFiles, d.Name+": size", "%d bytes, the manifest says %d", len(b), d.Bytes)
		case hex.EncodeToString(h[:]) != string(d.SHA256):
			a.fail(checkFiles, d.Name+": sha256", "the content differs from what the manifest says")
		default:
			a.check(checkFiles).Count++
		}
	}
	for name := range files {
		if name != ManifestFile && !slices.ContainsFunc(man.Files, func(d FileDigest) bool { return d.Name == name }) {
			a.fail(checkFiles, name, "the manifest doesn't know this file")
		}
	}
	return files, man, nil
}

func (a *audit) readOpenings(b []byte) {
	a.supplied = b != nil
	fs, at, err := frames(b, contracts.MaxOpeningBytes+4096)
	if err != nil {
		a.fail(checkOpenings, fmt.Sprintf("%s: offset %d", OpeningsFile, at), "%v", err)
	}
	last := contracts.Hash("")
	for i, f := range fs {
		k, err := DecodeOpening(f)
		if err == nil && k.Commitment <= last {
			err = errors.New("commitment is out of order")
		}
		if err != nil {
			a.fail(checkOpenings, fmt.Sprintf("%s: opening %d", OpeningsFile, i), "%v", err)
			continue
		}
		last = k.Commitment
		a.openings[k.Commitment] = k
		a.check(checkOpenings).Count++
	}
}

// Get implements contracts.State over the replayed write sets.
func (a *audit) Get(key string) ([]byte, error) { return a.state[key], nil }

func (a *audit) find(tag string, c contracts.Hash) (contracts.Opening, bool) {
	k, ok := a.openings[c]
	return k.Opening, ok && k.Tag == tag
}

// item is one entry on its way through the audit.
type item struct {
	raw   []byte
	e     *ledger.Entry
	cmd   *contracts.Command
	hash  [32]byte
	leaf  []byte
	entry error // of decoding
	sig   error // of form and signatures
}

const chunk = 512

// entries runs the pipeline: while one chunk is replayed by the rules, in order, the next is decoded and its signatures
// are verified, in parallel. It gives the leaf hashes.
func (a *audit) entries(ctx context.Context, b []byte, man *Manifest) ([][]byte, error) {
	fs, at, err := frames(b, ledger.MaxEntryBytes)
	if err != nil {
		a.fail(checkEntries, fmt.Sprintf("%s: offset %d", EntriesFile, at), "%v", err)
	}
	if man.Format != "" && int64(len(fs)) != man.Entries {
		a.fail(checkEntries, EntriesFile, "%d entries, the manifest says %d", len(fs), man.Entries)
	}
	ready := make(chan []*item, 2)
	go func() {
		defer close(ready)
		for len(fs) > 0 && ctx.Err() == nil {
			n := min(chunk, len(fs))
			items := prepare(fs[:n])
			fs = fs[n:]
			ready <- items
		}
	}()
	total := len(fs)
	var leaves [][]byte
	var prev [32]byte
	var last contracts.Millis
	for items := range ready {
		for _, it := range items {
			pos := len(leaves)
			where := fmt.Sprintf("%s: entry %d", EntriesFile, pos)
			leaves = append(leaves, it.leaf)
			if it.entry != nil {
				a.fail(checkEntries, where, "%v", it.entry)
				continue
			}
			a.check(checkEntries).Count++
			if pos == 0 && it.hash != a.trust.Genesis {
				a.fail(checkChain, where, "this is not the genesis that the trust root names")
			}
			if it.e.Prev != prev {
				a.fail(checkChain, fmt.Sprintf("%s: entry %d: prev", EntriesFile, pos), "the entry before has another hash")
			} else if it.e.Position != uint64(pos) || it.e.Time < last {
				a.fail(checkChain, where+": position or time", "positions rise by one, times don't fall")
			} else {
				a.check(checkChain).Count++
			}
			prev, last = it.hash, it.e.Time
			a.replay(it, where)
		}
		if a.progress != nil {
			a.progress(len(leaves), total)
		}
	}
	return leaves, ctx.Err()
}

// prepare decodes and verifies a chunk on all cores.
func prepare(fs [][]byte) []*item {
	items := make([]*item, len(fs))
	var wg sync.WaitGroup
	workers := min(runtime.GOMAXPROCS(0), len(fs))
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(fs); i += workers {
				it := &item{raw: fs[i]}
				items[i] = it
				if it.e, it.entry = ledger.DecodeEntry(fs[i]); it.entry != nil {
					it.leaf = rfc6962.DefaultHasher.HashLeaf(nil)
					continue
				}
				it.hash = ledger.Hash(fs[i])
				it.leaf = rfc6962.DefaultHasher.HashLeaf(ledger.Leaf(fs[i], it.e))
				it.cmd, it.sig = contracts.Decode(contracts.Submission{Raw: it.e.Raw, Signatures: it.e.Signatures})
			}
		})
	}
	wg.Wait()
	return items
}

// replay runs the rules on an entry and compares what they write with what the entry says.
func (a *audit) replay(it *item, where string) {
	defer func() {
		for _, w := range it.e.Writes {
			if w.Value == nil {
				delete(a.state, w.Key)
			} else {
				a.state[w.Key] = w.Value
			}
		}
	}()
	if it.sig != nil {
		a.fail(checkSignatures, where+": command", "%v", it.sig)
		a.skip(checkRules, "a command's signature does not verify")
		return
	}
	a.check(checkSignatures).Count += len(it.e.Signatures)
	it.cmd.Find = a.find
	res, err := contracts.Apply(a, contracts.Env{Ledger: a.trust.Ledger, Now: it.e.Time}, it.cmd)
	var r *contracts.Refusal
	switch {
	case errors.As(err, &r) && r.Code == "opening.missing":
		if a.supplied && !a.erased() {
			a.fail(checkOpenings, where, "an opening that the rules need is missing without an erasure")
		}
		a.skip(checkRules, "an opening is not supplied, or erased")
		a.skip(checkMoney, "an opening is not supplied, or erased")
		return
	case err != nil:
		a.fail(checkRules, where+": command", "the rules do not accept it: %v", err)
		return
	case res.Repeated:
		a.fail(checkRules, where+": command", "the command was accepted before")
		return
	}
	for _, k := range res.Openings {
		if _, ok := a.openings[k.Commitment]; !ok && a.supplied && a.state[contracts.KeyErasure(k.Commitment)] == nil {
			a.fail(checkOpenings, where, "the opening of %s is missing without an erasure", k.Commitment)
		}
		if _, ok := a.openings[k.Commitment]; !ok {
			a.openings[k.Commitment] = k // the contract made it: from here on it is known
		}
	}
	again := ledger.NewEntry(it.e.Position, it.e.Prev, it.e.Time, contracts.Submission{Raw: it.e.Raw, Signatures: it.e.Signatures}, res)
	if b := again.Encode(); !bytes.Equal(b, it.raw) {
		a.fail(checkRules, where+": "+differing(again, it.e), "the rules give something else")
		return
	}
	a.check(checkRules).Count++
	a.money.entry(a, it, where)
}

// erased reports whether any erasure is on the ledger so far: then a missing opening may be lawful.
func (a *audit) erased() bool {
	for k := range a.state {
		if len(k) > 7 && k[:7] == "erased/" {
			return true
		}
	}
	return false
}

// differing names the first field in which two entries differ.
func differing(a, b *ledger.Entry) string {
	switch {
	case a.Rulebook != b.Rulebook:
		return "rulebook"
	case !slices.Equal(a.Events, b.Events):
		return "events"
	case !slices.EqualFunc(a.Writes, b.Writes, func(x, y contracts.Write) bool {
		return x.Key == y.Key && bytes.Equal(x.Value, y.Value) && (x.Value == nil) == (y.Value == nil)
	}):
		return "writes"
	case a.Public != b.Public:
		return "public"
	case !slices.Equal(a.Objects, b.Objects):
		return "objects"
	default:
		return "audience"
	}
}

// head recomputes the tree and holds the published head against it.
func (a *audit) head(signed []byte, leaves [][]byte) {
	h, err := a.trust.Policy.Open(signed)
	if err != nil {
		a.fail(checkTree, CheckpointFile, "%v", err)
		return
	}
	if h.Size != uint64(len(leaves)) {
		a.fail(checkTree, CheckpointFile+": size", "the head is of %d entries, the export has %d", h.Size, len(leaves))
		return
	}
	rng := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
	for _, l := range leaves {
		if err := rng.Append(l, nil); err != nil {
			a.fail(checkTree, EntriesFile, "%v", err)
			return
		}
	}
	root, err := rng.GetRootHash(nil)
	if err != nil || !bytes.Equal(root, h.Root[:]) {
		a.fail(checkTree, CheckpointFile+": root", "the entries give another root")
		return
	}
	a.check(checkTree).Count = len(leaves)
	if n := len(h.Cosignatures); n < a.trust.Policy.Quorum {
		a.fail(checkWitnesses, CheckpointFile+": signatures", "%d cosignatures, the trust root wants %d", n, a.trust.Policy.Quorum)
	} else {
		a.check(checkWitnesses).Count = n
		if n == 0 {
			a.skip(checkWitnesses, "the trust root names no witness: a lone operator could show two histories")
		} else {
			at, _ := h.FreshAt(1, time.Now().Add(24*time.Hour))
			a.check(checkWitnesses).Detail = "newest at " + at.UTC().Format(time.RFC3339)
		}
	}
}

func (a *audit) stateHash() string {
	h := ledger.NewStateHash()
	keys := make([]string, 0, len(a.state))
	for k := range a.state {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		h.Add(k, a.state[k])
	}
	s := h.Sum()
	return hex.EncodeToString(s[:])
}
