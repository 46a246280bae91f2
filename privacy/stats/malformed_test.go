package stats

import (
	"bytes"
	"errors"
	"testing"

	"github.com/bund-exchange/bund/contracts"
)

func TestWrongTask(t *testing.T) {
	w := newWorld(t, measures()["count"])
	for name, change := range map[string]func(*Task){
		"id": func(t *Task) { t.ID = id(101) }, "epsilon": func(t *Task) { t.EpsilonMicro++ }, "minimum": func(t *Task) { t.MinBatch++ },
		"measure": func(t *Task) { t.Measure = contracts.Measure{Kind: "sum", Max: 1} }, "collector": func(t *Task) { t.Collector = id(31) },
	} {
		other := newWorld(t, measures()["count"], change)
		up := other.uploads(1, 1)
		for role := range up {
			wantRefusal(t, w.receive(role, banks[0], up[role][0]), BadTask)
			// Made to look like ours: the shares are sealed for the other.
			lie := append(appendHeader(nil, uploadMessage, w.task.digest(), 0, 2), up[role][0][headerBytes:]...)
			if err := w.receive(role, banks[0], lie); err == nil {
				t.Errorf("%s: took another task's reports", name)
			}
		}
		other.contribute(banks[0], 1, 1, 1)
		other.contribute(banks[1], 1, 1, 1)
		job, _ := other.agg[Leader].Begin(10)
		_, err := w.agg[Helper].Answer(job)
		wantRefusal(t, err, BadTask)
		other.exchange(10)
		order, _ := other.agg[Leader].Close()
		_, err = w.agg[Helper].CloseAsOrdered(order)
		wantRefusal(t, err, BadTask)
		s := other.shares(other.closeBatch())
		_, err = w.collector.Collect(s[0], s[1])
		wantRefusal(t, err, BadTask)
	}
	// Opened for one task, a share is none of another's even before anything is sealed: Prio3's context differs.
	a, _ := newScheme(w.task)
	other := *w.task
	other.ID = id(101)
	b, _ := newScheme(&other)
	rid, public, inputs := w.split(1)
	n := nonce(rid)
	verify := verifyKey(w.verify)
	l, _ := a.begin(&verify, &n, Leader, public, inputs[Leader])
	h, _ := b.begin(&verify, &n, Helper, public, inputs[Helper])
	_, err := l.finish(h.own)
	wantRefusal(t, err, BadShare)
}

// Each aggregator opens its own half only, and takes it from nobody else's message.
func TestHalves(t *testing.T) {
	w := newWorld(t, measures()["count"])
	up := w.uploads(1)
	if err := w.receive(Leader, banks[0], up[Helper][0]); err == nil {
		t.Error("the leader took the helper's half")
	}
	id, public, inputs := w.split(1)
	w.keys[0], w.keys[1] = w.keys[1], w.keys[0]
	f := w.forge(id, public, inputs) // to the right role, sealed to the other's key
	wantRefusal(t, w.receive(Leader, banks[0], f[Leader]), BadShare)
	wantRefusal(t, w.receive(Helper, banks[0], f[Helper]), BadShare)
}

func TestMalformedUploads(t *testing.T) {
	w := newWorld(t, measures()["histogram"])
	up := w.uploads(1, 2)[Leader][0]
	for n := range up {
		if err := w.receive(Leader, banks[0], up[:n]); err == nil {
			t.Fatalf("took %d bytes", n)
		}
	}
	for i := range up {
		bad := bytes.Clone(up)
		bad[i] ^= 1
		if err := w.receive(Leader, banks[0], bad); err == nil {
			t.Fatalf("byte %d is not bound", i)
		}
	}
	if err := w.receive(Leader, banks[0], append(bytes.Clone(up), 0)); err == nil {
		t.Error("took a byte more")
	}
	wantRefusal(t, w.receive(Leader, banks[0], appendHeader(nil, uploadMessage, w.task.digest(), 0, 0)), BadForm)
	wantRefusal(t, w.receive(Leader, "nobody", up), BadForm)
	if p := w.progress(Leader); p.Waiting != 0 {
		t.Error("an upload was taken in part", p)
	}
	// A share of the right size that is none: its elements are above the field's order.
	id, public, inputs := w.split(1)
	copy(inputs[Leader], bytes.Repeat([]byte{0xff}, 32))
	f := w.forge(id, public, inputs)
	for role := range f {
		if err := w.receive(role, banks[0], f[role]); err != nil {
			t.Fatal(err)
		}
	}
	if job, err := w.agg[Leader].Begin(10); err != nil || job != nil {
		t.Error("proposed a share that is none", err)
	}
	if p := w.progress(Leader); p.Refused != 1 || p.Waiting != 0 {
		t.Error(p)
	}
	// And one of another size.
	id, public, inputs = w.split(1)
	inputs[Leader] = inputs[Leader][1:]
	wantRefusal(t, w.receive(Leader, banks[0], w.forge(id, public, inputs)[Leader]), BadForm)
}

