package publish

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	fproof "github.com/transparency-dev/formats/proof"
	"golang.org/x/mod/sumdb/note"
	"pgregory.net/rapid"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/publish/publishtest"
)

func signedCheckpoint(t testing.TB, size uint64) (Policy, []byte) {
	s, v := publishtest.Key(t, toyLedger)
	p, err := NewPolicy(v, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := Checkpoint{Origin: toyLedger, Size: size, Root: [32]byte{1, 2, 3}}
	if size == 0 {
		c.Root = [32]byte(hasher.EmptyRoot())
	}
	b, err := c.sign(s)
	if err != nil {
		t.Fatal(err)
	}
	return p, b
}

func TestCheckpointStrict(t *testing.T) {
	s, v := publishtest.Key(t, toyLedger)
	p, err := NewPolicy(v, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	hash := "AQIDAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	sign := func(text string) []byte {
		b, err := note.Sign(&note.Note{Text: text}, s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good := toyLedger + "\n7\n" + hash + "\n"
	if h, err := p.Open(sign(good)); err != nil || h.Size != 7 || h.Text() != good {
		t.Fatalf("%v %+v", err, h)
	}
	for name, text := range map[string]string{
		"origin":        "other.example\n7\n" + hash + "\n",
		"leading zero":  toyLedger + "\n07\n" + hash + "\n",
		"sign":          toyLedger + "\n+7\n" + hash + "\n",
		"above 2^63":    toyLedger + "\n9223372036854775808\n" + hash + "\n",
		"short root":    toyLedger + "\n7\nAQID\n",
		"loose base64":  toyLedger + "\n7\n" + strings.Replace(hash, "AAA=", "AAB=", 1) + "\n",
		"extension":     good + "more\n",
		"two lines":     toyLedger + "\n7\n",
		"root of empty": toyLedger + "\n0\n" + hash + "\n",
	} {
		if _, err := p.Open(sign(text)); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	if _, err := p.Open([]byte(good + "\n")); err == nil {
		t.Error("opened without a signature")
	}
}

func TestPolicyKeys(t *testing.T) {
	_, log := publishtest.Key(t, toyLedger)
	_, a := publishtest.Key(t, "a.example")
	_, b := publishtest.Key(t, "b.example")
	cosigning, err := fnote.VKeyToCosignatureV1(a)
	if err != nil {
		t.Fatal(err)
	}
	renamed := func(vkey, name string) string { // with a hash that fits, as a holder would who wants to count twice
		key, err := base64.StdEncoding.DecodeString(strings.SplitN(vkey, "+", 3)[2])
		if err != nil {
			t.Fatal(err)
		}
		v, err := note.NewEd25519VerifierKey(name, key[1:])
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, good := range [][]string{nil, {a}, {cosigning}, {a, b}} {
		if _, err := NewPolicy(log, good, len(good)); err != nil {
			t.Errorf("%v: %v", good, err)
		}
	}
	for name, bad := range map[string][]string{
		"twice":                     {a, a},
		"twice, in two forms":       {a, cosigning},
		"twice, under two names":    {a, renamed(cosigning, "c.example")},
		"the log's key":             {renamed(log, "c.example")},
		"the log's name":            {renamed(a, toyLedger)},
		"a hash that doesn't fit":   {strings.Replace(a, "a.example", "c.example", 1)},
		"a key in another spelling": {a + "\n"},
		"another algorithm":         {strings.Replace(cosigning, "+B", "+C", 1)},
		"nothing":                   {""},
	} {
		if _, err := NewPolicy(log, bad, 1); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	for _, quorum := range []int{-1, 3} {
		if _, err := NewPolicy(log, []string{a, b}, quorum); err == nil {
			t.Errorf("quorum %d of 2", quorum)
		}
	}
}

func TestFreshAt(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	h := Head{Cosignatures: []Cosignature{{"a", at(100)}, {"b", at(300)}, {"c", at(200)}, {"d", at(900)}}}
	for _, c := range []struct {
		quorum   int
		notAfter int64
		want     int64 // 0: none
	}{{1, 1000, 900}, {2, 1000, 300}, {4, 1000, 100}, {5, 1000, 0}, {1, 899, 300}, {3, 899, 100}, {4, 899, 0}, {1, 50, 0}, {0, 1000, 0}} {
		got, ok := h.FreshAt(c.quorum, at(c.notAfter))
		if ok != (c.want != 0) || ok && !got.Equal(at(c.want)) {
			t.Errorf("quorum %d until %d: %v %v", c.quorum, c.notAfter, got.Unix(), ok)
		}
	}
}

func FuzzCheckpoint(f *testing.F) {
	_, b := signedCheckpoint(f, 7)
	f.Add(string(b[:bytes.Index(b, []byte("\n\n"))+1]))
	f.Add("x\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n")
	f.Add("x#3\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n")
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := ParseCheckpointText(text); err == nil && c.Text() != text {
			t.Fatalf("%q is read, but would be written %q", text, c.Text())
		}
	})
}

func FuzzProof(f *testing.F) {
	_, cp := signedCheckpoint(f, 7)
	f.Add(Proof{Index: 3, Hashes: [][32]byte{{1}, {2}}, Checkpoint: cp}.Marshal())
	f.Add(Proof{Checkpoint: cp, Extra: []byte("entry")}.Marshal())
	f.Add([]byte(proofHeader + "\nindex 01\n\nx"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseProof(b)
		if err != nil {
			return
		}
		if !bytes.Equal(p.Marshal(), b) {
			t.Fatalf("%q is read, but would be written %q", b, p.Marshal())
		}
		if bytes.HasSuffix(b, []byte("\n")) && !bytes.ContainsRune(p.Checkpoint, '\r') {
			var other fproof.TLogProof
			if err := other.Unmarshal(b); err != nil || other.Index != p.Index || len(other.Hashes) != len(p.Hashes) {
				t.Fatalf("another reader of the format says %v of %q", err, b)
			}
		}
	})
}

func TestProofStrict(t *testing.T) {
	_, cp := signedCheckpoint(t, 7)
	good := string(Proof{Index: 3, Hashes: [][32]byte{{1}, {2}}, Checkpoint: cp, Extra: []byte("entry")}.Marshal())
	if _, err := ParseProof([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"header":       strings.Replace(good, "@v1", "@v2", 1),
		"no index":     strings.Replace(good, "index 3\n", "", 1),
		"index twice":  strings.Replace(good, "index 3\n", "index 3\nindex 3\n", 1),
		"leading zero": strings.Replace(good, "index 3", "index 03", 1),
		"extra late":   strings.Replace(strings.Replace(good, "extra ZW50cnk=\n", "", 1), "index 3\n", "index 3\nextra ZW50cnk=\n", 1),
		"empty extra":  strings.Replace(good, "extra ZW50cnk=", "extra ", 1),
		"loose base64": strings.Replace(good, "extra ZW50cnk=", "extra ZW50cnl=", 1),
		"carriage":     strings.ReplaceAll(good, "\n", "\r\n"),
		"short hash":   strings.Replace(good, "index 3\n", "index 3\nAQID\n", 1),
		"no end":       good[:strings.Index(good, "\n\n")],
		"no cp":        good[:strings.Index(good, "\n\n")+2],
		"many hashes":  strings.Replace(good, "index 3\n", "index 3\n"+strings.Repeat("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", 62), 1),
	} {
		if _, err := ParseProof([]byte(bad)); err == nil {
			t.Errorf("%s: read", name)
		}
	}
}

func FuzzPage(f *testing.F) {
	f.Add(Page{From: 3, Next: 9, Bodies: []Body{{4, []byte("x")}, {8, nil}}}.Marshal())
	f.Add(Page{}.Marshal())
	f.Add(Page{From: 1, Next: 1 << 40}.Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := ParsePage(b)
		if err == nil && !bytes.Equal(g.Marshal(), b) {
			t.Fatalf("%x is read, but would be written %x", b, g.Marshal())
		}
	})
}

func TestPageStrict(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := Page{From: rapid.Uint64Range(0, 1<<40).Draw(t, "from")}
		g.Next = g.From
		for range rapid.IntRange(0, 20).Draw(t, "bodies") {
			at := g.Next + rapid.Uint64Range(0, 3).Draw(t, "skip")
			g.Bodies = append(g.Bodies, Body{at, rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "body")})
			g.Next = at + 1
		}
		g.Next += rapid.Uint64Range(0, 5).Draw(t, "rest")
		b := g.Marshal()
		read, err := ParsePage(b)
		if err != nil || read.From != g.From || read.Next != g.Next || len(read.Bodies) != len(g.Bodies) || !bytes.Equal(read.Marshal(), b) {
			t.Fatalf("%v: %+v", err, read)
		}
		if _, err := ParsePage(b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")]); err == nil {
			t.Fatal("a page cut short is read")
		}
		if _, err := ParsePage(append(b, 0)); err == nil {
			t.Fatal("trailing bytes are read")
		}
		if len(g.Bodies) > 1 {
			g.Bodies[0], g.Bodies[1] = g.Bodies[1], g.Bodies[0]
			if _, err := ParsePage(g.Marshal()); err == nil {
				t.Fatal("bodies out of order are read")
			}
		}
	})
	if _, err := ParsePage(Page{From: 0, Next: MaxPagePositions + 1}.Marshal()); err == nil {
		t.Error("a page of too many positions is read")
	}
}

func FuzzBundle(f *testing.F) {
	f.Add(appendLeaf(appendLeaf(nil, []byte("leaf")), nil))
	f.Add([]byte{0, 5, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		leaves, err := ParseBundle(b)
		if err != nil {
			return
		}
		var out []byte
		for _, l := range leaves {
			out = appendLeaf(out, l)
		}
		if !bytes.Equal(out, b) || len(leaves) > 256 {
			t.Fatalf("%x is read, but would be written %x", b, out)
		}
	})
}

// FuzzLeaf: a leaf has one reading.
func FuzzLeaf(f *testing.F) {
	e := &ledger.Entry{Public: true, Objects: []contracts.ID{publishtest.ID(1), publishtest.ID(2)}}
	f.Add(ledger.Leaf(e.Encode(), e))
	f.Add(make([]byte, 35))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ledger.ParseLeaf(b)
		if err != nil {
			return
		}
		out := append([]byte{}, p.Digest[:]...)
		mark := byte(0)
		if p.Public {
			mark = 1
		}
		out = append(out, mark, byte(len(p.Objects)>>8), byte(len(p.Objects)))
		for _, o := range p.Objects {
			out = append(out, o[:]...)
		}
		if !bytes.Equal(out, b) {
			t.Fatalf("%x is read, but would be written %x", b, out)
		}
	})
}

