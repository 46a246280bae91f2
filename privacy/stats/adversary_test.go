package stats

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/privacy/envelope"
)

// forge makes one report of input shares that a contributor made up.
func (w *world) forge(id ReportID, public []byte, inputs [2][]byte) (up [2][]byte) {
	w.t.Helper()
	for i := range up {
		sealed, err := envelope.SealMessage(w.keys[i].Public(), inputInfo(i), inputAAD(w.task, id, public), inputs[i])
		if err != nil {
			w.t.Fatal(err)
		}
		up[i] = appendHeader(nil, uploadMessage, w.task.digest(), 0, 1)
		up[i] = append(append(append(up[i], id[:]...), public...), sealed...)
	}
	return up
}

func (w *world) split(measurement uint64) (id ReportID, public []byte, inputs [2][]byte) {
	w.t.Helper()
	s, err := newScheme(w.task)
	if err != nil {
		w.t.Fatal(err)
	}
	rand.Read(id[:])
	random := make([]byte, s.size.random)
	rand.Read(random)
	n := nonce(id)
	if public, inputs, err = s.shard(measurement, &n, random); err != nil {
		w.t.Fatal(err)
	}
	return id, public, inputs
}

func (w *world) receive(role int, bank contracts.ID, upload []byte) error {
	_, err := w.agg[role].Receive(bank, upload)
	return err
}

// A contributor that makes up its shares, to count twice or far more, is found by the proof: the report doesn't count,
// for either aggregator, and the rest of its batch does.
func TestForgedMeasurement(t *testing.T) {
	for name, m := range measures() {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, m)
			w.contribute(banks[0], 1, 1)
			w.contribute(banks[1], 1, 1)
			for i := range 3 {
				id, public, inputs := w.split(1)
				inputs[Leader][i*8]++ // the first elements are the measurement's own share
				up := w.forge(id, public, inputs)
				for role := range up {
					if err := w.receive(role, banks[2], up[role]); err != nil {
						t.Fatal(err)
					}
				}
			}
			for again := true; again; {
				_, again = w.exchange(3)
			}
			for role := range w.agg {
				if p := w.progress(role); p.Counted != 4 || p.Waiting != 0 && role == Leader {
					t.Errorf("%d: %+v", role, p)
				}
			}
			if p := w.progress(Leader); p.Refused != 3 {
				t.Errorf("%+v", p)
			}
			if got, want := w.exact(w.closeBatch()), oracle(w.task, []int64{1, 1, 1, 1}); !equal(got, want) {
				t.Error(got, want)
			}
		})
	}
}

// Joint randomness that the two aggregators see differently can't make a proof of nothing hold.
func TestPublicSharesDiffer(t *testing.T) {
	w := newWorld(t, measures()["histogram"])
	id, public, inputs := w.split(1)
	other := bytes.Clone(public)
	other[seedBytes]++ // the helper's part, as the leader sees it
	a, b := w.forge(id, other, inputs), w.forge(id, public, inputs)
	if err := errors.Join(w.receive(Leader, banks[0], a[Leader]), w.receive(Helper, banks[0], b[Helper])); err != nil {
		t.Fatal(err)
	}
	if f, _ := w.exchange(10); f.Counted != 0 || f.Refused != 1 {
		t.Error(f)
	}
}

func TestReplayedReports(t *testing.T) {
	w := newWorld(t, measures()["count"])
	up := w.contribute(banks[0], 1, 1)
	// The same again is a retry: it changes nothing, before it was counted and after.
	retry := func(known int) {
		t.Helper()
		for role := range up {
			got, err := w.agg[role].Receive(banks[0], up[role][0])
			if err != nil || got.New != 0 || got.Known != known {
				t.Error(got, err)
			}
			wantRefusal(t, w.receive(role, banks[1], up[role][0]), Replayed) // somebody else's
		}
	}
	retry(2)
	w.exchange(10)
	retry(2)
	if _, again := w.exchange(10); again {
		t.Error("a replayed report was proposed")
	}
	w.contribute(banks[1], 1, 0)
	w.exchange(10)
	if got := w.exact(w.closeBatch()); !equal(got, []int64{3}) {
		t.Error(got)
	}
	retry(2) // and in the next batch
	if p := w.progress(Leader); p.Waiting != 0 || p.Batch != 2 {
		t.Error(p)
	}
	// One upload that holds a report twice.
	one := up[Leader][0]
	half := one[headerBytes : headerBytes+(len(one)-headerBytes)/2]
	twice := appendHeader(nil, uploadMessage, w.task.digest(), 0, 2)
	wantRefusal(t, w.receive(Leader, banks[0], append(append(twice, half...), half...)), Replayed)
}

