package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"

	"github.com/bund-exchange/bund/contracts"
)

// Prefixes tell secrets apart from each other and from everything else, for people and for programs that look for
// secrets in places where they should not be.
const (
	prefixSession = "bund_session_"
	prefixBearer  = "bund_token_"
	prefixSecret  = "bund_secret_"
)

// newToken makes a secret of 256 random bits, and the digest by which it is stored: a copy of the table signs nobody in.
func newToken(prefix string) (token string, digest []byte) {
	var raw [32]byte
	rand.Read(raw[:])
	token = prefix + base64.RawURLEncoding.EncodeToString(raw[:])
	return token, digestOf(token)
}

func digestOf(token string) []byte {
	sum := sha256.Sum256([]byte("bund/token/v1\x00" + token))
	return sum[:]
}

func newID() contracts.ID {
	var raw [16]byte
	rand.Read(raw[:])
	return contracts.ID(hex.EncodeToString(raw[:]))
}