// TestTreeAnySteps: however appends, flushes and restarts are spread, the files are the same.
func TestTreeAnySteps(t *testing.T) {
	l := &publishtest.Log{}
	l.Fill(1200)
	roots := make([][32]byte, 1201)
	leaves := make([][]byte, 1200)
	r := Factory.NewEmptyRange(0)
	for i := range leaves {
		leaves[i] = l.Leaf(uint64(i))
		r.Append(LeafHash(leaves[i]), nil)
		h, _ := r.GetRootHash(nil)
		roots[i+1] = [32]byte(h)
	}
	rapid.Check(t, func(t *rapid.T) {
		f := newVolatile()
		tr := newTree(f)
		for tr.size < 1200 {
			for range min(rapid.Uint64Range(1, 400).Draw(t, "append"), 1200-tr.size) {
				if err := tr.add(leaves[tr.size]); err != nil {
					t.Fatal(err)
				}
			}
			if err := tr.flush(); err != nil {
				t.Fatal(err)
			}
			if tr.root() != roots[tr.size] {
				t.Fatalf("root at %d is wrong", tr.size)
			}
			if rapid.Bool().Draw(t, "restart") {
				var err error
				if tr, err = resumeTree(t.Context(), f, tr.size); err != nil {
					t.Fatal(err)
				}
			}
		}
		f.checkTree(t, l, 1200)
	})
}

