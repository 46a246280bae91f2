package evidence

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
)

// item is one entry on its way through the audit.
type item struct {
	position uint64
	raw      []byte
	e        *ledger.Entry // nil when it does not decode
	err      error         // why not
	hash     [32]byte
	leaf     []byte

	cmd *contracts.Command // nil when form or a signature is wrong
	sig error              // why

	res     *contracts.Result // of the rules, nil when they don't give one
	refused error
	differs string           // field, when the rules give something else than the entry says
	late    contracts.Millis // time that the ledger's own clock rule gives, when it is another
	missing []contracts.Hash // openings that the rules asked for
}

// where names a field of the entry.
func (it *item) where(field string) string {
	return fmt.Sprintf("%s: entry %d: %s", EntriesFile, it.position, field)
}

const (
	chunkEntries = 1024
	chunkBytes   = 8 << 20
)

type piece struct {
	items []*item
	cut   error // the file ends badly behind them
	at    int64 // where
}

// readEntries runs the pipeline over the file of entries.
func (a *audit) readEntries(ctx context.Context, f io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	ready := make(chan piece, 1)
	var failed error
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(ready)
		fr := &frames{r: f, limit: ledger.MaxEntryBytes}
		for position := uint64(0); ; {
			p, err := readPiece(fr, position)
			if err != nil {
				failed = err
				return
			}
			position += uint64(len(p.items))
			a.prepare(p.items)
			select {
			case ready <- p:
			case <-ctx.Done():
				return
			}
			if len(p.items) == 0 || p.cut != nil {
				return
			}
		}
	})
	defer wg.Wait()
	defer cancel()
	done := uint64(0)
	for p := range ready {
		if len(p.items) > 0 {
			a.chunk(p.items)
		}
		if p.cut != nil {
			a.fail(CheckEntries, fmt.Sprintf("%s: offset %d: entry %d: length", EntriesFile, p.at, done+uint64(len(p.items))), say{"%v", "%v"}, p.cut)
		}
		done += uint64(len(p.items))
		if a.cfg.Progress != nil {
			a.cfg.Progress(done, uint64(a.man.Entries))
		}
	}
	wg.Wait()
	if failed != nil {
		return failed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if a.man.Format != "" && done != uint64(a.man.Entries) {
		a.fail(CheckEntries, EntriesFile+": count", say{"%d entries, the manifest says %d", "%d 条，清单为 %d"}, done, a.man.Entries)
	}
	return nil
}

// readPiece reads a chunk. Its error is a failure of the disk.
func readPiece(fr *frames, position uint64) (p piece, err error) {
	space := arena{size: 1 << 20}
	for size := 0; len(p.items) < chunkEntries && size < chunkBytes; {
		p.at = fr.at
		b, err := fr.next(&space)
		switch {
		case err == io.EOF:
			return p, nil
		case err != nil && strings.HasPrefix(err.Error(), "length"):
			p.cut = err
			return p, nil
		case err != nil:
			return p, err
		}
		size += len(b)
		p.items = append(p.items, &item{position: position + uint64(len(p.items)), raw: b})
	}
	return p, nil
}

// onAllCores calls fn with every index below n.
func onAllCores(n int, fn func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), n) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				fn(i)
			}
		})
	}
	wg.Wait()
}

// prepare does all that needs no state.
func (a *audit) prepare(items []*item) {
	onAllCores(len(items), func(i int) {
		it := items[i]
		it.hash = ledger.Hash(it.raw)
		if it.e, it.err = ledger.DecodeEntry(it.raw); it.err != nil {
			it.e = nil
			it.leaf = rfc6962.DefaultHasher.HashLeaf(nil)
			return
		}
		it.leaf = rfc6962.DefaultHasher.HashLeaf(ledger.Leaf(it.raw, it.e))
		it.cmd, it.sig = a.cfg.decode(contracts.Submission{Raw: it.e.Raw, Signatures: it.e.Signatures})
	})
}

// chunk replays prepared entries and adds them to everything.
func (a *audit) chunk(items []*item) {
	a.state.load(items)
	onAllCores(len(items), func(i int) {
		if it := items[i]; it.cmd != nil {
			a.replay(it, a.state.before(i))
		}
	})
	for i, it := range items {
		a.tree.add(it.leaf)
		a.judge(it, a.state.before(i))
	}
	a.state.merge()
}

// chain follows the hash chain.
type chain struct {
	prev [32]byte
	time contracts.Millis
}

func (a *audit) link(it *item) {
	c := &a.chain
	switch {
	case it.position == 0 && it.hash != a.trust.Genesis:
		a.fail(CheckChain, it.where("hash"), say{"this is not the genesis that the trust root names", "不是信任根所指的创世条目"})
	case it.e == nil:
		a.fail(CheckChain, it.where("prev"), say{"the entry does not decode", "条目无法解析"})
	case it.e.Prev != c.prev:
		a.fail(CheckChain, it.where("prev"), say{"the entry before has another hash: one of the two was changed, or one between them is gone", "前一条目的哈希不符：两者之一被改动，或其间有条目缺失"})
	case it.e.Position != it.position:
		a.fail(CheckChain, it.where("position"), say{"it says %d", "自称 %d"}, it.e.Position)
	case it.e.Time < c.time-ledger.ClocksApart:
		a.fail(CheckChain, it.where("time"), say{"time falls by more than clocks may differ", "时间倒退超出时钟允许的误差"})
	default:
		a.count(CheckChain, 1)
	}
	c.prev = it.hash
	if it.e != nil {
		c.time = max(c.time, it.e.Time)
	}
}
