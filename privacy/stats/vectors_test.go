package stats

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type hexBytes []byte

func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

type vector struct {
	Result    json.RawMessage `json:"agg_result"`
	AggShares [2]hexBytes     `json:"agg_shares"`
	Ctx       hexBytes
	VerifyKey hexBytes `json:"verify_key"`
	Shares    int
	Length    uint
	Chunk     uint   `json:"chunk_length"`
	Most      uint64 `json:"max_measurement"`
	Prep      []struct {
		Measurement uint64
		Nonce, Rand hexBytes
		Inputs      [2]hexBytes    `json:"input_shares"`
		Outs        [2][]hexBytes  `json:"out_shares"`
		Preps       [1][2]hexBytes `json:"prep_shares"`
		Public      hexBytes       `json:"public_share"`
	}
}

// TestVDAFVectors runs draft-14's vectors through the functions that split, prepare and add up here.
func TestVDAFVectors(t *testing.T) {
	names, err := filepath.Glob("testdata/Prio3*.json.gz")
	if err != nil || len(names) < 3 {
		t.Fatalf("%d vectors, %v", len(names), err)
	}
	kinds := map[string]bool{}
	for _, name := range names {
		kind := strings.Split(strings.TrimPrefix(filepath.Base(name), "Prio3"), "_")[0]
		kinds[kind] = true
		t.Run(filepath.Base(name), func(t *testing.T) {
			v := readVector(t, name)
			var s *scheme
			var err error
			switch kind {
			case "Count":
				s, err = newCount(v.Ctx)
			case "Sum":
				s, err = newSum(v.Most, v.Ctx)
			case "Histogram":
				s, err = newHistogram(v.Length, v.Chunk, v.Ctx)
			default:
				t.Fatal("a vector of another kind")
			}
			if err != nil {
				t.Fatal(err)
			}
			runVector(t, s, v)
		})
	}
	if len(kinds) != 3 {
		t.Errorf("vectors of %v only", kinds)
	}
}

func readVector(t *testing.T, name string) (v vector) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err == nil {
		err = json.NewDecoder(z).Decode(&v)
	}
	if err != nil || v.Shares != 2 || len(v.Prep) == 0 {
		t.Fatalf("%d shares, %d reports, %v", v.Shares, len(v.Prep), err)
	}
	return v
}

func runVector(t *testing.T, s *scheme, v vector) {
	verify := verifyKey(v.VerifyKey)
	var totals [2]*total
	for i := range totals {
		var err error
		if totals[i], err = s.total(nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range v.Prep {
		id := nonce(r.Nonce)
		public, inputs, err := s.shard(r.Measurement, &id, r.Rand)
		if err != nil || !bytes.Equal(public, r.Public) {
			t.Fatalf("public share %x, %v", public, err)
		}
		var ps [2]*preparation
		for i := range inputs {
			if !bytes.Equal(inputs[i], r.Inputs[i]) || len(inputs[i]) != s.size.input[i] || len(public) != s.size.public {
				t.Errorf("input share %d", i)
			}
			if ps[i], err = s.begin(&verify, &id, uint8(i), public, inputs[i]); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(ps[i].own, r.Preps[0][i]) || len(ps[i].own) != s.size.prep {
				t.Errorf("prep share %d", i)
			}
		}
		for i := range ps {
			out, err := ps[i].finish(ps[1-i].own)
			if err != nil {
				t.Fatal(err)
			}
			want := bytes.Join(asBytes(r.Outs[i]), nil)
			if got, err := out.(codec).MarshalBinary(); err != nil || !bytes.Equal(got, want) {
				t.Errorf("output share %d: %x, %v", i, got, err)
			}
			totals[i].add(out)
		}
	}
	var shares [2][]byte
	for i := range shares {
		b, err := totals[i].bytes()
		if err != nil || !bytes.Equal(b, v.AggShares[i]) || len(b) != s.size.total {
			t.Errorf("aggregate share %d: %x, %v", i, b, err)
		}
		shares[i] = b
	}
	got, err := s.unshard(shares, uint(len(v.Prep)))
	if err != nil {
		t.Fatal(err)
	}
	var want []uint64
	if json.Unmarshal(v.Result, &want) != nil {
		want = make([]uint64, 1)
		if err := json.Unmarshal(v.Result, &want[0]); err != nil {
			t.Fatal(err)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d numbers", len(got))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%d is %d, want %d", i, got[i], want[i])
		}
	}
}

func asBytes(hs []hexBytes) (bs [][]byte) {
	for _, h := range hs {
		bs = append(bs, h)
	}
	return bs
}
