package stats

import (
	"crypto/sha256"
	"fmt"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/privacy/envelope"
)

// census is what two aggregators compare of a batch, and tell the collector.
type census struct {
	count int64
	set   [sha256.Size]byte
}

const censusBytes = 8 + sha256.Size

func appendCensus(b []byte, c census) []byte {
	return append(append(b, number(c.count)...), c.set[:]...)
}

func readCensus(b []byte) census { return census{int64Of(b), [sha256.Size]byte(b[8:censusBytes])} }

func takeCensus(tx Tx, n int64) (c census, few bool, err error) {
	b, err := getBatch(tx, n)
	if err != nil {
		return c, false, err
	}
	c.count = b.count
	if c.set, err = reportSet(tx, n); err != nil {
		return c, false, err
	}
	who, err := contributors(tx, n)
	return c, who < 2, err
}

// enough reports a batch that nobody may collect: too few reports, or all of them of one contributor, whose sum it
// would be.
func (a *Aggregator) enough(c census, few bool) error {
	switch {
	case c.count < a.task.MinBatch:
		return refuse(SmallBatch, "the batch has %d reports of at least %d", c.count, a.task.MinBatch)
	case few:
		return refuse(SmallBatch, "all of the batch's reports are of one contributor")
	}
	return nil
}

