package follow

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/client"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/publish"
)

var emptyRoot = rfc6962.DefaultHasher.EmptyRoot()

// follow takes a signed checkpoint and advances, step by step, until everything under it is followed.
func (f *Follower) follow(ctx context.Context, signed []byte) error {
	f.work.Lock()
	defer f.work.Unlock()
	if f.forked() {
		return f.stopped()
	}
	h, err := f.policy.Open(signed)
	if err != nil {
		return err
	}
	switch {
	case f.head.Signed == nil:
	case h.Before(f.head.Checkpoint):
		h = f.head // from a cache, or an operator's old backup: no news, and its cosignatures say nothing
	case h.Epoch > f.head.Epoch:
		if err := f.enterEpoch(ctx, h); err != nil {
			return err
		}
	case h.Size == f.head.Size:
		if h.Root != f.head.Root {
			return f.fork(f.head, h, "one size, two roots")
		}
		if err := f.freshen(h); err != nil {
			return err
		}
	}
	for f.rng.End() < h.Size {
		if err := f.advance(ctx, h); err != nil {
			return err
		}
	}
	if f.epoch != h.Epoch {
		return f.fork(f.head, h, fmt.Sprintf("it calls itself epoch %d, the losses accepted in it come to %d", h.Epoch, f.epoch))
	}
	// Nothing is missing any more, whatever was before.
	f.mu.Lock()
	f.stop = nil
	f.refresh()
	f.mu.Unlock()
	return nil
}

// freshen keeps the same head with newer cosignatures.
func (f *Follower) freshen(h publish.Head) error {
	limit := f.cfg.Now().Add(f.cfg.Skew)
	was, _ := f.head.FreshAt(f.policy.Quorum, limit)
	is, ok := h.FreshAt(f.policy.Quorum, limit)
	if !ok || !is.After(was) {
		return nil
	}
	if err := f.store.keepHead(h.Signed); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.head = h
	return nil
}

// advance follows one step towards h: leaves, root, bodies, commit.
func (f *Follower) advance(ctx context.Context, h publish.Head) error {
	begin := f.rng.End()
	end := min(h.Size, begin+stepLeaves)
	next, leaves, err := f.extend(ctx, h, begin, end)
	if errors.Is(err, errUnproven) {
		// Once more from the beginning, before the log is accused of what may be a proxy's fault.
		next, leaves, err = f.extend(ctx, h, begin, end)
	}
	if errors.Is(err, errUnproven) {
		return f.fork(f.head, h, "the checkpoint doesn't extend what was followed")
	}
	if err != nil {
		return err
	}
	es, last, err := f.bodies(ctx, begin, leaves)
	if err != nil {
		if errors.Is(err, ErrWithheld) {
			f.halt(err)
		}
		if errors.Is(err, errForeign) {
			return f.fork(f.head, h, err.Error())
		}
		return err
	}
	x := step{rng: next, head: h.Signed, last: last, leaves: leaves, epoch: f.epoch}
	found, err := f.losses(es)
	if err != nil {
		return f.fork(f.head, h, err.Error())
	}
	if n := len(found); n > 0 {
		x.epoch = uint64(found[n-1].Epoch)
	}
	for _, e := range es {
		x.writes = append(x.writes, e.Writes...)
		if f.cfg.All || e.Public {
			continue
		}
		for _, id := range e.Objects {
			x.mine = append(x.mine, id.Bytes())
		}
	}
	if err := f.store.commit(x); err != nil {
		return err
	}
	f.rng, f.last, f.accepted = next, last, append(f.accepted, found...)
	f.mu.Lock()
	f.head, f.size, f.epoch = h, end, x.epoch
	for _, w := range x.writes {
		f.state.apply(w)
	}
	f.state.settle()
	for _, id := range x.mine {
		f.mine[id] = struct{}{}
	}
	f.refresh()
	f.mu.Unlock()
	if f.cfg.OnEntry != nil {
		for _, e := range es {
			f.cfg.OnEntry(e)
		}
	}
	return nil
}

// errUnproven: what was served and what was signed don't come together.
var errUnproven = errors.New("follow: leaves don't lead to the signed root")

// extend fetches the leaves [begin, end) and proves that the tree with them is a prefix of h's, or is h's.
func (f *Follower) extend(ctx context.Context, h publish.Head, begin, end uint64) (*compact.Range, [][]byte, error) {
	more := publish.Factory.NewEmptyRange(begin)
	var leaves [][]byte
	for at := begin; at < end; {
		bundle, err := f.remote.leaves(ctx, at/256, h.Size)
		if err != nil {
			return nil, nil, fmt.Errorf("couldn't fetch leaves from %d: %w", at, err)
		}
		for _, l := range bundle[at%256:] {
			if at == end {
				break
			}
			if err := more.Append(publish.LeafHash(l), nil); err != nil {
				return nil, nil, err
			}
			leaves = append(leaves, l)
			at++
		}
	}
	next, err := publish.Factory.NewRange(0, begin, append([][]byte{}, f.rng.Hashes()...))
	if err != nil {
		return nil, nil, err
	}
	if err := next.AppendRange(more, nil); err != nil {
		return nil, nil, err
	}
	root := rootOf(next)
	if end == h.Size {
		// The own tree at h's root: this is the consistency proof.
		if root != h.Root {
			return nil, nil, errUnproven
		}
		return next, leaves, nil
	}
	pb, err := client.NewProofBuilder(ctx, h.Size, f.remote.tile)
	if err != nil {
		return nil, nil, fmt.Errorf("couldn't fetch tiles: %w", err)
	}
	hashes, err := pb.ConsistencyProof(ctx, end, h.Size)
	if err != nil {
		return nil, nil, fmt.Errorf("couldn't fetch tiles: %w", err)
	}
	if err := publish.VerifyConsistency(end, h.Size, hashes, root, h.Root); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errUnproven, err)
	}
	return next, leaves, nil
}

