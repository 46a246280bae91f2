package lookup

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/cloudflare/circl/group"

	"github.com/bund-exchange/bund/contracts"
)

type vectors struct {
	PkSm, SkSm, GroupDST string
	Vectors              []struct {
		Batch                                           int
		Blind, BlindedElement, EvaluationElement, Input string
		Output                                          string
		Proof                                           struct{ Proof, R string }
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func unhexes(t testing.TB, s string) (bs [][]byte) {
	for x := range strings.SplitSeq(s, ",") {
		bs = append(bs, unhex(t, x))
	}
	return bs
}

// TestRFC9497 runs the vectors of appendix A.1.2 through NewQuery, Evaluate and Finalize, with the blinds and the proofs'
// randomness of the vectors.
func TestRFC9497(t *testing.T) {
	b, err := os.ReadFile("testdata/rfc9497.json")
	ok(t, err)
	var vs vectors
	ok(t, json.Unmarshal(b, &vs))
	if string(unhex(t, vs.GroupDST)) != string(toGroupDST) || len(vs.Vectors) != 3 {
		t.Fatal("these are other vectors")
	}
	key, err := newEpochKey(1, 0, unhex(t, vs.SkSm))
	ok(t, err)
	if hex.EncodeToString(key.Public()) != vs.PkSm {
		t.Fatalf("public key %x", key.Public())
	}
	c := commitmentOf(key)
	for _, v := range vs.Vectors {
		ids, want := unhexes(t, v.Input), unhexes(t, v.Output)
		var blinds []group.Scalar
		for _, b := range unhexes(t, v.Blind) {
			s, ok := decodeScalar(b)
			if !ok {
				t.Fatal("not a scalar")
			}
			blinds = append(blinds, s)
		}
		q, err := newQuery(c, ids, blinds)
		ok(t, err)
		if got := q.Request().elements; !bytes.Equal(got, bytes.Join(unhexes(t, v.BlindedElement), nil)) {
			t.Errorf("blinded %x", got)
		}
		e, err := NewEvaluator(key, c)
		ok(t, err)
		e.nonce = func() group.Scalar { s, _ := decodeScalar(unhex(t, v.Proof.R)); return s }
		msg, err := e.Evaluate(t.Context(), q.Request())
		ok(t, err)
		a, err := parseResponse(msg)
		ok(t, err)
		if !bytes.Equal(a.elements, bytes.Join(unhexes(t, v.EvaluationElement), nil)) {
			t.Errorf("evaluated %x", a.elements)
		}
		if hex.EncodeToString(a.proofs) != v.Proof.Proof {
			t.Errorf("proof %x", a.proofs)
		}
		ev, err := q.Finalize(t.Context(), msg)
		ok(t, err)
		for i := range want {
			if !bytes.Equal(ev.outputs[i][:], want[i]) {
				t.Errorf("output %x, want %x", ev.outputs[i], want[i])
			}
		}
	}
}

// badEncodings are those of RFC 9496, appendix A.3.
const badEncodings = `
00ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f
f3ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f
0100000000000000000000000000000000000000000000000000000000000000 01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f
ed57ffd8c914fb201471d1c3d245ce3c746fcbe63a3679d51b6a516ebebe0e20 c34c4e1826e5d403b78e246e88aa051c36ccf0aafebffe137d148a2bf9104562
c940e5a4404157cfb1628b108db051a8d439e1a421394ec4ebccb9ec92a8ac78 47cfc5497c53dc8e61c91d17fd626ffb1c49e2bca94eed052281b510b1117a24
f1c6165d33367351b0da8f6e4511010c68174a03b6581212c71c0e1d026c3c72 87260f7a2f12495118360f02c26a470f450dadf34a413d21042b43b9d93e1309
26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371 4eac077a713c57b4f4397629a4145982c661f48044dd3f96427d40b147d9742f
de6a7b00deadc788eb6b6c8d20c0ae96c2f2019078fa604fee5b87d6e989ad7b bcab477be20861e01e4a0e295284146a510150d9817763caf1a6f4b422d67042
2a292df7e32cababbd9de088d1d1abec9fc0440f637ed2fba145094dc14bea08 f4a9e534fc0d216c44b218fa0c42d99635a0127ee2e53c712f70609649fdff22
8268436f8c4126196cf64b3c7ddbda90746a378625f9813dd9b8457077256731 2810e5cbc2cc4d4eece54f61c6f69758e289aa7ab440b3cbeaa21995c2f4232b
3eb858e78f5a7254d8c9731174a94f76755fd3941c0ac93735c07ba14579630e a45fdc55c76448c049a1ab33f17023edfb2be3581e9c7aade8a6125215e04220
d483fe813c6ba647ebbfd3ec41adca1c6130c2beeee9d9bf065c8d151c5f396e 8a2e1d30050198c65a54483123960ccc38aef6848e1ec8f5f780e8523769ba32
32888462f8b486c68ad7dd9610be5192bbeaf3b443951ac1a8118419d9fa097b 227142501b9d4355ccba290404bde41575b037693cef1f438c47f8fbf35d1165
5c37cc491da847cfeb9281d407efc41e15144c876e0170b499a96a22ed31e01e 445425117cb8c90edcbc7c1cc0e74f747f2c1efa5630a967c64f287792a48a4b
ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f`

// TestElements refuses the identity and what is no element's one encoding, wherever an element comes from outside.
func TestElements(t *testing.T) {
	w := newWorld(t, 4, Plan{})
	q, err := NewQuery(w.c, ids(0, 1))
	ok(t, err)
	answer, err := w.e.Evaluate(t.Context(), q.Request())
	ok(t, err)
	bad := strings.Fields(badEncodings)
	if len(bad) != 29 {
		t.Fatalf("%d encodings", len(bad))
	}
	g, err := r255.Generator().MarshalBinary()
	ok(t, err)
	high := bytes.Clone(g)
	high[31] |= 0x80
	for _, enc := range append(bad, strings.Repeat("00", 32), hex.EncodeToString(high)) {
		b := unhex(t, enc)
		if _, err := DecodeElement(b); !refused(err, BadElement) {
			t.Errorf("%s: %v", enc, err)
		}
		req, err := ParseRequest(q.Request().Bytes())
		ok(t, err)
		copy(req.elements[ElementBytes:], b)
		if _, err := w.e.Evaluate(t.Context(), req); !refused(err, BadElement) {
			t.Errorf("%s in a request: %v", enc, err)
		}
		forged := bytes.Clone(answer)
		copy(forged[len(responseMagic)+4:], b)
		if _, err := q.Finalize(t.Context(), forged); !refused(err, BadElement) {
			t.Errorf("%s in a response: %v", enc, err)
		}
		c := *w.c
		c.PublicKey = b
		if err := c.Check(); !refused(err, BadElement) {
			t.Errorf("%s as public key: %v", enc, err)
		}
	}
	for _, n := range []int{0, 31, 33} {
		if _, err := DecodeElement(make([]byte, n)); !refused(err, BadElement) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func commitmentOf(k *EpochKey) *Commitment {
	return &Commitment{Dataset: contracts.HashOf("test/dataset"), Epoch: k.Epoch, PublicKey: k.Public(), Root: contracts.HashOf("test/root"), Rows: 1,
		Suite: contracts.LookupSuite, Version: "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"}
}
