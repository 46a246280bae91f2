package consent

import (
	"crypto/rand"
	"encoding/binary"

	"github.com/cloudflare/circl/group"
	"github.com/cloudflare/circl/zk/dl"

	"github.com/bund-exchange/bund/privacy/lookup"
)

// ProofBytes is the length of a proof: a commitment and a response.
const ProofBytes = lookup.ElementBytes + lookup.ScalarBytes

var r255 = group.Ristretto255

// ProveBlind shows that m = r·H(id) by knowledge of r, which it doesn't tell, at one place of one application.
func ProveBlind(id []byte, r group.Scalar, m group.Element, b *Binding, place int) ([]byte, error) {
	base, err := lookup.Point(id)
	if err != nil {
		return nil, err
	}
	user, info := transcript(b, place)
	p := dl.Prove(r255, base, m, r, user, info, rand.Reader)
	return encodeProof(p)
}

// checkBlind refuses a proof that does not show the encoded element to be the id's.
func checkBlind(id, point, proof []byte, b *Binding, place int) error {
	base, err := lookup.Point(id)
	if err != nil {
		return err
	}
	m, err := lookup.DecodeElement(point)
	if err != nil {
		return err
	}
	p, ok := decodeProof(proof)
	if !ok {
		return refuse(BadProof, "a proof is not in its canonical form")
	}
	user, info := transcript(b, place)
	if !dl.Verify(r255, base, m, p, user, info) {
		return refuse(BadProof, "a point is not shown to be its company's")
	}
	return nil
}

// transcript is what a proof is bound to beside base and point.
func transcript(b *Binding, place int) (user, info []byte) {
	digest := b.digest()
	return []byte(b.Bank), binary.BigEndian.AppendUint32(append([]byte("bund/lookup-blind/v1\x00"), digest[:]...), uint32(place))
}

func encodeProof(p dl.Proof) ([]byte, error) {
	v, err := p.V.MarshalBinaryCompress()
	if err != nil {
		return nil, err
	}
	r, err := p.R.MarshalBinary()
	return append(v, r...), err
}

func decodeProof(b []byte) (p dl.Proof, ok bool) {
	if len(b) != ProofBytes {
		return p, false
	}
	var err error
	if p.V, err = lookup.DecodeElement(b[:lookup.ElementBytes]); err != nil {
		return p, false
	}
	p.R = r255.NewScalar()
	return p, p.R.UnmarshalBinary(b[lookup.ElementBytes:]) == nil
}
