package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/bund-exchange/bund/ledger"
)

// Refusals to open. Each wraps the two figures that don't fit.
var (
	// ErrBehind: the ledger has fewer entries than were published. The ledger is an old backup.
	ErrBehind = errors.New("the ledger is behind its published log")
	// ErrDiffers: ledger, tiles, checkpoint or witnesses show different histories.
	ErrDiffers = errors.New("the published log differs from the ledger")
	// ErrUnwitnessed: witnesses are configured and none answers, so nobody can tell whether this ledger is an old backup.
	ErrUnwitnessed = errors.New("no witness answers")
	// ErrInUse: another process holds the folder.
	ErrInUse = errors.New("the tlog's folder is in use")
)

// Opening is what was found when the log was opened. Main shows it.
type Opening struct {
	Height      uint64 // entries of the ledger
	Published   uint64 // leaves found; the rest was republished
	Epoch       uint64 // of the log with all of them
	Highest     uint64 // largest size that a witness says it cosigned in this epoch
	Unreachable []string
	Waiting     []string // witnesses whose operators have not accepted the loss that this epoch began with
	Accepted    error    // what AcceptLoss or AllowUnwitnessed overrode
}

// Open compares ledger, tiles, checkpoint and witnesses, refuses whatever doesn't fit, and republishes what the tlog
// lacks. No entry may be accepted by the ledger before it returns: only the witnesses know of an old backup.
func Open(ctx context.Context, cfg Config, src Source) (*Publisher, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	d := disk(cfg.Dir)
	lock, err := d.lock()
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrInUse, cfg.Dir, err)
	}
	p, err := open(ctx, cfg, src, d)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	p.lock = lock
	return p, nil
}

func open(ctx context.Context, cfg Config, src Source, f files) (*Publisher, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	p, err := prepare(cfg, src, f)
	if err != nil {
		return nil, err
	}
	if err := p.compare(ctx); err != nil {
		return nil, err
	}
	if err := p.findEpoch(ctx); err != nil {
		return nil, err
	}
	if err := p.askWitnesses(ctx); err != nil {
		return nil, err
	}
	if err := p.tree.sweep(p.opening.Published); err != nil {
		return nil, fmt.Errorf("couldn't remove stale tiles: %w", err)
	}
	if h, ok := p.Head(); ok && h.Epoch == p.opening.Epoch {
		// First with the head that was signed before this process began: a conflict must not make us sign more of a
		// false history. A witness that is ahead of this head, but not of the ledger, is asked again below.
		signed, err := h.sign(cfg.Signer)
		if err != nil {
			return nil, fmt.Errorf("couldn't sign the checkpoint: %w", err)
		}
		if _, err := p.collectCosignatures(ctx, h.Checkpoint, signed, true); err != nil {
			return nil, err
		}
		if err := p.refuseConflict(ErrWitnessConflict); err != nil {
			return nil, err
		}
	}
	if err := p.growToLedger(ctx); err != nil {
		return nil, err
	}
	if p.epoch != p.opening.Epoch {
		return nil, fmt.Errorf("%w: the log came to epoch %d, want %d", ErrDiffers, p.epoch, p.opening.Epoch)
	}
	p.vet = func() error { return p.refuseConflict(ErrWitnessConflict, ErrWitnessAhead) }
	if err := p.step(ctx, true); err != nil {
		return nil, fmt.Errorf("couldn't republish: %w", err)
	}
	p.vet = nil
	return p, nil
}

// growToLedger writes the tiles that are missing and holds the whole tree against the ledger's own, before its head is
// signed.
func (p *Publisher) growToLedger(ctx context.Context) error {
	for more := true; more; {
		var err error
		if more, err = p.grow(ctx); err != nil {
			return fmt.Errorf("couldn't republish: %w", err)
		}
	}
	t, ok := p.src.(treeSource)
	if !ok {
		return nil
	}
	size, hashes := t.Tree()
	if size != p.tree.size {
		return fmt.Errorf("%w: the ledger's tree has %d leaves, its log %d entries", ErrDiffers, size, p.tree.size)
	}
	if size == 0 {
		return nil
	}
	r, err := Factory.NewRange(0, size, hashes)
	if err != nil {
		return fmt.Errorf("%w: the ledger's tree: %w", ErrDiffers, err)
	}
	if root, err := r.GetRootHash(nil); err != nil || [32]byte(root) != p.tree.root() {
		return fmt.Errorf("%w: the ledger's tree has root %x at size %d, the tiles have %x", ErrDiffers, root, size, p.tree.root())
	}
	return nil
}

