package contracts

import (
	"encoding/hex"
	"errors"
	"strconv"

	"github.com/bund-exchange/bund/contracts/canon"
)

// Domain separates the signed bytes of a command from everything else that a key may sign.
const Domain = "bund/command/v1"

// Limits of one submission.
const (
	MaxCommandBytes = 256 << 10
	MaxSignatures   = 16
	MaxOpenings     = 64
	MaxOpeningBytes = 256 << 10
)

// MaxEntryBytes bounds the entry of one accepted command, as ledger.Entry encodes it.
const MaxEntryBytes = 4 << 20

// maxValiditySec bounds notAfter − notBefore, so that "never accepted" becomes certain soon.
const maxValiditySec = 600

// Envelope is the signed part of a command: canonical JSON, signed as received. ID is made by the signer and is the
// idempotency key everywhere: 48 bits of milliseconds, equal to NotBefore, and 80 random bits.
type Envelope struct {
	Body      canon.Raw `json:"body"`
	Domain    string    `json:"domain"`
	ID        ID        `json:"id"`
	Key       ID        `json:"key"` // of the first signature
	Kind      string    `json:"kind"`
	Ledger    string    `json:"ledger"`
	Member    string    `json:"member"` // on whose behalf; "" only in genesis and member.apply
	NotAfter  Millis    `json:"notAfter"`
	NotBefore Millis    `json:"notBefore"`
	Suite     Suite     `json:"suite"` // of the first signature
	Version   int64     `json:"version"`
}

// Command is a decoded submission whose signatures are mathematically valid. Whether their keys may sign it is
// State's to say, in Apply.
type Command struct {
	Envelope
	Raw        []byte
	Digest     Hash // SHA-256 of Raw, tagged
	Signatures []Signature
	Openings   []Opening

	// Find, when set, is asked for openings instead of Openings: an auditor has all of them in one store.
	Find func(tag string, commitment Hash) (Opening, bool)

	spec *spec
	body any
}

// Body gives the decoded body: a pointer to the kind's struct.
func (c *Command) Body() any { return c.body }

// Decode checks everything about a submission that needs no state: form, limits, kind, and every signature. It is
// pure and safe to run in parallel. Its error is always a *Refusal.
func Decode(sub Submission) (*Command, error) { return DecodeWith(sub, PublicKey.Verify) }

// DecodeWith is Decode with another way to compute what PublicKey.Verify answers. It must answer the same, always.
func DecodeWith(sub Submission, verify func(k PublicKey, msg, sig []byte) bool) (*Command, error) {
	c, r := decode(sub, verify)
	if r != nil {
		return nil, r
	}
	return c, nil
}

func decode(sub Submission, verify func(k PublicKey, msg, sig []byte) bool) (*Command, *Refusal) {
	if len(sub.Raw) > MaxCommandBytes {
		return nil, refuse("command.too_large", "a command has at most %d bytes", MaxCommandBytes)
	}
	c := &Command{Raw: sub.Raw, Signatures: sub.Signatures, Openings: sub.Openings}
	if err := canon.Unmarshal(sub.Raw, &c.Envelope); err != nil {
		return nil, malformed("command.malformed", "", err)
	}
	switch {
	case c.Domain != Domain:
		return nil, refuse("command.domain", "want the domain %s", Domain).at("domain")
	case c.Version != 1:
		return nil, refuse("command.version", "this ledger knows version 1").at("version")
	case c.NotBefore == 0 || c.NotAfter <= c.NotBefore || c.NotAfter > c.NotBefore.Add(maxValiditySec):
		return nil, refuse("command.validity", "want notBefore < notAfter, at most %d seconds later", maxValiditySec).at("notAfter")
	case idMillis(c.ID) != c.NotBefore:
		return nil, refuse("command.id_time", "the first 48 bits of the id are notBefore in milliseconds").at("id")
	}
	if c.Member != "" && ID(c.Member).Check() != nil {
		return nil, refuse("command.malformed", "want a member id").at("member")
	}
	c.spec = kinds[c.Kind]
	if c.spec == nil {
		return nil, refuse("command.kind", "this kind is unknown").at("kind")
	}
	body, err := c.spec.decode(c.Envelope.Body)
	if err != nil {
		return nil, malformed("command.body", "body", err)
	}
	c.body = body
	c.Digest = HashOf("bund/digest/v1", sub.Raw)
	if r := c.checkSignatures(verify); r != nil {
		return nil, r
	}
	if len(c.Openings) > MaxOpenings {
		return nil, refuse("opening.too_many", "at most %d openings", MaxOpenings)
	}
	for _, o := range c.Openings {
		if len(o.Value) > MaxOpeningBytes {
			return nil, refuse("opening.too_large", "an opening has at most %d bytes", MaxOpeningBytes)
		}
	}
	return c, nil
}

