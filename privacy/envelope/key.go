package envelope

import (
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/cloudflare/circl/hpke"
	"github.com/cloudflare/circl/kem"

	"github.com/bund-exchange/bund/contracts"
)

// Refusals of this package.
const (
	BadKey     contracts.Code = "envelope.key"     // sealed to another key, or to a key that nobody can have
	BadBinding contracts.Code = "envelope.binding" // sealed for another agreement, product version or dataset
	BadForm    contracts.Code = "envelope.form"    // header or manifest is not in its one form
	BadChunk   contracts.Code = "envelope.chunk"   // a chunk is not the one that the manifest promises
	BadDigest  contracts.Code = "envelope.digest"  // the whole differs from what the manifest promises
)

func refuse(code contracts.Code, format string, args ...any) error {
	return &contracts.Refusal{Code: code, Detail: fmt.Sprintf(format, args...)}
}

const (
	kemID = hpke.KEM_X25519_HKDF_SHA256
	// encBytes is the size of an encapsulated key.
	encBytes = 32
	// tagBytes is what sealing adds to each chunk.
	tagBytes = 16
)

var suite = hpke.NewSuite(kemID, hpke.KDF_HKDF_SHA256, hpke.AEAD_AES256GCM)

// Key is a recipient's. It opens what was sealed to it and doesn't print itself.
type Key struct {
	private kem.PrivateKey
	public  contracts.PublicKey
}

// NewKey derives a key from a seed of 32 random bytes (RFC 9180, DeriveKeyPair).
func NewKey(seed [32]byte) *Key {
	pub, priv := kemID.Scheme().DeriveKeyPair(seed[:])
	b, err := pub.MarshalBinary()
	if err != nil {
		panic("envelope: " + err.Error())
	}
	return &Key{priv, contracts.PublicKey(string(contracts.X25519) + ":" + hex.EncodeToString(b))}
}

// Public gives the key as it stands on the ledger, with the purpose hpke.
func (k Key) Public() contracts.PublicKey { return k.public }

// ID is the key's name on the ledger.
func (k Key) ID() contracts.ID { return k.public.ID() }

func (k Key) String() string { return "envelope.Key(" + string(k.ID()) + ")" }

// Format keeps the private half out of %v and its kin.
func (k Key) Format(s fmt.State, _ rune) { io.WriteString(s, k.String()) }

// publicKey reads a ledger key that can receive.
func publicKey(k contracts.PublicKey) (kem.PublicKey, error) {
	if err := k.Check(); err != nil || k.Suite() != contracts.X25519 {
		return nil, refuse(BadKey, "the recipient's key is not of suite x25519")
	}
	_, h, _ := strings.Cut(string(k), ":")
	b, err := hex.DecodeString(h)
	if err != nil {
		return nil, refuse(BadKey, "the recipient's key is not of suite x25519")
	}
	pub, err := kemID.Scheme().UnmarshalBinaryPublicKey(b)
	if err != nil {
		return nil, refuse(BadKey, "the recipient's key is no point that can receive")
	}
	return pub, nil
}

// sealTo sets up a sender's context. random is nil except where a test knows the outcome.
func sealTo(to contracts.PublicKey, info []byte, random io.Reader) (enc []byte, s hpke.Sealer, err error) {
	pub, err := publicKey(to)
	if err != nil {
		return nil, nil, err
	}
	sender, err := suite.NewSender(pub, info)
	if err != nil {
		return nil, nil, fmt.Errorf("couldn't set up HPKE: %w", err)
	}
	if enc, s, err = sender.Setup(random); err != nil {
		// The one way in which it fails: a point of low order, with which everybody has the same secret.
		return nil, nil, refuse(BadKey, "the recipient's key is no point that can receive")
	}
	return enc, s, nil
}

// openFrom sets up the recipient's context.
func (k *Key) openFrom(enc, info []byte) (hpke.Opener, error) {
	r, err := suite.NewReceiver(k.private, info)
	if err != nil {
		return nil, fmt.Errorf("couldn't set up HPKE: %w", err)
	}
	o, err := r.Setup(enc)
	if err != nil {
		return nil, refuse(BadForm, "the encapsulated key is no point that can be opened")
	}
	return o, nil
}