func TestMalformedAnswers(t *testing.T) {
	w := newWorld(t, measures()["count"])
	w.contribute(banks[0], 1, 1)
	_, err := w.agg[Leader].Finish(nil)
	wantRefusal(t, err, BadOrder)
	job, _ := w.agg[Leader].Begin(1)
	answer, err := w.agg[Helper].Answer(job)
	if err != nil {
		t.Fatal(err)
	}
	for n := range answer {
		if _, err := w.agg[Leader].Finish(answer[:n]); err == nil {
			t.Fatalf("took %d bytes", n)
		}
	}
	_, err = w.agg[Leader].Finish(append(bytes.Clone(answer), 0))
	wantRefusal(t, err, BadForm)
	bad := bytes.Clone(answer)
	bad[headerBytes] ^= 1
	_, err = w.agg[Leader].Finish(bad)
	wantRefusal(t, err, BadOrder) // of another job
	bad = bytes.Clone(answer)
	bad[headerBytes+32] = 9
	_, err = w.agg[Leader].Finish(bad)
	wantRefusal(t, err, BadForm)
	d := appendAnswer(w.task.digest(), 1, job, nil)
	_, err = w.agg[Leader].Finish(d)
	wantRefusal(t, err, BadForm) // to none of its reports
	if _, err := w.agg[Leader].Finish(answer); err != nil {
		t.Error("the honest answer was lost", err)
	}
}

func TestTurns(t *testing.T) {
	w := newWorld(t, measures()["count"])
	_, err := w.agg[Helper].Begin(1)
	wantRefusal(t, err, BadOrder)
	_, err = w.agg[Leader].Answer(nil)
	wantRefusal(t, err, BadOrder)
	_, err = w.agg[Helper].Finish(nil)
	wantRefusal(t, err, BadOrder)
	_, err = w.agg[Helper].Close()
	wantRefusal(t, err, BadOrder)
	_, err = w.agg[Leader].CloseAsOrdered(nil)
	wantRefusal(t, err, BadOrder)
	_, err = w.agg[Helper].Closed(nil)
	wantRefusal(t, err, BadOrder)
	w.contribute(banks[0], 1, 1)
	w.contribute(banks[1], 1, 1)
	w.exchange(10)
	w.contribute(banks[0], 1, 1)
	if _, err := w.agg[Leader].Begin(10); err != nil {
		t.Fatal(err)
	}
	_, err = w.agg[Leader].Close()
	wantRefusal(t, err, BadOrder) // a job is out
}

// A report whose half came to one aggregator only waits and counts nowhere, and counts once the other half is there.
func TestHalfAReport(t *testing.T) {
	w := newWorld(t, measures()["count"])
	w.contribute(banks[0], 1, 1)
	up := w.uploads(1, 1)
	if err := w.receive(Leader, banks[1], up[Leader][0]); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		w.exchange(10)
	}
	if p := w.progress(Leader); p.Counted != 2 || p.Waiting != 2 {
		t.Error(p)
	}
	if err := w.receive(Helper, banks[1], up[Helper][0]); err != nil {
		t.Fatal(err)
	}
	if f, _ := w.exchange(10); f.Counted != 2 {
		t.Error(f)
	}
	if got := w.exact(w.closeBatch()); !equal(got, []int64{4}) {
		t.Error(got)
	}
}

// TestFailingStores makes each step's store fail, before and after the step was durable, and goes on as a node would:
// the same message again, or what the store then holds. Every report counts exactly once.
func TestFailingStores(t *testing.T) {
	for _, lose := range []string{"before", "after"} {
		for _, restart := range []bool{false, true} {
			w := newWorld(t, measures()["histogram"])
			again := func(role int, step func() error) {
				t.Helper()
				w.stores[role].lose = lose
				if err := step(); !errors.Is(err, errLost) {
					t.Fatal(err)
				}
				if restart {
					w.restart(0)
					w.restart(1)
				}
			}
			up := [2][2][][]byte{w.uploads(1, 100, 5), w.uploads(0, 1)}
			for i := range up {
				for role := range 2 {
					again(role, func() error { return w.receive(role, banks[i], up[i][role][0]) })
					if err := w.receive(role, banks[i], up[i][role][0]); err != nil {
						t.Fatal(err)
					}
				}
			}
			again(Leader, func() error { _, err := w.agg[Leader].Begin(10); return err })
			job, err := w.agg[Leader].Begin(10)
			if err != nil {
				t.Fatal(err)
			}
			again(Helper, func() error { _, err := w.agg[Helper].Answer(job); return err })
			answer, err := w.agg[Helper].Answer(job)
			if err != nil {
				t.Fatal(err)
			}
			again(Leader, func() error { _, err := w.agg[Leader].Finish(answer); return err })
			if _, err = w.agg[Leader].Finish(answer); lose == "before" && err != nil {
				t.Fatal(err)
			} else if lose == "after" {
				wantRefusal(t, err, BadOrder) // it was finished
			}
			again(Leader, func() error { _, err := w.agg[Leader].Close(); return err })
			order, err := w.agg[Leader].Close()
			if err != nil {
				t.Fatal(err)
			}
			again(Helper, func() error { _, err := w.agg[Helper].CloseAsOrdered(order); return err })
			closed, err := w.agg[Helper].CloseAsOrdered(order)
			if err != nil {
				t.Fatal(err)
			}
			again(Leader, func() error { _, err := w.agg[Leader].Closed(closed); return err })
			if _, err = w.agg[Leader].Closed(closed); lose == "before" && err != nil {
				t.Fatal(err)
			}
			if got := w.exact(1); !equal(got, []int64{1, 3, 1, 0}) {
				t.Error(got)
			}
		}
	}
}
