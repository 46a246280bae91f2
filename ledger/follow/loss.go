package follow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/transparency-dev/tessera/client"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/publish"
)

// Loss is an acceptance of a loss that was followed and verified.
type Loss struct {
	contracts.LossAccept
	Position uint64
}

// losses holds every accepted loss among entries that come next against the rules. The
// rules need only what is public: members, people, keys. That the venue's two people signed is not left to the
// operator's word.
func (f *Follower) losses(es []*ledger.Entry) (found []Loss, err error) {
	over := ahead{f.state, map[string][]byte{}}
	for _, e := range es {
		if ledger.HasLoss(e) {
			b, err := f.loss(over, e)
			if err != nil {
				return nil, fmt.Errorf("entry %d accepts a loss that is not acceptable: %w", e.Position, err)
			}
			found = append(found, Loss{*b, e.Position})
		}
		for _, w := range e.Writes {
			over.writes[w.Key] = w.Value
		}
	}
	return found, nil
}

func (f *Follower) loss(st contracts.State, e *ledger.Entry) (*contracts.LossAccept, error) {
	cmd, err := contracts.Decode(contracts.Submission{Raw: e.Raw, Signatures: e.Signatures})
	if err != nil {
		return nil, err
	}
	res, err := contracts.Apply(st, contracts.Env{Ledger: f.cfg.Trust.Ledger, Now: e.Time, Position: int64(e.Position)}, cmd)
	if err != nil {
		return nil, err
	}
	if res.Repeated || len(res.Writes) != len(e.Writes) {
		return nil, errors.New("the rules give something else")
	}
	for i, w := range res.Writes {
		if w.Key != e.Writes[i].Key || !bytes.Equal(w.Value, e.Writes[i].Value) {
			return nil, errors.New("the rules give something else")
		}
	}
	return ledger.CheckLoss(e)
}

// ahead is the state with the writes of a step that is not committed yet.
type ahead struct {
	st     *state
	writes map[string][]byte
}

func (a ahead) Get(key string) ([]byte, error) {
	if v, ok := a.writes[key]; ok {
		return v, nil
	}
	v, _ := a.st.get(key)
	return v, nil
}

// enterEpoch decides what a head of a later epoch means for what was followed: nothing, when all of that is still under
// it. Otherwise entries that this follower has seen are gone, and it cuts its state to what was kept.
func (f *Follower) enterEpoch(ctx context.Context, h publish.Head) error {
	size := f.rng.End()
	if size == 0 {
		return nil
	}
	if size < h.Size {
		pb, err := client.NewProofBuilder(ctx, h.Size, f.remote.tile)
		if err != nil {
			return fmt.Errorf("couldn't fetch tiles: %w", err)
		}
		hashes, err := pb.ConsistencyProof(ctx, size, h.Size)
		if err != nil {
			return fmt.Errorf("couldn't fetch tiles: %w", err)
		}
		if publish.VerifyConsistency(size, h.Size, hashes, rootOf(f.rng), h.Root) == nil {
			f.cfg.Log.WarnContext(ctx, "the ledger has accepted a loss; nothing that was followed is lost", "epoch", h.Epoch, "size", size)
			return nil
		}
	}
	return f.cut(ctx, h)
}

// cut follows the log anew, from its beginning, into a file beside: write sets can't be taken back. The file takes the
// place of the old one only when it is whole, ends at h, says itself which entries were kept, and the own leaves of
// those give the same root. A crash before leaves the old state, and the next look at the checkpoint begins again.
func (f *Follower) cut(ctx context.Context, h publish.Head) error {
	path := f.cfg.Path + ".epoch"
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("couldn't follow the new epoch: %w", err)
	}
	g := &Follower{cfg: f.cfg, policy: f.policy, remote: f.remote}
	g.cfg.OnEntry, g.cfg.OnCut = nil, nil
	var err error
	if g.store, err = openStore(path, identityOf(f.cfg.Trust, f.cfg.Me, f.cfg.All)); err != nil {
		return err
	}
	taken := false
	defer func() {
		if !taken {
			g.store.close()
			os.Remove(path)
		}
	}()
	if err := g.restore(); err != nil {
		return err
	}
	for g.rng.End() < h.Size {
		if err := g.advance(ctx, h); err != nil {
			if errors.Is(err, ErrFork) {
				return f.fork(f.head, h, err.Error())
			}
			if errors.Is(err, ErrWithheld) {
				f.halt(err)
			}
			return err
		}
	}
	size, kept, why := f.rng.End(), f.rng.End(), ""
	for _, l := range g.accepted {
		if uint64(l.Epoch) > f.epoch && l.Position < kept {
			kept, why = l.Position, l.Reason
		}
	}
	if kept == size {
		return f.fork(f.head, h, "entries that were followed are gone and no loss was accepted for them")
	}
	mine, err := f.store.root(kept)
	if err != nil {
		return f.fork(f.head, h, err.Error())
	}
	if theirs, err := g.store.root(kept); err != nil {
		return err
	} else if mine != theirs {
		return f.fork(f.head, h, fmt.Sprintf("the first %d entries are not those that were followed, although the accepted loss says that they were kept", kept))
	}
	if err := f.adopt(g, path); err != nil {
		return err
	}
	taken = true
	f.cfg.Log.ErrorContext(ctx, "the ledger has LOST entries that this node had followed, and the venue has accepted it: the state was cut", "kept", kept,
		"lost", size-kept, "epoch", h.Epoch, "why", why)
	if f.cfg.OnCut != nil {
		f.cfg.OnCut(kept)
	}
	return nil
}

// adopt makes g's file and state this follower's. Nothing that was fresh before the loss is fresh after it.
func (f *Follower) adopt(g *Follower, path string) error {
	if err := os.Rename(path, f.cfg.Path); err != nil {
		return fmt.Errorf("couldn't take the new epoch's state: %w", err)
	}
	old := f.store
	f.mu.Lock()
	f.store, f.rng, f.last, f.accepted = g.store, g.rng, g.last, g.accepted
	f.head, f.size, f.epoch, f.state, f.mine = g.head, g.size, g.epoch, g.state, g.mine
	f.fresh = g.fresh
	f.mu.Unlock()
	// Without the sync a crash may bring the old file back, which is cut again.
	dir, err := os.Open(filepath.Dir(f.cfg.Path))
	if err == nil {
		err = errors.Join(dir.Sync(), dir.Close())
	}
	if err := errors.Join(err, old.close()); err != nil {
		f.cfg.Log.Warn("couldn't finish the change of the followed state", "err", err)
	}
	return nil
}

// Losses gives the accepted losses that this run has followed, in order.
func (f *Follower) Losses() []Loss {
	f.work.Lock()
	defer f.work.Unlock()
	return append([]Loss{}, f.accepted...)
}

// Root gives the root of the first size entries followed.
func (f *Follower) Root(size uint64) ([32]byte, error) {
	f.work.Lock()
	defer f.work.Unlock()
	return f.store.root(size)
}

// Head gives the largest verified checkpoint; Signed nil before the first.
func (f *Follower) Head() publish.Head {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.head
}
