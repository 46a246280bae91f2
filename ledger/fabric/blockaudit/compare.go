package blockaudit

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/evidence"
)

// errDiffers ends the reading of an evidence package at the first entry that is another.
var errDiffers = errors.New("an entry differs")

// compare holds the entries of an evidence package against those that the blocks give.
func (a *audit) compare() error {
	hashes := a.entries.hashes
	a.report.Entries = uint64(len(hashes))
	if n := len(hashes); n > 0 {
		a.report.LastEntry = hex.EncodeToString(hashes[n-1][:])
	}
	if a.cfg.Evidence == "" {
		return nil
	}
	beyond := 0
	err := evidence.EachEntry(a.cfg.Evidence, func(position uint64, encoded []byte) error {
		switch {
		case position >= uint64(len(hashes)):
			beyond++
		case ledger.Hash(encoded) != hashes[position]:
			a.fail(CheckEvidence, fmt.Sprintf("%s: entry %d", evidence.EntriesFile, position), say{"the blocks give another entry", "区块得出的条目与之不同"})
			return errDiffers
		default:
			a.count(CheckEvidence, 1)
		}
		return nil
	})
	if err != nil && !errors.Is(err, errDiffers) {
		return err
	}
	if n := len(hashes) - a.findings[CheckEvidence].Count; beyond == 0 && n > 0 {
		a.note(CheckEvidence, say{"the blocks give %d more", "区块另有 %d 条"}, n)
	}
	switch {
	case beyond == 0:
	case a.entries.failed:
		a.skip(CheckEvidence, beyond, say{"no entries could be derived from where the blocks are wrong", "自区块有误处起无法推导条目"})
	default:
		a.skip(CheckEvidence, beyond, say{"the blocks end before these entries", "区块止于这些条目之前"})
	}
	return nil
}
