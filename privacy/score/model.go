package score

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash"
	"io"

	"github.com/tuneinsight/lattigo/v6/ring"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
)

// Model file:
//
//	"bund-score-model" ‖ len ‖ suite ‖ length (4) ‖ specification, canonical JSON ‖ seed (32)
//	‖ public key b = −a·s + e ‖ for each column cⱼ = −aⱼ·s + eⱼ + wⱼ·t⁻¹
//
// with a = expand(seed, 0), aⱼ = expand(seed, 1+j): half of every ciphertext is its seed. Lengths are big-endian;
// polynomials stand in the transformed domain.

const modelMagic = "bund-score-model"

// Secret is what a bank keeps for one model. Everything of the model is derived from it and from the card, so that an
// auditor who is shown both recomputes the file (Attest), and two cards under one secret share no key.
type Secret [32]byte

// NewSecret draws a secret.
func NewSecret() (s Secret) {
	rand.Read(s[:])
	return s
}

// keys are what a secret and a card derive.
type keys struct {
	root   []byte
	seed   [32]byte
	secret ring.Poly // s, transformed and in Montgomery form
}

func derive(secret Secret, card *Card) *keys {
	digest := contracts.HashOf("bund/score/card/v1", canon.Marshal(card)).Bytes()
	k := &keys{root: make([]byte, 32), secret: ringQ.NewPoly()}
	read(shake256("root", []byte(Suite), secret[:], digest[:]), k.root)
	read(shake256("seed", k.root), k.seed[:])
	s := make([]int64, Slots)
	ternary(shake256("key", k.root), s)
	lift(s, k.secret)
	ringQ.NTT(k.secret, k.secret)
	ringQ.MForm(k.secret, k.secret)
	return k
}

// encrypt gives the first half of the encryption of a constant whose second half is expand(seed, index).
func (k *keys) encrypt(weight int64, index uint32) ring.Poly {
	e, c := make([]int64, Slots), ringQ.NewPoly()
	binomial(shake256("error", k.root, binary.BigEndian.AppendUint32(nil, index)), e)
	lift(e, c)
	ringQ.NTT(c, c)
	ringQ.MulCoeffsMontgomeryThenSub(expand(k.seed, index), k.secret, c)
	for i, s := range ringQ.SubRings {
		w := uint64(weight) + s.Modulus&uint64(weight>>63)
		s.AddScalar(c.Coeffs[i], ring.BRed(w, invT[i], s.Modulus, s.BRedConstant), c.Coeffs[i]) // a constant is itself, transformed
	}
	return c
}

// EncryptModel writes the card, encrypted under a key of its own, and gives the digest that the ledger registers.
func EncryptModel(w io.Writer, card *Card, secret Secret) (contracts.Hash, error) {
	if err := errors.Join(card.Spec.Check(), card.Check()); err != nil {
		return "", err
	}
	k, d := derive(secret, card), newDigest()
	spec := canon.Marshal(&card.Spec)
	head := append([]byte(modelMagic), byte(len(Suite)))
	head = append(head, Suite...)
	head = binary.BigEndian.AppendUint32(head, uint32(len(spec)))
	head = append(append(head, spec...), k.seed[:]...)
	out := io.MultiWriter(d, w)
	if _, err := out.Write(head); err != nil {
		return "", err
	}
	weights, _ := card.fold()
	for i, v := range append([]int64{0}, weights...) {
		if _, err := out.Write(appendPoly(nil, k.encrypt(v, uint32(i)))); err != nil {
			return "", err
		}
	}
	return sum(d), nil
}

// Attest is the auditor's check: that the registered digest is the encryption of exactly this card, with errors of the
// size that the flood covers. The auditor reads the card for what it is, and that it is no instrument to read features.
func Attest(card *Card, secret Secret, registered contracts.Hash) error {
	d, err := EncryptModel(io.Discard, card, secret)
	if err == nil && d != registered {
		err = refuse(CodeModel, "the registered model isn't the encryption of this card")
	}
	return err
}