func (c *Command) checkSignatures(verify func(k PublicKey, msg, sig []byte) bool) *Refusal {
	if n := len(c.Signatures); n == 0 || n > MaxSignatures {
		return refuse("signature.count", "want 1 to %d signatures", MaxSignatures)
	}
	lead := c.Signatures[0].Key
	if lead.Suite() != c.Suite || lead.ID() != c.Envelope.Key {
		return refuse("signature.lead", "the first signature is not by the key and suite that the command names")
	}
	for i, s := range c.Signatures {
		switch s.Key.Suite() {
		case Ed25519, ES256:
		default:
			return refuse("key.suite_unsupported", "keys of suite %q can't sign commands yet", clip(string(s.Key.Suite())))
		}
		for _, o := range c.Signatures[:i] {
			if o.Key == s.Key {
				return refuse("signature.duplicate", "one key signed twice")
			}
		}
		if !verify(s.Key, c.Raw, s.Sig) {
			return refuse("signature.invalid", "signature %d does not verify over the received bytes", i)
		}
	}
	return nil
}

func malformed(code Code, prefix string, err error) *Refusal {
	if errors.Is(err, errReservedSuite) {
		code = "key.suite_unsupported"
	}
	r := refuse(code, "%s", err.Error())
	var e *canon.Error
	if errors.As(err, &e) {
		r.Detail, r.Field = e.What, e.Field
	}
	if prefix != "" && r.Field != "" {
		r.Field = prefix + "." + r.Field
	} else if prefix != "" {
		r.Field = prefix
	}
	return r
}

// clip keeps a caller's text in a message short and printable.
func clip(s string) string {
	if len(s) > 32 {
		s = s[:32]
	}
	q := strconv.QuoteToASCII(s)
	return q[1 : len(q)-1]
}

func idMillis(id ID) Millis {
	b, err := strconv.ParseUint(string(id[:12]), 16, 64)
	if err != nil {
		return 0
	}
	return Millis(b)
}

// NewCommandID makes the id of a command that is valid from notBefore; random must hold 10 random bytes.
func NewCommandID(notBefore Millis, random [10]byte) ID {
	b := make([]byte, 16)
	for i := range 6 {
		b[i] = byte(notBefore >> (40 - 8*i))
	}
	copy(b[6:], random[:])
	return ID(hex.EncodeToString(b))
}

// Unsigned is a command before it is signed.
type Unsigned struct {
	Ledger    string
	Member    ID
	Kind      string
	Body      any // a kind's struct, or a pointer to it
	NotBefore Millis
	NotAfter  Millis // zero: ten minutes after NotBefore
	Random    [10]byte
	Lead      PublicKey
}

// Bytes gives the bytes to sign and the command's id.
func (d Unsigned) Bytes() ([]byte, ID) {
	if d.NotAfter == 0 {
		d.NotAfter = d.NotBefore.Add(maxValiditySec)
	}
	e := Envelope{
		Body: canon.Marshal(d.Body), Domain: Domain, ID: NewCommandID(d.NotBefore, d.Random), Key: d.Lead.ID(), Kind: d.Kind,
		Ledger: d.Ledger, Member: string(d.Member), NotAfter: d.NotAfter, NotBefore: d.NotBefore, Suite: d.Lead.Suite(), Version: 1,
	}
	return canon.Marshal(e), e.ID
}