// errForeign: entry 0 is not the genesis of the trust root, or entries don't chain.
var errForeign = errors.New("follow: the entries are of another ledger")

// bodies fetches the bodies of leaves that begin at position begin, checks each against its leaf, and gives those that
// are for this member. last is the chain hash of the final entry if its body came.
func (f *Follower) bodies(ctx context.Context, begin uint64, leaves [][]byte) (es []*ledger.Entry, last []byte, err error) {
	end := begin + uint64(len(leaves))
	last = f.last
	mine := map[[16]byte]struct{}{} // found in this step
	at := begin
	for at < end {
		g, err := f.remote.page(ctx, at, end, 0)
		if err != nil {
			return nil, nil, fmt.Errorf("couldn't fetch bodies from %d: %w", at, err)
		}
		if g.Next == at {
			return nil, nil, fmt.Errorf("%w: bodies end at %d, the checkpoint has more", ErrGap, at)
		}
		for _, b := range g.Bodies {
			for ; at < b.Position; at++ {
				if last, err = nil, f.due(at, leaves[at-begin], mine); err != nil {
					return nil, nil, err
				}
			}
			e, err := f.body(b, leaves[at-begin])
			if err != nil {
				return nil, nil, err
			}
			if last != nil && !bytes.Equal(last, e.Prev[:]) {
				return nil, nil, fmt.Errorf("%w: entry %d doesn't follow the one before it", errForeign, at)
			}
			hash := ledger.Hash(b.Encoded)
			if at == 0 && hash != f.cfg.Trust.Genesis.Bytes() {
				return nil, nil, fmt.Errorf("%w: entry 0 isn't the genesis of the trust root", errForeign)
			}
			last = hash[:]
			at++
			if !f.entitled(e) {
				continue
			}
			es = append(es, e)
			if !e.Public {
				for _, id := range e.Objects {
					mine[id.Bytes()] = struct{}{}
				}
			}
		}
		for ; at < g.Next; at++ {
			if last, err = nil, f.due(at, leaves[at-begin], mine); err != nil {
				return nil, nil, err
			}
		}
	}
	return es, last, nil
}

// body decodes a body and holds it against its leaf. A false body is as good as a withheld one.
func (f *Follower) body(b publish.Body, leaf []byte) (*ledger.Entry, error) {
	e, err := ledger.DecodeEntry(b.Encoded)
	if err == nil && (e.Position != b.Position || !bytes.Equal(ledger.Leaf(b.Encoded, e), leaf)) {
		err = errors.New("it isn't what the leaf commits to")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: body at position %d is false: %w", ErrWithheld, b.Position, err)
	}
	return e, nil
}

// due judges a missing body by its leaf: ErrWithheld if it should have come. What a member can't know is an object of
// which it never got a body.
func (f *Follower) due(position uint64, leaf []byte, found map[[16]byte]struct{}) error {
	parts, err := ledger.ParseLeaf(leaf)
	if err != nil {
		return fmt.Errorf("%w: leaf %d is malformed", ErrWithheld, position)
	}
	if parts.Public || f.cfg.All || position == 0 {
		return fmt.Errorf("%w: position %d, due to everybody or to this auditor", ErrWithheld, position)
	}
	for _, id := range parts.Objects {
		_, ok := found[id]
		if !ok {
			_, ok = f.mine[id] // changed only under work, which is held
		}
		name := contracts.ID(fmt.Sprintf("%x", id))
		if ok || f.cfg.Mine != nil && f.cfg.Mine(name) {
			return fmt.Errorf("%w: position %d, object %s", ErrWithheld, position, name)
		}
	}
	return nil
}

func (f *Follower) entitled(e *ledger.Entry) bool {
	return f.cfg.All || publish.InAudience(f.cfg.Me, e)
}

func (f *Follower) halt(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stop = err
}

func (f *Follower) stopped() error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.stop
}

func (f *Follower) forked() bool { return errors.Is(f.stopped(), ErrFork) }

// fork stops for good and keeps both checkpoints.
func (f *Follower) fork(a, b publish.Head, why string) error {
	err := fmt.Errorf("%w: %s; followed %d entries, size %d signed, then size %d", ErrFork, why, f.rng.End(), a.Size, b.Size)
	f.halt(err)
	var evidence bytes.Buffer
	fmt.Fprintf(&evidence, "bund/follow/evidence/v1\n%d\n%s%d\n%s", len(a.Signed), a.Signed, len(b.Signed), b.Signed)
	if kept := f.store.keepFork(evidence.Bytes()); kept != nil {
		f.cfg.Log.Error("couldn't keep the evidence of a fork", "err", kept)
	}
	return err
}
