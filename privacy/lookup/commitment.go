package lookup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"

	"github.com/cloudflare/circl/group"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
)

// Commitment is what stands on the ledger of one epoch of a table, before anybody asks it. Both sides take it from
// there, never from each other.
type Commitment struct {
	Cohort    int64          `json:"cohort,omitempty"` // records in a bucket at least; 0: the whole table only
	Dataset   contracts.Hash `json:"dataset"`
	Epoch     int64          `json:"epoch"`
	PublicKey []byte         `json:"publicKey"`
	Root      contracts.Hash `json:"root"` // RFC 6962, of the table's head and then its records
	Rows      int64          `json:"rows"`
	Suite     string         `json:"suite"`
	Version   contracts.ID   `json:"version"`
}

// ReadCommitment takes it from the ledger.
func ReadCommitment(version contracts.ID, t *contracts.LookupTable) (*Commitment, error) {
	c := &Commitment{Cohort: t.Cohort, Dataset: t.Dataset, Epoch: t.Epoch, PublicKey: t.PublicKey, Root: t.Root, Rows: t.Rows, Suite: t.Suite, Version: version}
	if err := c.Check(); err != nil {
		return nil, refuse(Malformed, "the commitment: %v", err)
	}
	return c, nil
}

// Commit is the command that puts it there. consentNode is for consent_lookup, else "".
func (c *Commitment) Commit(node, consentNode contracts.ID) contracts.LookupCommit {
	return contracts.LookupCommit{Version: c.Version, Node: node, Epoch: c.Epoch, Suite: c.Suite, PublicKey: c.PublicKey, Root: c.Root, Rows: c.Rows,
		Dataset: c.Dataset, Cohort: c.Cohort, ConsentNode: consentNode}
}

// Check refuses a commitment that nobody could use.
func (c Commitment) Check() error {
	switch {
	case c.Suite != contracts.LookupSuite:
		return errors.New("suite is " + contracts.LookupSuite)
	case c.Epoch < 1 || c.Rows < 1 || c.Rows > MaxRows || c.Cohort < 0 || c.Cohort > c.Rows:
		return errors.New("want epoch and rows from 1, and a cohort of at most rows")
	}
	_, err := DecodeElement(c.PublicKey)
	return err
}

// key is the committed public key.
func (c *Commitment) key() (group.Element, error) { return DecodeElement(c.PublicKey) }

// digest stands for the commitment in requests.
func (c *Commitment) digest() [32]byte {
	return sha256.Sum256(append([]byte("bund/lookup-commitment/v1\x00"), canon.Marshal(c)...))
}

// Digest is how requests and tickets name the commitment.
func (c *Commitment) Digest() contracts.Hash {
	d := c.digest()
	return contracts.Hash(hex.EncodeToString(d[:]))
}

// committed reports whether the key is the one of the commitment.
func (k *EpochKey) committed(c *Commitment) bool {
	return k.Epoch == c.Epoch && bytes.Equal(k.Public(), c.PublicKey)
}
