package witness

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// cosigner signs checkpoints with a time: C2SP tlog-cosignature, ed25519.
type cosigner struct {
	name string
	hash uint32
	priv ed25519.PrivateKey
}

const (
	algEd25519     = 1 // a note key, as GenerateKey of sumdb/note writes it
	algCosignature = 4 // cosignature/v1
)

var errKey = errors.New("witness: private key is malformed")

// parseCosigner reads PRIVATE+KEY+name+hash+base64(algorithm ‖ seed). A plain note key is taken as the cosignature key
// of the same seed. Errors never quote the key.
func parseCosigner(skey string) (cosigner, error) {
	parts := strings.SplitN(strings.TrimSuffix(skey, "\n"), "+", 5)
	if len(parts) != 5 || parts[0] != "PRIVATE" || parts[1] != "KEY" {
		return cosigner{}, errKey
	}
	key, err := base64.StdEncoding.Strict().DecodeString(parts[4])
	if err != nil || len(key) != 1+ed25519.SeedSize || key[0] != algEd25519 && key[0] != algCosignature {
		return cosigner{}, errKey
	}
	c := cosigner{name: parts[2], priv: ed25519.NewKeyFromSeed(key[1:])}
	given, err := strconv.ParseUint(parts[3], 16, 32)
	if err != nil || len(parts[3]) != 8 || uint32(given) != keyHash(c.name, key[0], c.public()) {
		return cosigner{}, errKey
	}
	if _, err := note.NewEd25519VerifierKey(c.name, c.public()); err != nil {
		return cosigner{}, errKey
	}
	c.hash = keyHash(c.name, algCosignature, c.public())
	return c, nil
}

func (c cosigner) public() ed25519.PublicKey { return c.priv.Public().(ed25519.PublicKey) }

func (c cosigner) verifierKey() string {
	return fmt.Sprintf("%s+%08x+%s", c.name, c.hash, base64.StdEncoding.EncodeToString(append([]byte{algCosignature}, c.public()...)))
}

func keyHash(name string, alg byte, public ed25519.PublicKey) uint32 {
	h := sha256.New()
	h.Write([]byte(name + "\n"))
	h.Write([]byte{alg})
	h.Write(public)
	return binary.BigEndian.Uint32(h.Sum(nil))
}

// at gives the signer of one moment.
func (c cosigner) at(t time.Time) note.Signer { return timed{c, t.Unix()} }

type timed struct {
	cosigner
	unix int64
}

func (t timed) Name() string    { return t.name }
func (t timed) KeyHash() uint32 { return t.hash }

func (t timed) Sign(text []byte) ([]byte, error) {
	if t.unix <= 0 {
		return nil, errors.New("witness: the clock isn't set")
	}
	sig := binary.BigEndian.AppendUint64(nil, uint64(t.unix))
	return append(sig, ed25519.Sign(t.priv, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", t.unix, text))...), nil
}
