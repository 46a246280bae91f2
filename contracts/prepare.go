package contracts

import (
	"bytes"

	"github.com/gowebpki/jcs"
)

// ParseBody brings a kind's body, in any JSON form of the right shape, into its canonical form. It is for those who
// prepare bytes; a ledger accepts only the canonical form. Its error is a *Refusal.
func ParseBody(kind string, body []byte) ([]byte, error) {
	s := kinds[kind]
	if s == nil {
		return nil, refuse("command.kind", "this kind is unknown").at("kind")
	}
	b, err := jcs.Transform(body)
	if err != nil {
		return nil, refuse("command.body", "the body is not JSON").at("body")
	}
	if _, err := s.decode(b); err != nil {
		return nil, malformed("command.body", "body", err)
	}
	return bytes.Clone(b), nil
}