// Model is a registered model at the provider. It is read only once it is made, and takes some 0.4 MB for a column.
type Model struct {
	Digest contracts.Hash
	Spec   Spec
	public [2]ring.Poly   // b, a in Montgomery form
	column [][2]ring.Poly // cⱼ, aⱼ
}

// ReadModel reads a model and refuses every other one than the registered. Memory grows with what was read, not with
// what the head promises.
func ReadModel(r io.Reader, registered contracts.Hash) (*Model, error) {
	d := newDigest()
	in := &strictReader{r: io.TeeReader(r, d)}
	if string(in.next(len(modelMagic))) != modelMagic && in.err == nil {
		return nil, refuse(CodeModel, "not a model")
	}
	if n := in.next(1); in.err == nil && string(in.next(int(n[0]))) != Suite && in.err == nil {
		return nil, refuse(CodeSuite, "not of the suite %s", Suite)
	}
	n := uint32(0)
	if b := in.next(4); in.err == nil {
		n = binary.BigEndian.Uint32(b)
	}
	if n > MaxSpecBytes {
		return nil, refuse(CodeModel, "a specification of more than %d bytes", MaxSpecBytes)
	}
	b := in.next(int(n))
	if in.err != nil {
		return nil, in.err
	}
	spec, err := ReadSpec(b)
	if err != nil {
		return nil, err
	}
	var seed [32]byte
	copy(seed[:], in.next(32))
	m := &Model{Spec: *spec}
	for i := range 1 + uint32(spec.Columns()) {
		b := in.next(polyBytes(2))
		if in.err != nil {
			return nil, in.err
		}
		c, err := readPoly(b, 2)
		if err != nil {
			return nil, refuse(CodeModel, "polynomial %d: %v", i, err)
		}
		pair := [2]ring.Poly{c, expand(seed, i)}
		if i == 0 {
			ringQ.MForm(pair[0], pair[0])
			ringQ.MForm(pair[1], pair[1])
			m.public = pair
		} else {
			m.column = append(m.column, pair)
		}
	}
	if in.end(); in.err != nil {
		return nil, in.err
	}
	if m.Digest = sum(d); m.Digest != registered {
		return nil, refuse(CodeModel, "not the registered model")
	}
	return m, nil
}

// ParseModel reads a model from memory.
func ParseModel(b []byte, registered contracts.Hash) (*Model, error) {
	return ReadModel(bytes.NewReader(b), registered)
}

// MaxModelBytes bounds the file of a model with so many columns.
func MaxModelBytes(columns int64) int64 {
	return int64(len(modelMagic)+1+len(Suite)+4+MaxSpecBytes+32) + (1+min(columns, MaxColumns))*int64(polyBytes(2))
}

func newDigest() hash.Hash {
	h := sha256.New()
	h.Write([]byte("bund/score/model/v1\x00")) // as contracts.HashOf
	return h
}

func sum(h hash.Hash) contracts.Hash { return contracts.Hash(hex.EncodeToString(h.Sum(nil))) }

// strictReader reads exactly. A stream that ends early, or doesn't end, is refused; other errors are failures.
type strictReader struct {
	r   io.Reader
	err error
}

func (s *strictReader) next(n int) []byte {
	if s.err != nil {
		return nil
	}
	b := make([]byte, n)
	_, err := io.ReadFull(s.r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = refuse(CodeModel, "the model ends early")
	}
	if s.err = err; err != nil {
		return nil
	}
	return b
}

func (s *strictReader) end() {
	if s.err != nil {
		return
	}
	n, err := io.ReadFull(s.r, make([]byte, 1))
	switch {
	case n > 0:
		s.err = refuse(CodeModel, "bytes after the model")
	case !errors.Is(err, io.EOF):
		s.err = err
	}
}
