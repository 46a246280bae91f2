package evidence

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bund-exchange/bund/contracts"
)

// Config of an Audit. Dir and Trust are required.
type Config struct {
	Dir   string
	Trust Trust
	// Seen are checkpoints that the auditor has from earlier, or from a witness: the export must extend all of them.
	Seen [][]byte
	// Progress is told how many entries are done, of how many the manifest promises.
	Progress func(done, total uint64)

	// The rule book. A test that flips every byte remembers the answers about what it hasn't changed.
	decode func(contracts.Submission) (*contracts.Command, error)
	apply  func(contracts.State, contracts.Env, *contracts.Command) (*contracts.Result, error)
}

// audit is one run. Entries are read once, in order, a chunk at a time: while one chunk is replayed on all cores, the
// next is read, decoded and its signatures are verified. Memory is the market's state and the openings, not the file.
type audit struct {
	findings
	cfg   Config
	trust Trust
	man   *Manifest // zero when it is not to be trusted

	openings map[contracts.Hash]*supply
	supplied bool
	missing  map[contracts.Hash]string // where an opening that isn't there was needed first

	state  state
	chain  chain
	losses []contracts.LossAccept
	tree   *tree
	money  *books
}

// supply is an opening of the export.
type supply struct {
	tag  string
	o    contracts.Opening
	used bool // an entry refers to it
}

// Audit verifies an export. It goes on after a failure, so that the report is whole. Its error is a failure to read,
// never a verdict.
func Audit(ctx context.Context, cfg Config) (*Report, error) {
	if cfg.apply == nil {
		cfg.decode, cfg.apply = contracts.Decode, contracts.Apply
	}
	a := &audit{findings: newFindings(), cfg: cfg, trust: cfg.Trust, openings: map[contracts.Hash]*supply{}, missing: map[contracts.Hash]string{},
		state: state{base: map[string][]byte{}}, money: newBooks()}
	r := &Report{}
	if err := a.folder(); err != nil {
		return nil, err
	}
	if a.man.Format != "" {
		r.Manifest = a.man
	}
	a.tree = newTree(a)
	if err := a.file(OpeningsFile, a.readOpenings); err != nil {
		return nil, err
	}
	if err := a.file(EntriesFile, func(f io.Reader) error { return a.readEntries(ctx, f) }); err != nil {
		return nil, err
	}
	if err := a.file(CheckpointFile, func(f io.Reader) error {
		b, err := io.ReadAll(io.LimitReader(f, maxNoteBytes+1))
		r.Head = a.head(b)
		return err
	}); err != nil {
		return nil, err
	}
	a.closeOpenings()
	a.money.close(a)
	hash := a.state.hash()
	r.State = hex.EncodeToString(hash[:])
	r.Checks = a.list()
	return r, nil
}

