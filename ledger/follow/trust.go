package follow

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger/publish"
)

// TrustRoot is the file that a member gets out of band, from venue and regulator, and rests everything on. With it no
// server needs to be trusted.
type TrustRoot struct {
	Format    string         `json:"format"`    // "bund/trust-root/v1"
	Ledger    string         `json:"ledger"`    // id of the ledger, origin of its checkpoints
	Genesis   contracts.Hash `json:"genesis"`   // ledger.Hash of entry 0
	LogKey    string         `json:"logKey"`    // name+hash+base64; the name is the ledger's id
	Witnesses []string       `json:"witnesses"` // cosignature keys, name+hash+base64
	Quorum    int            `json:"quorum"`    // witnesses that must have seen a checkpoint, at least 1
}

// TrustRootFormat is the one format.
const TrustRootFormat = "bund/trust-root/v1"

const maxTrustRootBytes = 64 << 10

// Marshal writes the file, for people to read and compare.
func (t TrustRoot) Marshal() ([]byte, error) {
	if _, err := t.Policy(); err != nil {
		return nil, err
	}
	b, err := json.MarshalIndent(t, "", "  ")
	return append(b, '\n'), err
}

// ParseTrustRoot reads the file strictly: every field once, in its exact spelling, none unknown, nothing behind.
func ParseTrustRoot(b []byte) (TrustRoot, error) {
	if len(b) > maxTrustRootBytes {
		return TrustRoot{}, fmt.Errorf("trust root: %d bytes, limit %d", len(b), maxTrustRootBytes)
	}
	if !utf8.Valid(b) {
		return TrustRoot{}, errors.New("trust root: not UTF-8")
	}
	if err := exactFields(b, "format", "ledger", "genesis", "logKey", "witnesses", "quorum"); err != nil {
		return TrustRoot{}, fmt.Errorf("trust root: %w", err)
	}
	var t TrustRoot
	if err := json.Unmarshal(b, &t); err != nil {
		return TrustRoot{}, fmt.Errorf("trust root: %w", err)
	}
	_, err := t.Policy()
	return t, err
}

// exactFields checks that b is one object with exactly these fields. encoding/json alone would take a field twice, in
// another case, or not at all.
func exactFields(b []byte, want ...string) error {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errors.New("want an object")
	}
	var have []string
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		name, ok := t.(string)
		if !ok || !slices.Contains(want, name) {
			return fmt.Errorf("field %q is unknown", name)
		}
		if slices.Contains(have, name) {
			return fmt.Errorf("field %q is there twice", name)
		}
		have = append(have, name)
		var skip json.RawMessage
		if err := d.Decode(&skip); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("bytes behind the object")
	}
	if len(have) != len(want) {
		return errors.New("a field is missing")
	}
	return nil
}

// Policy checks the trust root and gives the signatures it asks for.
func (t TrustRoot) Policy() (publish.Policy, error) {
	if t.Format != TrustRootFormat {
		return publish.Policy{}, fmt.Errorf("trust root: format is not %s", TrustRootFormat)
	}
	if err := t.Genesis.Check(); err != nil {
		return publish.Policy{}, fmt.Errorf("trust root: genesis: %w", err)
	}
	p, err := publish.NewPolicy(t.LogKey, t.Witnesses, t.Quorum)
	if err != nil {
		return publish.Policy{}, fmt.Errorf("trust root: %w", err)
	}
	if p.Log.Name() != t.Ledger {
		return publish.Policy{}, errors.New("trust root: the log key's name is not the ledger's id")
	}
	if t.Quorum < 1 {
		return publish.Policy{}, errors.New("trust root: quorum is below 1; without a witness the log may show two histories")
	}
	return p, nil
}