func TestTwoReportsUnderOneNonce(t *testing.T) {
	w := newWorld(t, measures()["histogram"])
	id, public, inputs := w.split(1)
	first, second := w.forge(id, public, inputs), w.forge(id, public, inputs)
	for role := range first {
		if err := w.receive(role, banks[0], first[role]); err != nil {
			t.Fatal(err)
		}
		wantRefusal(t, w.receive(role, banks[0], second[role]), Replayed)
	}
	if w.progress(Leader).Waiting != 1 {
		t.Error("the second was taken")
	}
}

// A helper that is asked for a report that it prepared before doesn't prepare it again: two prep shares of one report
// under different jobs could tell the leader something.
func TestLeaderProposesTwice(t *testing.T) {
	w := newWorld(t, measures()["count"])
	w.contribute(banks[0], 1, 1)
	job, err := w.agg[Leader].Begin(10)
	if err != nil {
		t.Fatal(err)
	}
	first, err := w.agg[Helper].Answer(job)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := w.agg[Helper].Answer(job); err != nil || !bytes.Equal(again, first) {
		t.Error("the same job got another answer", err)
	}
	// The same reports with other prep shares.
	other := bytes.Clone(job)
	other[len(other)-1] ^= 1
	s := w.agg[Helper].scheme
	b, err := w.agg[Helper].Answer(other)
	if err != nil {
		t.Fatal(err)
	}
	as, err := s.readAnswer(w.task, 1, other, b)
	if err != nil || len(as) != 2 || as[0].what != known || as[1].what != known {
		t.Error(as, err)
	}
	// One job that holds a report twice.
	entry := job[headerBytes+jobNumberBytes:][:16+s.size.prep]
	_, err = w.agg[Helper].Answer(bytes.Join([][]byte{appendHeader(nil, jobMessage, w.task.digest(), 1, 2), number(9), entry, entry}, nil))
	wantRefusal(t, err, Replayed)
	if p := w.progress(Helper); p.Counted != 2 || p.Waiting != 0 {
		t.Error(p)
	}
}

// TestLyingHelper: a prep share that isn't the one of its half breaks the proof, so that the leader doesn't count the
// report. The helper itself did, so the batch's sets differ and nobody gets its sum. Which of the two lied can't be
// told.
func TestLyingHelper(t *testing.T) {
	w := newWorld(t, measures()["histogram"])
	w.contribute(banks[0], 1, 100, 5)
	w.contribute(banks[1], 1, 100, 5)
	job, _ := w.agg[Leader].Begin(10)
	answer, err := w.agg[Helper].Answer(job)
	if err != nil {
		t.Fatal(err)
	}
	lie := bytes.Clone(answer)
	lie[headerBytes+32+1]++ // an element of the first report's prep share
	f, err := w.agg[Leader].Finish(lie)
	if err != nil || f.Counted != 5 || f.Refused != 1 {
		t.Fatal(f, err)
	}
	order, err := w.agg[Leader].Close()
	if err != nil {
		t.Fatal(err)
	}
	closed, err := w.agg[Helper].CloseAsOrdered(order)
	if err != nil {
		t.Fatal(err)
	}
	n, err := w.agg[Leader].Closed(closed)
	wantRefusal(t, err, Spoiled)
	for role := range w.agg {
		_, err := w.agg[role].Share(n, w.keys[2].Public())
		wantRefusal(t, err, Spoiled)
		if p := w.progress(role); p.Batch != 2 {
			t.Error("the next batch isn't open", p)
		}
	}
	// The next batch is whole again.
	w.contribute(banks[0], 1, 1)
	w.contribute(banks[1], 1, 1)
	w.exchange(10)
	if got := w.exact(w.closeBatch()); !equal(got, []int64{0, 4, 0, 0}) {
		t.Error(got)
	}
}

// A leader that lies about its prep share makes the helper refuse an honest report; it can't make it count a false one.
func TestLyingLeader(t *testing.T) {
	w := newWorld(t, measures()["histogram"])
	w.contribute(banks[0], 1, 100)
	job, _ := w.agg[Leader].Begin(10)
	job[headerBytes+jobNumberBytes+16]++
	if _, err := w.agg[Helper].Answer(job); err != nil {
		t.Fatal(err)
	}
	if p := w.progress(Helper); p.Counted != 1 || p.Refused != 1 {
		t.Error(p)
	}
	// An element above the field's order is no prep share at all: the job stops, nothing is settled.
	w = newWorld(t, measures()["histogram"])
	w.contribute(banks[0], 1, 100)
	job, _ = w.agg[Leader].Begin(10)
	copy(job[headerBytes+jobNumberBytes+16:], bytes.Repeat([]byte{0xff}, 16))
	_, err := w.agg[Helper].Answer(job)
	wantRefusal(t, err, BadForm)
	if p := w.progress(Helper); p.Counted != 0 || p.Waiting != 2 {
		t.Error(p)
	}
}

