package stats

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/privacy/envelope"
)

// memory is a Store that keeps its contract and fails whoever breaks theirs: what a transaction gave is overwritten when
// it ends, and a scan must not write.
type memory struct {
	t       testing.TB
	mu      sync.Mutex
	records map[string]string
	// lose makes the next Update answer an error: before it was done, or "after", when it is durable all the same.
	lose string
}

func newMemory(t testing.TB) *memory { return &memory{t: t, records: map[string]string{}} }

var errLost = errors.New("disk failed")

type memoryTx struct {
	t        testing.TB
	records  map[string]string
	write    bool
	scanning bool
	given    [][]byte
}

func (m *memory) run(write bool, fn func(Tx) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	x := &memoryTx{t: m.t, records: m.records, write: write}
	if write {
		x.records = maps.Clone(m.records)
	}
	err := fn(x)
	for _, b := range x.given {
		for i := range b {
			b[i] = 0xdb
		}
	}
	lose := ""
	if write {
		lose, m.lose = m.lose, ""
	}
	if err == nil && lose != "before" {
		m.records = x.records
	}
	if err == nil && lose != "" {
		err = errLost
	}
	return err
}

func (m *memory) Update(fn func(Tx) error) error { return m.run(true, fn) }
func (m *memory) View(fn func(Tx) error) error   { return m.run(false, fn) }

func (x *memoryTx) give(s string) []byte {
	b := []byte(s)
	x.given = append(x.given, b)
	return b
}

func (x *memoryTx) Get(key []byte) []byte {
	v, ok := x.records[string(key)]
	if !ok {
		return nil
	}
	return x.give(v)
}

func (x *memoryTx) may() {
	if !x.write || x.scanning {
		x.t.Error("wrote in a view or a scan")
	}
}

func (x *memoryTx) Put(key, value []byte) error {
	x.may()
	x.records[string(key)] = string(value)
	return nil
}

func (x *memoryTx) Delete(key []byte) error {
	x.may()
	delete(x.records, string(key))
	return nil
}

func (x *memoryTx) Scan(prefix []byte, fn func(k, v []byte) bool) error {
	x.scanning = true
	defer func() { x.scanning = false }()
	for _, k := range slices.Sorted(maps.Keys(x.records)) {
		if bytes.HasPrefix([]byte(k), prefix) && !fn(x.give(k), x.give(x.records[k])) {
			break
		}
	}
	return nil
}

func id(n int) contracts.ID { return contracts.ID(fmt.Sprintf("%032x", n)) }

var banks = []contracts.ID{id(1), id(2), id(3)}

// world is a task with its two aggregators and its collector.
type world struct {
	t         testing.TB
	task      *Task
	keys      [3]*envelope.Key
	verify    [32]byte
	stores    [2]*memory
	agg       [2]*Aggregator
	collector *Collector
	spent     map[int64]int64 // by batch
	budget    int64
}

func measures() map[string]contracts.Measure {
	return map[string]contracts.Measure{"count": {Kind: "count"}, "sum": {Kind: "sum", Max: 1000}, "histogram": {Kind: "histogram", Buckets: []int64{1, 100, 10_000}}}
}

func newWorld(t testing.TB, m contracts.Measure, change ...func(*Task)) *world {
	t.Helper()
	w := &world{t: t, verify: [32]byte{9}, spent: map[int64]int64{}, budget: 10_000_000}
	for i := range w.keys {
		w.keys[i] = envelope.NewKey([32]byte{byte(i), 77})
	}
	w.task = &Task{ID: id(100), Measure: m, MinBatch: 4, EpsilonMicro: 1_000_000, Collector: id(30), Aggregators: [2]contracts.ID{id(10), id(20)}}
	for _, c := range change {
		c(w.task)
	}
	for i := range w.agg {
		w.stores[i] = newMemory(t)
		w.restart(i)
	}
	w.collector = &Collector{Task: w.task, Key: w.keys[2], Store: newMemory(t), Debit: func(b, e int64) error {
		if _, ok := w.spent[b]; ok {
			return nil
		}
		if w.budget < e {
			return &contracts.Refusal{Code: "budget.spent", Detail: "spent"}
		}
		w.budget -= e
		w.spent[b] = e
		return nil
	}}
	return w
}

// restart opens an aggregator anew on what its store holds.
func (w *world) restart(role int) {
	w.t.Helper()
	var err error
	if w.agg[role], err = OpenAggregator(w.task, role, w.verify, w.keys[role], w.stores[role]); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) publics() [2]contracts.PublicKey {
	return [2]contracts.PublicKey{w.keys[0].Public(), w.keys[1].Public()}
}

func (w *world) uploads(values ...int64) [2][][]byte {
	w.t.Helper()
	up, err := Uploads(w.task, w.publics(), values)
	if err != nil {
		w.t.Fatal(err)
	}
	return up
}

// contribute brings a bank's values to both aggregators.
func (w *world) contribute(bank contracts.ID, values ...int64) [2][][]byte {
	w.t.Helper()
	up := w.uploads(values...)
	for role := range up {
		for _, b := range up[role] {
			if _, err := w.agg[role].Receive(bank, b); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	return up
}

// exchange runs one job, or says that none was there.
func (w *world) exchange(most int) (Finished, bool) {
	w.t.Helper()
	job, err := w.agg[Leader].Begin(most)
	if err != nil {
		w.t.Fatal(err)
	}
	if job == nil {
		return Finished{}, false
	}
	a, err := w.agg[Helper].Answer(job)
	if err != nil {
		w.t.Fatal(err)
	}
	f, err := w.agg[Leader].Finish(a)
	if err != nil {
		w.t.Fatal(err)
	}
	return f, true
}

func (w *world) closeBatch() int64 {
	w.t.Helper()
	order, err := w.agg[Leader].Close()
	if err != nil {
		w.t.Fatal(err)
	}
	a, err := w.agg[Helper].CloseAsOrdered(order)
	if err != nil {
		w.t.Fatal(err)
	}
	n, err := w.agg[Leader].Closed(a)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w *world) shares(n int64) (s [2][]byte) {
	w.t.Helper()
	for i := range s {
		var err error
		if s[i], err = w.agg[i].Share(n, w.keys[2].Public()); err != nil {
			w.t.Fatal(err)
		}
	}
	return s
}

// exact opens a batch's sums before noise, as a dishonest collector could.
func (w *world) exact(n int64) []int64 {
	w.t.Helper()
	var totals [2][]byte
	var count int64
	for i, b := range w.shares(n) {
		o, err := w.collector.open(b)
		if err != nil {
			w.t.Fatal(err)
		}
		totals[i], count = o.total, o.count
	}
	sums, err := w.collector.sums(totals, count)
	if err != nil {
		w.t.Fatal(err)
	}
	return sums
}

func (w *world) progress(role int) Progress {
	w.t.Helper()
	p, err := w.agg[role].Progress()
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func wantRefusal(t testing.TB, err error, code contracts.Code) {
	t.Helper()
	var r *contracts.Refusal
	if !errors.As(err, &r) || r.Code != code {
		t.Errorf("want %s, got %v", code, err)
	}
}