func (p *Publisher) refuseConflict(which ...error) error {
	for _, w := range p.witnesses {
		s := w.status()
		for _, x := range which {
			if errors.Is(s.Err, x) {
				if err := p.override(p.cfg.AcceptLoss, fmt.Errorf("%w: witness %s: %w", ErrDiffers, s.Name, s.Err)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// prepare checks the configuration's keys; it reads nothing.
func prepare(cfg Config, src Source, f files) (*Publisher, error) {
	p := &Publisher{face: face{cfg: cfg, src: src, fs: f}}
	p.stopped, p.stop = context.WithCancel(context.Background())
	p.newest = func(context.Context, uint64) (Head, bool) { return p.Head() }
	p.cosign = p.Cosign
	var err error
	if p.policy, err = cfg.policy(); err != nil {
		return nil, err
	}
	if v := p.policy.Log; v.Name() != cfg.Ledger || v.Name() != cfg.Signer.Name() || v.KeyHash() != cfg.Signer.KeyHash() {
		return nil, errors.New("the log key isn't the signer's, or its name isn't the ledger's id")
	}
	for i, w := range cfg.Witnesses {
		p.witnesses = append(p.witnesses, &witness{url: w.URL, v: p.policy.Witnesses[i], hc: cfg.HTTP})
	}
	return p, nil
}

// Standing is how far a log has come.
type Standing struct {
	Epoch, Size uint64
}

// Known is what is known of a log before the ledger itself is opened.
type Known struct {
	Standing          // highest that the checkpoint in the folder or a witness speaks for
	Here     Standing // of the checkpoint in the folder
	Silent   []string // witnesses that don't answer
}

// Ask learns what the checkpoint in the folder and the witnesses speak for. A ledger's log must hold at least so many
// entries. Witnesses that don't answer are left to Open.
func Ask(ctx context.Context, cfg Config) (k Known, err error) {
	if err := cfg.fill(); err != nil {
		return k, err
	}
	p, err := prepare(cfg, nil, disk(cfg.Dir))
	if err != nil {
		return k, err
	}
	signed, err := p.fs.Read(checkpointName)
	if err == nil {
		h, err := p.policy.Open(signed)
		if err != nil {
			return k, fmt.Errorf("%w: own checkpoint in %s: %w", ErrDiffers, cfg.Dir, err)
		}
		k.Here = Standing{h.Epoch, h.Size}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return k, fmt.Errorf("couldn't read the checkpoint: %w", err)
	}
	k.Standing = k.Here
	stand, errs := p.standing(ctx, k.Here.Epoch)
	for i, w := range p.witnesses {
		if errs[i] != nil {
			k.Silent = append(k.Silent, w.v.Name())
		} else if s := stand[i]; k.Epoch < s.Epoch || k.Epoch == s.Epoch && k.Size < s.Size {
			k.Standing = s
		}
	}
	return k, nil
}

// Opening tells what Open found.
func (p *Publisher) Opening() Opening { return p.opening }

// override lets the operator's explicit word stand against err.
func (p *Publisher) override(allowed bool, err error) error {
	if !allowed {
		return err
	}
	p.opening.Accepted = errors.Join(p.opening.Accepted, err)
	p.cfg.Log.Warn("opened against the evidence, at the operator's word", "err", err)
	return nil
}

// compare checks checkpoint against tiles, and tiles against the ledger. The ledger's own opening has verified its
// chain of hashes, and a leaf commits to its entry with the hash of the one before: so the last published leaf speaks
// for all of them. CompareAll recomputes every leaf; growToLedger compares roots where the ledger has one.
func (p *Publisher) compare(ctx context.Context) error {
	height, err := p.src.Height(ctx)
	if err != nil {
		return fmt.Errorf("couldn't read the ledger's height: %w", err)
	}
	p.opening.Height = height
	signed, err := p.fs.Read(checkpointName)
	if errors.Is(err, fs.ErrNotExist) {
		p.tree = newTree(p.fs)
		return nil
	}
	if err != nil {
		return fmt.Errorf("couldn't read the checkpoint: %w", err)
	}
	h, err := p.policy.Open(signed)
	if err != nil {
		return fmt.Errorf("%w: own checkpoint in %s: %w", ErrDiffers, p.cfg.Dir, err)
	}
	p.opening.Published = h.Size
	if p.tree, err = compareTiles(ctx, p.fs, h); err != nil {
		return err
	}
	if height < h.Size {
		return fmt.Errorf("%w: %d entries, %d published", ErrBehind, height, h.Size)
	}
	p.head.Store(&h)
	p.epoch = h.Epoch
	if h.Size == 0 {
		return nil
	}
	if p.cfg.CompareAll {
		if err := p.compareAll(ctx, h); err != nil {
			return err
		}
	}
	p.prev, err = compareLast(ctx, p.fs, p.src, h.Size)
	return err
}

// compareTiles gives the tree that the tiles are at a checkpoint's size, which must have its root.
func compareTiles(ctx context.Context, f files, h Head) (*tree, error) {
	t, err := resumeTree(ctx, f, h.Size)
	if err != nil {
		return nil, fmt.Errorf("%w: tiles at size %d: %w", ErrDiffers, h.Size, err)
	}
	if got := t.root(); got != h.Root {
		return nil, fmt.Errorf("%w: tiles give root %x at size %d, the checkpoint says %x", ErrDiffers, got, h.Size, h.Root)
	}
	return t, nil
}

// compareLast holds the last leaf of a tree of so many entries, at least one, against the ledger, which has it, and gives
// the entry's chain hash.
func compareLast(ctx context.Context, f files, src Source, size uint64) (hash [32]byte, err error) {
	es, err := src.Entries(ctx, size-1, 1)
	if err != nil || len(es) != 1 || es[0].Position != size-1 {
		return hash, fmt.Errorf("couldn't read entry %d: %w", size-1, errors.Join(err, ctx.Err()))
	}
	leaf, err := readLeaf(f, size-1, size)
	if err != nil {
		return hash, fmt.Errorf("%w: %w", ErrDiffers, err)
	}
	if string(leaf) != string(ledger.Leaf(es[0].Encoded, es[0].Entry)) {
		return hash, fmt.Errorf("%w: entry %d isn't the one published", ErrDiffers, size-1)
	}
	// The bundle must be what the tiles have hashed.
	tiles, err := resumeLeafHash(f, size)
	if err != nil {
		return hash, fmt.Errorf("%w: %w", ErrDiffers, err)
	}
	if string(tiles) != string(LeafHash(leaf)) {
		return hash, fmt.Errorf("%w: leaf %d isn't the one in the tiles", ErrDiffers, size-1)
	}
	return es[0].Hash, nil
}

// findEpoch looks for losses that were accepted behind the published head: the witnesses are asked as the log that this
// ledger is now.
func (p *Publisher) findEpoch(ctx context.Context) error {
	p.opening.Epoch = p.epoch
	for at := p.opening.Published; at < p.opening.Height; {
		es, err := p.src.Entries(ctx, at, int(min(pageEntries, p.opening.Height-at)))
		if err != nil || len(es) == 0 {
			return fmt.Errorf("couldn't read entries from %d: %w", at, errors.Join(err, ctx.Err()))
		}
		for _, e := range es {
			if p.opening.Epoch, err = epochAfter(p.opening.Epoch, e.Entry); err != nil {
				return err
			}
		}
		at += uint64(len(es))
	}
	return nil
}

func (p *Publisher) compareAll(ctx context.Context, h Head) error {
	r := Factory.NewEmptyRange(0)
	for r.End() < h.Size {
		es, err := p.src.Entries(ctx, r.End(), int(min(pageEntries, h.Size-r.End())))
		if err != nil || len(es) == 0 {
			return fmt.Errorf("couldn't read entries from %d: %w", r.End(), errors.Join(err, ctx.Err()))
		}
		for _, e := range es {
			if err := r.Append(LeafHash(ledger.Leaf(e.Encoded, e.Entry)), nil); err != nil {
				return err
			}
		}
	}
	if root, err := r.GetRootHash(nil); err != nil || [32]byte(root) != h.Root {
		return fmt.Errorf("%w: entries give root %x at size %d, the checkpoint says %x", ErrDiffers, root, h.Size, h.Root)
	}
	return nil
}

// readLeaf reads one leaf of the published tree of a size.
func readLeaf(f files, index, size uint64) ([]byte, error) {
	n := index / 256
	w := uint8(0)
	if n == size/256 {
		w = uint8(size % 256)
	}
	leaves, err := readBundle(f, n, w)
	if err != nil {
		return nil, err
	}
	return leaves[index%256], nil
}

// resumeLeafHash is the hash that the tiles have for the last leaf of a size.
func resumeLeafHash(f files, size uint64) ([]byte, error) {
	n := (size - 1) / 256
	w := uint8(0)
	if n == size/256 {
		w = uint8(size % 256)
	}
	b, err := readTile(f, 0, n, w)
	if err != nil {
		return nil, err
	}
	i := (size - 1) % 256
	return b[hashBytes*i : hashBytes*(i+1)], nil
}

// askWitnesses learns how far each witness has seen this log, before anything new is signed.
func (p *Publisher) askWitnesses(ctx context.Context) error {
	if len(p.witnesses) == 0 {
		return nil
	}
	mine := Standing{p.opening.Epoch, p.opening.Height}
	stand, errs := p.standing(ctx, mine.Epoch)
	var failures []error
	for i, w := range p.witnesses {
		name := w.v.Name()
		if errs[i] != nil {
			failures = append(failures, fmt.Errorf("witness %s: %w", name, errs[i]))
			p.opening.Unreachable = append(p.opening.Unreachable, name)
			p.cfg.Log.Warn("witness can't say whether this ledger is an old backup", "witness", name, "err", errs[i])
			continue
		}
		var ahead error
		switch s := stand[i]; {
		case s.Epoch > mine.Epoch:
			ahead = fmt.Errorf("%w: witness %s is in epoch %d of the log, this ledger in %d", ErrWitnessAhead, name, s.Epoch, mine.Epoch)
		case s.Epoch < mine.Epoch && s.Size > 0:
			// It has cosigned nothing of this epoch, so nothing of it can be missing here.
			p.opening.Waiting = append(p.opening.Waiting, name)
			p.cfg.Log.Warn("witness has not accepted the loss; its operator must", "witness", name, "epoch", s.Epoch, "cosigned", s.Size, "now", mine.Epoch)
		default:
			p.opening.Highest = max(p.opening.Highest, s.Size)
			if s.Size > mine.Size {
				ahead = fmt.Errorf("%w: witness %s has cosigned %d entries, the ledger has %d", ErrWitnessAhead, name, s.Size, mine.Size)
			}
		}
		if ahead != nil {
			if err := p.override(p.cfg.AcceptLoss, ahead); err != nil {
				return err
			}
		}
	}
	if len(failures) == len(p.witnesses) {
		return p.override(p.cfg.AllowUnwitnessed, fmt.Errorf("%w: %w", ErrUnwitnessed, errors.Join(failures...)))
	}
	return nil
}

// standing asks all witnesses at once, as a log in this epoch.
func (p *Publisher) standing(ctx context.Context, epoch uint64) ([]Standing, []error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.WitnessTimeout)
	defer cancel()
	stand, errs := make([]Standing, len(p.witnesses)), make([]error, len(p.witnesses))
	var wg sync.WaitGroup
	for i, w := range p.witnesses {
		wg.Go(func() { stand[i], errs[i] = w.standing(ctx, p.empty, epoch) })
	}
	wg.Wait()
	return stand, errs
}

// empty is the signed checkpoint of no entries in an epoch.
func (p *Publisher) empty(epoch uint64) ([]byte, error) {
	b, err := Checkpoint{Origin: p.cfg.Ledger, Epoch: epoch, Root: [32]byte(hasher.EmptyRoot())}.sign(p.cfg.Signer)
	if err != nil {
		return nil, fmt.Errorf("couldn't sign the empty checkpoint: %w", err)
	}
	return b, nil
}