// BenchmarkPublish is one checkpoint a 4,096 entries on a real folder without witnesses.
func BenchmarkPublish(b *testing.B) {
	l := &publishtest.Log{}
	l.Fill(4096)
	leaves := make([][]byte, 4096)
	for i := range leaves {
		leaves[i] = l.Leaf(uint64(i))
	}
	tr := newTree(disk(b.TempDir()))
	for b.Loop() {
		for _, x := range leaves {
			if err := tr.add(x); err != nil {
				b.Fatal(err)
			}
		}
		if err := tr.flush(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*4096/b.Elapsed().Seconds(), "entries/s")
}

// The epoch stands in the origin line in one spelling, and orders heads before their size does.
func TestEpoch(t *testing.T) {
	c := Checkpoint{Origin: "x", Epoch: 12, Size: 3, Root: [32]byte{1}}
	if got, err := ParseCheckpointText(c.Text()); err != nil || got != c || !strings.HasPrefix(c.Text(), "x#12\n") {
		t.Errorf("%q reads as %+v: %v", c.Text(), got, err)
	}
	for _, line := range []string{"x#0", "x#01", "x#-1", "x#", "#1", "x#1#2", "x#+1", "x# 1", "x#9223372036854775808"} {
		if got, err := ParseCheckpointText(strings.Replace(c.Text(), "x#12", line, 1)); err == nil {
			t.Errorf("%q reads as %+v", line, got)
		}
	}
	_, vkey, err := note.GenerateKey(nil, "x#1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewPolicy(vkey, nil, 0); err == nil {
		t.Error("a log whose name has an epoch")
	}
	for _, o := range []Checkpoint{{Epoch: 13}, {Epoch: 12, Size: 4}} {
		if !c.Before(o) || o.Before(c) || c.Before(c) {
			t.Errorf("%+v isn't after %+v", o, c)
		}
	}
}
