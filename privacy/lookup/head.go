package lookup

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"math"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
)

// Bounds of a table.
const (
	MaxRows        = math.MaxInt32
	MinRecordBytes = 32
	MaxRecordBytes = 64 << 10
	maxHeadBytes   = 1 << 10
	maxPrefixBits  = 20
)

// Head begins a table. It is the first leaf of its tree, so that the root on the ledger covers it.
type Head struct {
	Base

	Cohort     int64 `json:"cohort,omitempty"`
	PrefixBits int64 `json:"prefixBits,omitempty"` // of the tag, that choose a bucket: each has Cohort records at least
	Rows       int64 `json:"rows"`
}

// Base is what every record is bound to when it is sealed: all of the commitment that is known by then.
type Base struct {
	Dataset     contracts.Hash `json:"dataset"`
	Epoch       int64          `json:"epoch"`
	PublicKey   []byte         `json:"publicKey"`
	RecordBytes int64          `json:"recordBytes"` // of a padded row before sealing; the same for all, so that lengths say nothing
	Salt        [16]byte       `json:"salt"`        // new for each table, so that no key ever seals two rows
	Suite       string         `json:"suite"`
	Version     contracts.ID   `json:"version"`
}

// Check refuses a head that no table has.
func (h Head) Check() error {
	switch {
	case h.RecordBytes < MinRecordBytes || h.RecordBytes > MaxRecordBytes:
		return errors.New("recordBytes is out of bounds")
	case h.Rows < 1 || h.Rows > MaxRows || h.Cohort < 0 || h.Cohort > h.Rows:
		return errors.New("want rows from 1, and a cohort of at most rows")
	case h.PrefixBits < 0 || h.PrefixBits > maxPrefixBits || h.PrefixBits > 0 && h.Cohort == 0:
		return errors.New("prefixBits is out of bounds")
	}
	return nil
}

// digest stands for the base in what records are sealed with.
func (b *Base) digest() [32]byte {
	return sha256.Sum256(append([]byte("bund/lookup-base/v1\x00"), canon.Marshal(*b)...))
}

// of refuses the head of another table.
func (h *Head) of(c *Commitment) error {
	if h.Version != c.Version || h.Suite != c.Suite || h.Epoch != c.Epoch || h.Dataset != c.Dataset || h.Rows != c.Rows || h.Cohort != c.Cohort ||
		!bytes.Equal(h.PublicKey, c.PublicKey) {
		return refuse(TableMismatch, "the head is that of another table")
	}
	return nil
}

// commitment is that of the head's table.
func (h *Head) commitment(root []byte) *Commitment {
	return &Commitment{Cohort: h.Cohort, Dataset: h.Dataset, Epoch: h.Epoch, PublicKey: h.PublicKey, Root: rootHash(root), Rows: h.Rows, Suite: h.Suite, Version: h.Version}
}

// parseHead reads a head's one form.
func parseHead(b []byte) (*Head, error) {
	if len(b) > maxHeadBytes {
		return nil, refuse(Malformed, "the head is too long")
	}
	h := new(Head)
	if err := canon.Unmarshal(b, h); err != nil {
		return nil, refuse(Malformed, "the head: %v", err)
	}
	return h, nil
}

// Buckets is how many buckets the table has; 0 when it is given as a whole only.
func (h *Head) Buckets() uint32 {
	if h.Cohort == 0 {
		return 0
	}
	return 1 << h.PrefixBits
}

// Bucket is the number of the bucket in which a record of this tag would be.
func (h *Head) Bucket(t Tag) uint32 { return t.prefix(h.PrefixBits) }

// recordSize is the length of a sealed record.
func (h *Head) recordSize() int { return tagBytes + int(h.RecordBytes) + sealBytes }

// TableBytes is the length of the whole table.
func (h *Head) TableBytes() int64 {
	return int64(len(preamble(canon.Marshal(*h)))) + h.Rows*int64(h.recordSize())
}
