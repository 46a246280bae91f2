package stats

import (
	"bytes"
	"testing"

	"github.com/bund-exchange/bund/privacy/envelope"
)

// flip gives b with byte at changed by x, or cut or extended there, so that small inputs reach all of a message.
func flip(b []byte, at uint16, x byte, how uint8) []byte {
	b = bytes.Clone(b)
	i := int(at) % len(b)
	switch how % 4 {
	case 0:
		b[i] ^= x
	case 1:
		return b[:i]
	case 2:
		return append(b, x)
	default:
		return append(append(bytes.Clone(b[:i]), x), b[i:]...)
	}
	return b
}

// FuzzReceive: only the contributor's bytes are taken, and then whole.
func FuzzReceive(f *testing.F) {
	w := newWorld(f, measures()["histogram"])
	up := w.uploads(1, 2)
	f.Add([]byte{}, uint16(0), byte(1), uint8(0), true)
	f.Add(up[Helper][0], uint16(70), byte(1), uint8(0), false)
	f.Add(appendHeader(nil, uploadMessage, w.task.digest(), 0, 1), uint16(0), byte(0), uint8(0), false)
	f.Fuzz(func(t *testing.T, b []byte, at uint16, x byte, how uint8, ours bool) {
		w := newWorld(t, measures()["histogram"])
		if ours {
			b = flip(up[Helper][0], at, x, how)
		}
		got, err := w.agg[Helper].Receive(banks[0], b)
		if (err == nil) != bytes.Equal(b, up[Helper][0]) && ours {
			t.Errorf("%d bytes: %+v, %v", len(b), got, err)
		}
		if err == nil && got.New != 2 && ours || err != nil && got != (Received{}) {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// FuzzJob: whatever a leader sends, the helper counts a report once at most, and only its honest job counts both.
func FuzzJob(f *testing.F) {
	f.Add([]byte{}, uint16(0), byte(0), uint8(0), true)
	f.Add([]byte{}, uint16(90), byte(4), uint8(0), true)
	f.Add([]byte("bund/stats/v1\x02"), uint16(0), byte(0), uint8(0), false)
	f.Fuzz(func(t *testing.T, b []byte, at uint16, x byte, how uint8, ours bool) {
		w := newWorld(t, measures()["count"])
		w.contribute(banks[0], 1, 0)
		job, err := w.agg[Leader].Begin(10)
		if err != nil {
			t.Fatal(err)
		}
		if ours {
			b = flip(job, at, x, how)
		}
		_, err = w.agg[Helper].Answer(b)
		p := w.progress(Helper)
		if p.Counted+p.Refused+p.Waiting != 2 || err != nil && p.Waiting != 2 {
			t.Errorf("%+v after %v", p, err)
		}
		again, err := w.agg[Helper].Answer(job)
		if p := w.progress(Helper); err != nil || again == nil || p.Counted+p.Refused != 2 {
			t.Errorf("the honest job afterwards: %+v, %v", p, err)
		}
	})
}

// FuzzAnswer: whatever a helper answers, the leader counts a report once at most.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte{}, uint16(0), byte(0), uint8(0), true)
	f.Add([]byte{}, uint16(91), byte(4), uint8(0), true)
	f.Fuzz(func(t *testing.T, b []byte, at uint16, x byte, how uint8, ours bool) {
		w := newWorld(t, measures()["count"])
		w.contribute(banks[0], 1, 0)
		job, _ := w.agg[Leader].Begin(10)
		answer, err := w.agg[Helper].Answer(job)
		if err != nil {
			t.Fatal(err)
		}
		if ours {
			b = flip(answer, at, x, how)
		}
		got, err := w.agg[Leader].Finish(b)
		p := w.progress(Leader)
		if err == nil && got.Counted+got.Refused+got.Missing != 2 || p.Counted+p.Refused+p.Waiting != 2 || err != nil && p.Waiting != 2 {
			t.Errorf("%+v %+v after %v", got, p, err)
		}
	})
}

// FuzzClosing: orders and answers to them are taken in their one form.
func FuzzClosing(f *testing.F) {
	f.Add([]byte{}, uint16(0), byte(0), uint8(0), true)
	f.Add([]byte{}, uint16(66), byte(1), uint8(0), false)
	f.Fuzz(func(t *testing.T, b []byte, at uint16, x byte, how uint8, toHelper bool) {
		w := newWorld(t, measures()["count"])
		w.contribute(banks[0], 1, 0)
		w.contribute(banks[1], 1, 0)
		w.exchange(10)
		order, err := w.agg[Leader].Close()
		if err != nil {
			t.Fatal(err)
		}
		if len(b) == 0 {
			b = flip(order, at, x, how)
		}
		if toHelper {
			if _, err := w.agg[Helper].CloseAsOrdered(b); err == nil && len(b) != len(order) {
				t.Error("took another form")
			}
			if _, err := w.agg[Helper].Share(1, w.keys[2].Public()); err == nil && !bytes.Equal(b, order) {
				t.Error("gave its share on another order")
			}
			return
		}
		answer, err := w.agg[Helper].CloseAsOrdered(order)
		if err != nil {
			t.Fatal(err)
		}
		b = flip(answer, at, x, how)
		w.agg[Leader].Closed(b)
		if _, err := w.agg[Leader].Share(1, w.keys[2].Public()); err == nil && !bytes.Equal(b, answer) {
			t.Error("gave its share on another answer")
		}
	})
}

// FuzzShare: only the aggregators' bytes are collected.
func FuzzShare(f *testing.F) {
	w := newWorld(f, measures()["count"])
	w.contribute(banks[0], 1, 0)
	w.contribute(banks[1], 1, 0)
	w.exchange(10)
	s := w.shares(w.closeBatch())
	f.Add([]byte{}, uint16(0), byte(0), uint8(0))
	f.Add(s[0], uint16(0), byte(0), uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, at uint16, x byte, how uint8) {
		c := &Collector{Task: w.task, Key: envelope.NewKey([32]byte{2, 77}), Store: newMemory(t), Debit: func(int64, int64) error { return nil }}
		if len(b) == 0 {
			b = flip(s[Leader], at, x, how)
		}
		if _, err := c.Collect(b, s[Helper]); err == nil && !bytes.Equal(b, s[Leader]) {
			// Another process's share of the same task opens too; what it holds is then another honest total.
			if o, err := c.open(b); err != nil || o.role != Leader {
				t.Errorf("collected %d bytes", len(b))
			}
		}
	})
}

// FuzzResult: what decodes is what encodes.
func FuzzResult(f *testing.F) {
	f.Add(EncodeResult(Result{Batch: 1, EpsilonMicro: 2, Reports: 3, Values: []int64{-4, 5}}))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := DecodeResult(b); err == nil && !bytes.Equal(EncodeResult(r), b) {
			t.Errorf("%s", b)
		}
	})
}