// alter opens an aggregate share, changes its total and seals it again, as the aggregator itself could.
func (w *world) alter(role int, n int64, change func(s *scheme, total []byte, c *census) []byte) []byte {
	w.t.Helper()
	b, err := w.agg[role].Share(n, w.keys[2].Public())
	if err != nil {
		w.t.Fatal(err)
	}
	o, err := w.collector.open(b)
	if err != nil {
		w.t.Fatal(err)
	}
	c := o.census
	total := change(w.agg[role].scheme, o.total, &c)
	b, err = w.agg[role].sealShare(w.keys[2].Public(), n, c, total)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// TestLyingAboutTotals says exactly what the collector can tell and what it can't: totals are additive shares, so that
// any shift that stays within what reports can give goes unseen.
func TestLyingAboutTotals(t *testing.T) {
	for name, m := range measures() {
		for role := range 2 {
			w := newWorld(t, m)
			w.contribute(banks[0], 1, 1, 0)
			w.contribute(banks[1], 1, 0, 0)
			w.exchange(10)
			n := w.closeBatch()
			other := w.shares(n)[1-role]
			collect := func(change func(s *scheme, total []byte, c *census) []byte) error {
				_, err := w.collector.Collect(w.alter(role, n, change), other)
				return err
			}
			size := w.agg[0].scheme.size.total / w.task.buckets()
			wantRefusal(t, collect(func(_ *scheme, b []byte, _ *census) []byte { // beyond all sums
				b = bytes.Clone(b)
				b[size-3] ^= 0x20
				return b
			}), BadSum)
			if name == "histogram" {
				wantRefusal(t, collect(func(_ *scheme, b []byte, _ *census) []byte { // one more in a bucket
					return plus(t, b, 0, size, 1)
				}), BadSum)
			}
			wantRefusal(t, collect(func(_ *scheme, b []byte, c *census) []byte { c.count++; return b }), Spoiled)
			wantRefusal(t, collect(func(_ *scheme, b []byte, c *census) []byte { c.set[0]++; return b }), Spoiled)
			wantRefusal(t, collect(func(_ *scheme, b []byte, _ *census) []byte { return b[1:] }), BadShare)
			wantRefusal(t, collect(func(_ *scheme, b []byte, _ *census) []byte { return append(bytes.Clone(b), 0) }), BadShare)
			wantRefusal(t, collect(func(_ *scheme, b []byte, _ *census) []byte { return bytes.Repeat([]byte{0xff}, len(b)) }), BadShare)
			if len(w.spent) != 0 {
				t.Error("a refused result was debited")
			}
			// Not detectable: one report moved, or one more counted.
			shifted := func(_ *scheme, b []byte, _ *census) []byte {
				b = plus(t, b, 0, size, 1)
				if name == "histogram" {
					b = plus(t, b, 1, size, -1)
				}
				return b
			}
			if err := collect(shifted); err != nil {
				t.Errorf("%s: told apart after all: %v; then say so in the doc", name, err)
			}
		}
	}
}

// plus adds to an element of an encoded total whose low 8 bytes don't carry.
func plus(t *testing.T, b []byte, element, size, by int) []byte {
	t.Helper()
	b = bytes.Clone(b)
	for i := element * size; ; i++ {
		if i == element*size+8 {
			t.Skip("carries")
		}
		old := b[i]
		b[i] += byte(by)
		if by > 0 && b[i] != 0 || by < 0 && old != 0 {
			return b
		}
	}
}

func TestSharesThatDontBelongTogether(t *testing.T) {
	w := newWorld(t, measures()["count"])
	batch := func() [2][]byte {
		w.contribute(banks[0], 1, 1)
		w.contribute(banks[1], 1, 1)
		w.exchange(10)
		return w.shares(w.closeBatch())
	}
	one, two := batch(), batch()
	collect := func(a, b []byte) error { _, err := w.collector.Collect(a, b); return err }
	wantRefusal(t, collect(one[0], one[0]), BadShare)
	wantRefusal(t, collect(one[0], two[1]), BadShare)
	for i := range one[0] { // header, role, census, enc, ciphertext: all of it is bound
		bad := bytes.Clone(one[0])
		bad[i] ^= 1
		if err := collect(bad, one[1]); err == nil {
			t.Errorf("byte %d is not bound", i)
		}
	}
	for n := range one[0] {
		if err := collect(one[0][:n], one[1]); err == nil {
			t.Errorf("took %d bytes", n)
		}
	}
	stranger := &Collector{Task: w.task, Key: w.keys[0], Store: newMemory(t), Debit: w.collector.Debit}
	_, err := stranger.Collect(one[0], one[1])
	wantRefusal(t, err, BadShare)
	if err := collect(one[0], one[1]); err != nil {
		t.Fatal(err)
	}
	// The batch's result is out: another sum for it is not.
	_, err = w.collector.Collect(w.alter(0, 1, func(_ *scheme, b []byte, _ *census) []byte { return plus(t, b, 0, 8, -1) }), one[1])
	wantRefusal(t, err, WasCollected)
}

// Below the minimum nothing is released, by either aggregator alone, nor by a collector that two of them would help.
func TestBatchBelowMinimum(t *testing.T) {
	w := newWorld(t, measures()["count"])
	w.contribute(banks[0], 1, 1)
	w.contribute(banks[1], 1)
	w.exchange(10)
	_, err := w.agg[Leader].Close()
	wantRefusal(t, err, SmallBatch)
	_, err = w.agg[Leader].Share(1, w.keys[2].Public())
	wantRefusal(t, err, SmallBatch)
	// A leader that closes all the same.
	forged := appendHeader(nil, closeMessage, w.task.digest(), 1, 0)
	var c census
	w.stores[Helper].View(func(tx Tx) error { c, _, err = takeCensus(tx, 1); return err })
	_, err = w.agg[Helper].CloseAsOrdered(appendCensus(forged, c))
	wantRefusal(t, err, SmallBatch)
	_, err = w.agg[Helper].Share(1, w.keys[2].Public())
	wantRefusal(t, err, SmallBatch)
	// Both.
	var s [2][]byte
	for role := range s {
		if s[role], err = w.agg[role].sealShare(w.keys[2].Public(), 1, census{3, [32]byte{}}, mustTotal(t, w.agg[role])); err != nil {
			t.Fatal(err)
		}
	}
	_, err = w.collector.Collect(s[0], s[1])
	wantRefusal(t, err, SmallBatch)

	// Enough reports, of one bank only.
	w = newWorld(t, measures()["count"])
	w.contribute(banks[0], 1, 1, 1, 1, 1, 1)
	w.exchange(10)
	_, err = w.agg[Leader].Close()
	wantRefusal(t, err, SmallBatch)
}

func mustTotal(t *testing.T, a *Aggregator) []byte {
	t.Helper()
	sum, err := a.scheme.total(nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := sum.bytes()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Batches are disjoint: what comes after a batch was closed is in the next, so that no two results differ by few reports.
func TestBatchesAreFixed(t *testing.T) {
	w := newWorld(t, measures()["count"])
	w.contribute(banks[0], 1, 1)
	w.contribute(banks[1], 1, 1)
	w.exchange(10)
	order, err := w.agg[Leader].Close()
	if err != nil {
		t.Fatal(err)
	}
	w.contribute(banks[2], 1)
	_, err = w.agg[Leader].Begin(10)
	wantRefusal(t, err, BadOrder) // until the helper has closed too
	if again, err := w.agg[Leader].Close(); err != nil || !bytes.Equal(again, order) {
		t.Error("another order", err)
	}
	answer, err := w.agg[Helper].CloseAsOrdered(order)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := w.agg[Helper].CloseAsOrdered(order); err != nil || !bytes.Equal(again, answer) {
		t.Error("another answer", err)
	}
	other := bytes.Clone(order)
	other[len(other)-1]++
	_, err = w.agg[Helper].CloseAsOrdered(other)
	wantRefusal(t, err, BadOrder)
	if n, err := w.agg[Leader].Closed(answer); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	_, err = w.agg[Leader].Closed(answer)
	wantRefusal(t, err, BadOrder)
	w.exchange(10)
	if p := w.progress(Leader); p.Batch != 2 || p.Counted != 1 {
		t.Error(p)
	}
	_, err = w.agg[Leader].Close()
	wantRefusal(t, err, SmallBatch) // no second batch of the first plus one
	if a, b := w.exact(1), w.exact(1); !equal(a, []int64{4}) || !equal(b, a) {
		t.Error("a closed batch changed", a, b)
	}
	// A job for the closed batch.
	id, _, _ := w.split(1)
	job := bytes.Join([][]byte{appendHeader(nil, jobMessage, w.task.digest(), 1, 1), number(9), id[:], make([]byte, w.agg[0].scheme.size.prep)}, nil)
	_, err = w.agg[Helper].Answer(job)
	wantRefusal(t, err, BadOrder)
}