// folder reads the manifest and looks at which files there are.
func (a *audit) folder() error {
	names, err := os.ReadDir(a.cfg.Dir)
	if err != nil {
		return fmt.Errorf("couldn't read the export: %w", err)
	}
	b, err := os.ReadFile(filepath.Join(a.cfg.Dir, ManifestFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("couldn't read the export: %w", err)
	}
	if a.man, err = parseManifest(b, a.trust.Policy.Log); err != nil {
		if b == nil {
			err = errors.New("missing")
		}
		a.man = &Manifest{}
		a.fail(CheckManifest, ManifestFile+": "+field(err), say{"%v", "%v"}, err)
		a.skip(CheckFiles, say{"the manifest is not to be trusted", "清单不可信"})
		return nil
	}
	a.count(CheckManifest, 1)
	if a.man.Ledger != a.trust.Ledger {
		a.fail(CheckManifest, ManifestFile+": ledger", say{"the export is of another ledger", "证据属于另一账本"})
	}
	for _, n := range names {
		if n.Name() != ManifestFile && a.man.file(n.Name()) == nil {
			a.fail(CheckFiles, n.Name()+": name", say{"the manifest doesn't know this file", "清单中没有此文件"})
		}
	}
	return nil
}

// file lets read have a file of the export, and holds all of it against the manifest.
func (a *audit) file(name string, read func(io.Reader) error) error {
	want := a.man.file(name)
	f, err := os.Open(filepath.Join(a.cfg.Dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		if want != nil || name != OpeningsFile {
			a.fail(CheckFiles, name+": name", say{"the file is missing", "文件缺失"})
		}
		if name != OpeningsFile {
			return read(eof{})
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("couldn't read the export: %w", err)
	}
	defer f.Close()
	d := &digester{f: f, sum: sha256.New()}
	if err := read(d); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, d); err != nil { // what a reader that gave up has left
		return fmt.Errorf("couldn't read the export: %w", err)
	}
	switch {
	case want == nil:
	case d.n != want.Bytes:
		a.fail(CheckFiles, name+": size", say{"%d bytes, the manifest says %d", "%d 字节，清单为 %d"}, d.n, want.Bytes)
	case hex.EncodeToString(d.sum.Sum(nil)) != string(want.SHA256):
		a.fail(CheckFiles, name+": sha256", say{"the content differs from what the manifest says", "内容与清单不符"})
	default:
		a.count(CheckFiles, 1)
	}
	return nil
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// digester hashes a file while it is read, in large pieces.
type digester struct {
	f    *os.File
	sum  hash.Hash
	n    int64
	buf  []byte
	left []byte // of buf
}

func (d *digester) Read(b []byte) (int, error) {
	if len(d.left) == 0 {
		if d.buf == nil {
			d.buf = make([]byte, 256<<10)
		}
		n, err := d.f.Read(d.buf)
		if n == 0 {
			return 0, err
		}
		d.left = d.buf[:n]
		d.sum.Write(d.left)
		d.n += int64(n)
	}
	n := copy(b, d.left)
	d.left = d.left[n:]
	return n, nil
}

func (a *audit) readOpenings(f io.Reader) error {
	a.supplied = true
	fr := frames{r: f, limit: maxOpening}
	space := arena{size: 64 << 10}
	last := contracts.Hash("")
	for i := 0; ; i++ {
		at := fr.at
		b, err := fr.next(&space)
		if err == io.EOF {
			if a.man.Format != "" && int64(i) != a.man.Openings {
				a.fail(CheckOpenings, fmt.Sprintf("%s: offset %d: count", OpeningsFile, at), say{"%d openings, the manifest says %d", "%d 项，清单为 %d"}, i, a.man.Openings)
			}
			return nil
		}
		if err != nil {
			a.fail(CheckOpenings, fmt.Sprintf("%s: offset %d: length", OpeningsFile, at), say{"%v", "%v"}, err)
			return nil
		}
		k, err := DecodeOpening(b)
		if err == nil && k.Commitment <= last {
			err = errors.New("commitment: out of order")
		}
		if err != nil {
			a.fail(CheckOpenings, fmt.Sprintf("%s: opening %d: %s", OpeningsFile, i, field(err)), say{"%v", "%v"}, err)
			continue
		}
		last = k.Commitment
		a.openings[k.Commitment] = &supply{tag: k.Tag, o: k.Opening}
	}
}

// find gives an opening of the export. It is safe for concurrent use.
func (a *audit) find(tag string, c contracts.Hash) (contracts.Opening, bool) {
	if s := a.openings[c]; s != nil && s.tag == tag {
		return s.o, true
	}
	return contracts.Opening{}, false
}

// use notes that an entry refers to a commitment. An opening that isn't there is judged at the end: an erasure may be
// recorded after the entry.
func (a *audit) use(c contracts.Hash, where string) {
	if s := a.openings[c]; s != nil {
		s.used = true
	} else if _, known := a.missing[c]; !known {
		a.missing[c] = where
	}
}

// closeOpenings decides which missing openings are lawful: those whose own erasure is on the ledger.
func (a *audit) closeOpenings() {
	spare := 0
	for _, s := range a.openings {
		if s.used {
			a.count(CheckOpenings, 1)
		} else {
			spare++
		}
	}
	if !a.supplied {
		for range a.missing {
			a.skip(CheckOpenings, say{"no openings are supplied", "未提供私密值"})
		}
		if len(a.missing) == 0 {
			a.note(CheckOpenings, say{"none is needed", "无需私密值"})
		}
		return
	}
	type gap struct {
		c     contracts.Hash
		where string
	}
	var gaps []gap
	for c, where := range a.missing {
		if a.state.base[contracts.KeyErasure(c)] != nil {
			a.skip(CheckOpenings, say{"erased, and the erasure is on the ledger", "已删除，账本载有删除记录"})
		} else {
			gaps = append(gaps, gap{c, where})
		}
	}
	slices.SortFunc(gaps, func(x, y gap) int { return comparePlaces(x.where, y.where) })
	for _, g := range gaps {
		a.fail(CheckOpenings, g.where, say{"the opening of %s is missing and no entry records its erasure", "%s 的私密值缺失，且无删除记录"}, g.c)
	}
	if spare > 0 {
		a.note(CheckOpenings, say{"%d more belong to no entry", "另有 %d 项不属于任何条目"}, spare)
	}
}

// comparePlaces orders places in the entries by position: a shorter number is a smaller one.
func comparePlaces(x, y string) int {
	if len(x) != len(y) {
		return len(x) - len(y)
	}
	if x < y {
		return -1
	}
	return 1
}

// field is what an error of a decoder names: what stands before its first colon.
func field(err error) string {
	s := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "entry: "), "canon: ")
	s, _, _ = strings.Cut(s, ":")
	return strings.TrimSuffix(s, " is malformed")
}
