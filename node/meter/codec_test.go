package meter

import (
	"bytes"
	"context"
	"encoding/hex"
	"testing"

	"github.com/transparency-dev/merkle/rfc6962"
	"pgregory.net/rapid"

	"github.com/bund-exchange/bund/contracts"
)

func sampleLeaves() []Leaf {
	at := contracts.Millis(1_700_000_000_000)
	call := Leaf{Agreement: [16]byte{1}, Epoch: 1, Seq: 7, Time: at, Op: OpCall, Outcome: Found, Units: 1, AsOf: at, KnownAt: at, Request: RequestID{2, 31: 3},
		Snapshot: Digest{4}, RequestDigest: Digest{5}, AnswerDigest: Digest{6}, Totals: contracts.Totals{Calls: 8, Units: 9, Micro: 10}, Fence: 11}
	return []Leaf{call,
		{Epoch: 2, Seq: 8, Time: at, Op: OpVoid, Units: -1, Ref: 7, Request: RequestID{1}, Fence: 1},
		{Epoch: 2, Seq: 9, Time: at, Op: OpClose, Ref: 4711, Request: RequestID{1}},
	}
}

func TestLeafIsStrict(t *testing.T) {
	for i, l := range sampleLeaves() {
		b := l.Encode()
		got, err := DecodeLeaf(b)
		if err != nil || got != l || len(b) != LeafSize {
			t.Fatalf("%d: %v", i, err)
		}
	}
	for name, change := range map[string]func(l *Leaf){
		"epoch 0":            func(l *Leaf) { l.Epoch = 0 },
		"negative place":     func(l *Leaf) { l.Seq = -1 },
		"no time":            func(l *Leaf) { l.Time = 0 },
		"time of no epoch":   func(l *Leaf) { l.Time = 5 },
		"asOf out of range":  func(l *Leaf) { l.AsOf = -1 },
		"knownAt":            func(l *Leaf) { l.KnownAt = 1 << 60 },
		"no op":              func(l *Leaf) { l.Op = 0 },
		"unknown op":         func(l *Leaf) { l.Op = 4 },
		"no outcome":         func(l *Leaf) { l.Outcome = 0 },
		"unknown outcome":    func(l *Leaf) { l.Outcome = 7 },
		"negative units":     func(l *Leaf) { l.Units = -1 },
		"units of a call":    func(l *Leaf) { l.Ref = MaxUnits },
		"negative totals":    func(l *Leaf) { l.Totals.Units = -1 },
		"negative fence":     func(l *Leaf) { l.Fence = -1 },
		"outcome of a void":  func(l *Leaf) { l.Op, l.Units = OpVoid, 0 },
		"void of what comes": func(l *Leaf) { *l = sampleLeaves()[1]; l.Ref = 8 },
		"void that bills":    func(l *Leaf) { *l = sampleLeaves()[1]; l.Units = 1 },
		"void with a digest": func(l *Leaf) { *l = sampleLeaves()[1]; l.AnswerDigest[0] = 1 },
		"void with a tag":    func(l *Leaf) { *l = sampleLeaves()[1]; l.Request[31] = 1 },
		"close that bills":   func(l *Leaf) { *l = sampleLeaves()[2]; l.Units = 1 },
		"close of nothing":   func(l *Leaf) { *l = sampleLeaves()[2]; l.Ref = 0 },
	} {
		l := sampleLeaves()[0]
		change(&l)
		if _, err := DecodeLeaf(l.Encode()); err == nil {
			t.Errorf("%s was decoded", name)
		}
	}
	b := (&Leaf{}).Encode()
	for _, bad := range [][]byte{nil, b[:LeafSize-1], append(bytes.Clone(b), 0), append([]byte{'s'}, b[1:]...), append([]byte{'r', 2}, b[2:]...)} {
		if _, err := DecodeLeaf(bad); err == nil {
			t.Errorf("%d bytes were decoded", len(bad))
		}
	}
}

func FuzzDecodeLeaf(f *testing.F) {
	for _, l := range sampleLeaves() {
		f.Add(l.Encode())
	}
	f.Add(make([]byte, LeafSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := DecodeLeaf(b)
		if err == nil && !bytes.Equal(l.Encode(), b) {
			t.Fatal("two encodings of one leaf")
		}
	})
}

