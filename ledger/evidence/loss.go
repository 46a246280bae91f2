package evidence

import (
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/publish"
)

// epoch is that of the last accepted loss among the entries so far.
func (a *audit) epoch() uint64 {
	if n := len(a.losses); n > 0 {
		return uint64(a.losses[n-1].Epoch)
	}
	return 0
}

// loss enters an accepted loss. The rules have been replayed on it; whether it stands on what it keeps is the chain's to
// say.
func (a *audit) loss(it *item) {
	if !ledger.HasLoss(it.e) {
		return
	}
	b, err := ledger.CheckLoss(it.e)
	if b != nil {
		a.losses = append(a.losses, *b)
	}
	if err != nil {
		a.fail(CheckLosses, it.where("command.kept"), say{"%v", "%v"}, err)
		return
	}
	a.count(CheckLosses, 1)
	a.note(CheckLosses, say{"entries %d to %d had been cosigned and are lost; the venue accepted it as epoch %d: %s", "第 %d 至 %d 条曾被共签，现已丢失；交易所已公开接受，日志进入第 %d 纪元：%s"},
		b.RestoredSize, b.CosignedSize-1, b.Epoch, b.Reason)
}

// lost reports whether a checkpoint that was seen before covers entries that were lost since. It can't be extended; that
// its history ended is in the ledger.
func (a *audit) lost(h publish.Head) bool {
	for _, l := range a.losses {
		if h.Epoch < uint64(l.Epoch) && h.Size > uint64(l.RestoredSize) {
			a.skip(CheckConsistency, say{"a checkpoint that was seen before covers entries that were lost, and the loss was accepted", "以往的日志头包含已丢失的条目，丢失已被接受"})
			return true
		}
	}
	return false
}