// Close is the leader's: it ends the open batch and gives the order for the helper to end it too. The batch takes no
// more; until the helper has answered, the same order again.
func (a *Aggregator) Close() (order []byte, err error) {
	if a.role != Leader {
		return nil, refuse(BadOrder, "the leader closes")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	err = a.store.Update(func(tx Tx) error {
		if b := tx.Get(record(orderRecord)); b != nil {
			order = append([]byte(nil), b...)
			return nil
		}
		if tx.Get(record(jobRecord)) != nil {
			return refuse(BadOrder, "a job is out")
		}
		st, err := getStanding(tx)
		if err != nil {
			return err
		}
		c, few, err := takeCensus(tx, st.open)
		if err == nil {
			err = a.enough(c, few)
		}
		if err != nil {
			return err
		}
		order = appendCensus(appendHeader(nil, closeMessage, a.task.digest(), st.open, 0), c)
		return tx.Put(record(orderRecord), order)
	})
	return order, err
}

func (a *Aggregator) readOrder(b []byte) (batch int64, c census, err error) {
	batch, n, rest, err := readHeader(b, closeMessage, a.task.digest())
	if err == nil && (n != 0 || len(rest) != censusBytes) {
		err = refuse(BadForm, "an order holds a count and a digest")
	}
	if err != nil {
		return 0, c, err
	}
	return batch, readCensus(rest), nil
}

// CloseAsOrdered is the helper's: if it counts the same reports as the leader, it closes the batch and seals its share;
// if not, the batch is spoiled and its sum never leaves. The same order again gets the same answer.
func (a *Aggregator) CloseAsOrdered(order []byte) (answer []byte, err error) {
	if a.role != Helper {
		return nil, refuse(BadOrder, "the helper closes as ordered")
	}
	n, theirs, err := a.readOrder(order)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	err = a.store.Update(func(tx Tx) error {
		if b := tx.Get(record(closedRecord, number(n))); len(b) > sha256.Size {
			if d := sha256.Sum256(order); [sha256.Size]byte(b[:sha256.Size]) != d {
				return refuse(BadOrder, "the batch was closed by another order")
			}
			answer = append([]byte(nil), b[sha256.Size:]...)
			return nil
		}
		st, err := getStanding(tx)
		if err != nil {
			return err
		}
		if n != st.open {
			return refuse(BadOrder, "batch %d takes reports, not %d", st.open, n)
		}
		ours, few, err := takeCensus(tx, n)
		if err == nil {
			err = a.enough(ours, few)
		}
		if err != nil {
			return err
		}
		agreed := ours == theirs
		if err := a.end(tx, &st, ours, agreed); err != nil {
			return err
		}
		answer = appendHeader(nil, closedMessage, a.task.digest(), n, 0)
		d := sha256.Sum256(order)
		answer = append(append(answer, d[:]...), flag(agreed))
		return tx.Put(record(closedRecord, number(n)), append(d[:], answer...))
	})
	return answer, err
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// Closed is the leader's: it ends the batch as the helper answered. A spoiled batch is a refusal, and the next is open.
func (a *Aggregator) Closed(answer []byte) (batch int64, err error) {
	if a.role != Leader {
		return 0, refuse(BadOrder, "the leader is answered")
	}
	n, zero, rest, err := readHeader(answer, closedMessage, a.task.digest())
	if err == nil && (zero != 0 || len(rest) != sha256.Size+1 || rest[sha256.Size] > 1) {
		err = refuse(BadForm, "the answer holds a digest and a flag")
	}
	if err != nil {
		return 0, err
	}
	agreed := rest[sha256.Size] == 1
	a.mu.Lock()
	defer a.mu.Unlock()
	err = a.store.Update(func(tx Tx) error {
		order := tx.Get(record(orderRecord))
		if order == nil {
			return refuse(BadOrder, "no order is out")
		}
		if d := sha256.Sum256(order); [sha256.Size]byte(rest[:sha256.Size]) != d {
			return refuse(BadOrder, "the answer is to another order")
		}
		st, err := getStanding(tx)
		if err != nil {
			return err
		}
		_, ours, err := a.readOrder(order)
		if err != nil || n != st.open {
			return errDamaged(orderRecord)
		}
		if err := tx.Delete(record(orderRecord)); err != nil {
			return err
		}
		return a.end(tx, &st, ours, agreed)
	})
	if err == nil && !agreed {
		err = refuse(Spoiled, "the aggregators count different reports in batch %d: nobody gets its sum", n)
	}
	return n, err
}

// end closes or spoils the open batch and opens the next. What was closed doesn't change any more.
func (a *Aggregator) end(tx Tx, st *standing, c census, agreed bool) error {
	n := st.open
	b, err := getBatch(tx, n)
	if err != nil {
		return err
	}
	if b.status = batchSpoiled; agreed {
		b.status, b.set = batchClosed, c.set
	} else {
		b.total = nil
	}
	if err := b.put(tx, n); err != nil {
		return err
	}
	st.open++
	return st.put(tx)
}

// sealShare makes the message to the collector: header ‖ role ‖ census ‖ total, sealed under all that stands before it.
func (a *Aggregator) sealShare(to contracts.PublicKey, n int64, c census, total []byte) ([]byte, error) {
	b := appendHeader(nil, shareMessage, a.task.digest(), n, 0)
	b = appendCensus(append(b, byte(a.role)), c)
	sealed, err := envelope.SealMessage(to, shareInfo(a.role), b, total)
	if err != nil {
		return nil, fmt.Errorf("couldn't seal aggregate share: %w", err)
	}
	return append(b, sealed...), nil
}

func shareInfo(role int) []byte { return fmt.Appendf(nil, "bund/stats/v1 aggregate share %d", role) }

// Share seals this aggregator's share of a closed batch to the collector's HPKE key. That the key is the collector's is
// for the caller to know. Asked again, it seals the same share.
func (a *Aggregator) Share(n int64, to contracts.PublicKey) (sealed []byte, err error) {
	err = a.store.View(func(tx Tx) error {
		b, err := getBatch(tx, n)
		if err != nil {
			return err
		}
		switch b.status {
		case batchClosed:
			sealed, err = a.sealShare(to, n, census{b.count, b.set}, b.total)
			return err
		case batchSpoiled:
			return refuse(Spoiled, "the aggregators count different reports in batch %d: nobody gets its sum", n)
		}
		return refuse(SmallBatch, "batch %d is not closed", n)
	})
	return sealed, err
}