func FuzzDecodeSigned(f *testing.F) {
	s := Signed{Statement: contracts.Statement{Agreement: "000102030405060708090a0b0c0d0e0f", Epoch: 1, Size: 2, Root: contracts.HashOf("x"), Totals: contracts.Totals{Calls: 1}}}
	f.Add(s.Encode())
	f.Add(make([]byte, SignedSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeSigned(b)
		if err == nil && !bytes.Equal(s.Encode(), b) {
			t.Fatal("two encodings of one statement")
		}
	})
}

func FuzzParseReceipt(f *testing.F) {
	l := sampleLeaves()[0]
	f.Add(Receipt{Leaf: l.Encode(), Head: make([]byte, SignedSize)}.String())
	f.Add("AAAA\nAAAA")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseReceipt(s)
		if err == nil && r.String() != s {
			t.Fatal("two encodings of one receipt")
		}
	})
}

func FuzzParseRequestID(f *testing.F) {
	f.Add(RequestID{1, 31: 2}.String())
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRequestID(s)
		if err == nil && r.String() != s {
			t.Fatal("two encodings of one request id")
		}
	})
}

func FuzzReadRefusal(f *testing.F) {
	f.Add([]byte(`{"type":"/docs/reference/refusals#X","title":"refused","status":409,"code":"X","size":"3"}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) { readRefusal(b) })
}

// FuzzRecover feeds frames whose checksum holds to the reader of records.
func FuzzRecover(f *testing.F) {
	var w frameWriter
	w.reset()
	l := sampleLeaves()[0]
	w.leaf(l.Encode(), []byte("sealed"))
	st := &logState{agreement: l.Agreement, epoch: 2, rng: ranges.NewEmptyRange(0), periods: []period{{close: 3}}}
	st.periods[0].ack.Epoch = 1
	st.periods[0].ack.Agreement, st.periods[0].ack.Root = "01000000000000000000000000000000", contracts.HashOf("x")
	w.state(st)
	r := ranges.NewEmptyRange(0)
	extendRange(r, make([]byte, 32))
	a := &ackRecord{ack: st.periods[0].ack, rng: r}
	a.ack.Size = 1
	w.ack(a)
	f.Add(w.buf[frameHeader:])
	f.Fuzz(func(t *testing.T, records []byte) {
		var w frameWriter
		w.reset()
		w.buf = append(w.buf, records...)
		n, frame := readFrame(w.seal(5))
		if n != 5 || len(frame) != frameHeader+len(records) {
			t.Fatal("a sealed frame isn't read")
		}
		logs := map[[16]byte]*recovered{}
		readRecords(frame, func(kind byte, body []byte, at int) error { return recoverRecord(logs, nil, kind, body, int64(at)) })
		for _, r := range logs {
			if r.state == nil {
				continue
			}
			again, err := readLogState(r.state.append(nil))
			if err != nil || !bytes.Equal(again.append(nil), r.state.append(nil)) {
				t.Fatal("a state that was read isn't written alike")
			}
		}
	})
}

// The tree is that of RFC 6962, and a proof proves its leaf only.
func TestInclusionProofs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(1, 70).Draw(t, "size")
		seq := rapid.Int64Range(0, size-1).Draw(t, "seq")
		leaves := make([][]byte, size)
		for i := range leaves {
			l := sampleLeaves()[0]
			l.Seq = int64(i)
			leaves[i] = l.Encode()
		}
		path, root, err := prove(seq, size, func(q int64) ([]byte, error) { return leaves[q], nil })
		if err != nil {
			t.Fatal(err)
		}
		if want := rfcRoot(leaves); root != want {
			t.Fatalf("root %s, want %s", root, want)
		}
		for q := range size {
			if err := verifyInclusion(leaves[q], seq, size, path, root); (err == nil) != (q == seq) {
				t.Fatalf("leaf %d at %d: %v", q, seq, err)
			}
		}
	})
}

// rfcRoot is the definition, by recursion.
func rfcRoot(leaves [][]byte) contracts.Hash {
	var root func(ls [][]byte) []byte
	root = func(ls [][]byte) []byte {
		if len(ls) == 1 {
			return rfc6962.DefaultHasher.HashLeaf(ls[0])
		}
		k := 1
		for 2*k < len(ls) {
			k *= 2
		}
		return rfc6962.DefaultHasher.HashChildren(root(ls[:k]), root(ls[k:]))
	}
	return contracts.Hash(hex.EncodeToString(root(leaves)))
}

// Whatever the order of CLOSE and VOID leaves: an acknowledgement never jumps over the end of a period, never parts a
// VOID from its leaf, and the log can always be acknowledged to its end.
func TestMarks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m marks
		voided := map[int64]int64{}
		ends := map[int64]int64{}
		calls := map[int64]bool{}
		ref, size := int64(0), int64(0)
		for range rapid.IntRange(1, 40).Draw(t, "leaves") {
			l := Leaf{Seq: size, Op: OpCall}
			switch rapid.IntRange(0, 5).Draw(t, "op") {
			case 0:
				ref++
				l.Op, l.Ref = OpClose, ref
				ends[ref] = size + 1
			case 1:
				target := rapid.Int64Range(0, size).Draw(t, "target")
				if target < size && calls[target] && voided[target] == 0 {
					l.Op, l.Ref = OpVoid, target
					voided[target] = size
				}
			}
			m.note(&l)
			calls[size] = l.Op == OpCall
			size++
			if l.Op == OpVoid { // as the provider does, periods behind the leaf end again behind the VOID
				for r := int64(1); r <= ref; r++ {
					if ends[r] > l.Ref+1 {
						again := Leaf{Seq: size, Op: OpClose, Ref: r}
						m.note(&again)
						size++
						ends[r] = size
					}
				}
			}
		}
		for at := int64(0); at < size; {
			next := m.target(at, size)
			if next <= at {
				t.Fatalf("stuck at %d of %d: %+v", at, size, m)
			}
			if !m.allows(at, next) {
				t.Fatalf("target %d isn't allowed from %d", next, at)
			}
			for r, end := range ends {
				if at < end && end < next {
					t.Fatalf("from %d to %d jumps over the end of period %d at %d", at, next, r, end)
				}
			}
			for target, void := range voided {
				if at <= target && target < next && next <= void {
					t.Fatalf("acknowledging %d parts leaf %d from its VOID at %d", next, target, void)
				}
			}
			m.drop(next)
			at = next
		}
	})
}

// An id is remembered for at least its life, and not for ever.
func TestIDIndex(t *testing.T) {
	x := newIDIndex(100)
	nonce := func(i int) Nonce { return Nonce{byte(i), byte(i >> 8)} }
	for i := range 1000 {
		x.put(nonce(i), place{1, int64(i)}, contracts.Millis(10*i))
		for back := range min(i, 10) {
			if at, ok := x.get(nonce(i - back)); !ok || at.seq != int64(i-back) {
				t.Fatalf("%d was forgotten at %d", i-back, i)
			}
		}
	}
	if n := len(x.young) + len(x.old); n > 23 {
		t.Errorf("%d ids of two lives", n)
	}
	x.forget(1, 995)
	if _, ok := x.get(nonce(995)); ok {
		t.Error("not forgotten")
	}
	if _, ok := x.get(nonce(994)); !ok {
		t.Error("forgot too much")
	}
}

func TestProviderConfigIsChecked(t *testing.T) {
	w := newWorld(t)
	for name, change := range map[string]func(*ProviderConfig){
		"no key":         func(c *ProviderConfig) { c.Key = nil },
		"short seal key": func(c *ProviderConfig) { c.SealKey = []byte("short") },
		"no directory":   func(c *ProviderConfig) { c.Dir = "/dev/null/x" },
	} {
		cfg := ProviderConfig{Dir: t.TempDir(), Key: w.pk, SealKey: make([]byte, 32), Log: quiet}
		change(&cfg)
		if p, err := OpenProvider(cfg); err == nil {
			p.Close()
			t.Errorf("%s: opened", name)
		}
	}
	both := Backend{Admit: w.admit, Execute: w.execute}
	unknown := func(int64) (Terms, bool) { return w.terms, false }
	foreign := w.terms
	foreign.Provider, foreign.Agreement = foreign.Consumer, "ffffffffffffffffffffffffffffffff"
	for name, open := range map[string]func() error{
		"no backend":    func() error { _, err := w.p.Open(context.Background(), w.schedule, Backend{}); return err },
		"unknown terms": func() error { _, err := w.p.Open(context.Background(), unknown, both); return err },
		"open already":  func() error { _, err := w.p.Open(context.Background(), w.schedule, both); return err },
		"foreign key":   func() error { _, err := w.p.Open(context.Background(), Fixed(foreign), both); return err },
	} {
		if open() == nil {
			t.Errorf("%s: opened", name)
		}
	}
	w.must(1, "a")
}
