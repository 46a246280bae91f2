package evidence

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/bund-exchange/bund/ledger/publish"
)

// tree is the RFC 6962 tree over the leaves, with its roots at the sizes of checkpoints that were seen before.
type tree struct {
	a    *audit
	rng  *compact.Range
	seen []publish.Head // by size
}

func newTree(a *audit) *tree {
	t := &tree{a: a, rng: (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)}
	for i, s := range a.cfg.Seen {
		h, err := a.trust.Policy.Open(s)
		if err != nil {
			a.fail(CheckConsistency, fmt.Sprintf("seen checkpoint %d: signatures", i+1), say{"%v", "%v"}, err)
			continue
		}
		t.seen = append(t.seen, h)
	}
	slices.SortFunc(t.seen, func(x, y publish.Head) int { return int(x.Size) - int(y.Size) })
	if len(a.cfg.Seen) == 0 {
		a.skip(CheckConsistency, say{"no checkpoint from earlier was given", "未提供以往的日志头"})
	}
	t.look()
	return t
}

func (t *tree) add(leaf []byte) {
	if err := t.rng.Append(leaf, nil); err != nil {
		panic(err) // only on 2^64 leaves
	}
	t.look()
}

func (t *tree) root() [32]byte {
	if t.rng.End() == 0 {
		return [32]byte(rfc6962.DefaultHasher.EmptyRoot())
	}
	r, err := t.rng.GetRootHash(nil)
	if err != nil {
		panic(err) // not of a range that begins at 0
	}
	return [32]byte(r)
}

// look compares the root at this size with what was seen of it.
func (t *tree) look() {
	for len(t.seen) > 0 && t.seen[0].Size == t.rng.End() {
		switch h := t.seen[0]; {
		case t.a.lost(h):
		case t.root() == h.Root && h.Epoch >= t.a.epoch():
			t.a.count(CheckConsistency, 1)
		default:
			t.a.fail(CheckConsistency, fmt.Sprintf("%s: entry %d: history", EntriesFile, t.rng.End()),
				say{"the checkpoint of %d entries that was seen before is of another history: keep both, they convict the log", "以往 %d 条时的日志头属于另一历史：两者都要保存，足以证明日志作伪"}, t.seen[0].Size)
		}
		t.seen = t.seen[1:]
	}
}

// head holds the published head against the tree.
func (a *audit) head(signed []byte) publish.Head {
	for _, h := range a.tree.seen {
		if a.lost(h) {
			continue
		}
		a.fail(CheckConsistency, EntriesFile+": count", say{"a checkpoint of %d entries was seen before, the export has less", "此前见过 %d 条的日志头，证据条目更少"}, h.Size)
	}
	h, err := a.trust.Policy.Open(signed)
	if err != nil {
		a.fail(CheckTree, CheckpointFile+": signatures", say{"%v", "%v"}, err)
		a.skip(CheckWitnesses, say{"the head is not to be trusted", "日志头不可信"})
		return publish.Head{}
	}
	switch size := a.tree.rng.End(); {
	case h.Epoch != a.epoch():
		a.fail(CheckTree, CheckpointFile+": origin", say{"the head is of epoch %d, the losses accepted come to epoch %d", "日志头为第 %d 纪元，已接受的丢失到第 %d 纪元"}, h.Epoch, a.epoch())
	case h.Size != size:
		a.fail(CheckTree, CheckpointFile+": size", say{"the head is of %d entries, the export has %d", "日志头为 %d 条，证据有 %d 条"}, h.Size, size)
	case a.tree.root() != h.Root:
		a.fail(CheckTree, CheckpointFile+": root", say{"the entries give another root", "由条目算得的根不同"})
	default:
		a.count(CheckTree, int(size))
	}
	a.witnessed(h)
	return h
}

func (a *audit) witnessed(h publish.Head) {
	quorum := max(1, a.trust.Policy.Quorum)
	n := len(h.Cosignatures)
	at, quorate := h.FreshAt(quorum, time.Unix(1<<40, 0))
	switch {
	case h.Unknown > 0:
		// The folder is a closed set of files: what nobody can verify doesn't belong there.
		a.fail(CheckWitnesses, CheckpointFile+": signatures", say{"%d signatures are of keys that the trust root doesn't name", "%d 个签名的密钥不在信任根中"}, h.Unknown)
	case bytes.Count(h.Signed, []byte("\n— ")) != 1+n:
		a.fail(CheckWitnesses, CheckpointFile+": signatures", say{"a signature is there twice", "同一签名出现两次"})
	case !quorate:
		a.fail(CheckWitnesses, CheckpointFile+": signatures", say{"%d cosignatures, the trust root wants %d: a lone operator could show two histories", "共签 %d 个，信任根要求 %d 个：单一运营方可出示两种历史"}, n, quorum)
	default:
		a.count(CheckWitnesses, n)
		a.note(CheckWitnesses, say{"a quorum had seen it at %s", "达到法定数的见证时间 %s"}, day(at))
	}
}
