package contracts

import (
	"encoding/binary"
	"errors"
)

// Totals are what a receipt log has billed since its epoch began. Micro is the accrued amount in millionths of a
// yuan, before the one rounding to fen at settlement.
type Totals struct {
	Calls int64     `json:"calls"` // billed leaves
	Units int64     `json:"units"` // billed units, VOIDs taken back
	Micro MicroYuan `json:"micro"` // accrued amount
}

// Check reports totals that no log can have.
func (t Totals) Check() error {
	if t.Calls < 0 || t.Units < 0 || t.Micro < 0 {
		return errors.New("want totals not below zero")
	}
	return nil
}

// Statement is the state of an agreement's receipt log at one size: an RFC 6962 tree head with totals. Provider and
// consumer sign the same statement under different tags; a usage report carries both signatures.
type Statement struct {
	Agreement ID     `json:"agreement"`
	Epoch     int64  `json:"epoch"` // of the log; a new one begins after a broken chain
	Size      int64  `json:"size"`  // leaves
	Root      Hash   `json:"root"`  // RFC 6962 root over the leaves
	Totals    Totals `json:"totals"`
}

// Tags of the three signatures over a Statement.
const (
	TagHead   = "bund/receipts/head/v1"   // provider's node: "my log has this head"
	TagAck    = "bund/receipts/ack/v1"    // consumer's node: "I acknowledge this prefix"
	TagReport = "bund/receipts/report/v1" // provider's node: "bill this"
)

// SignedBytes is what is signed: tag, zero byte, then the fields at fixed width, big-endian.
func (s Statement) SignedBytes(tag string) []byte {
	id, root := s.Agreement.Bytes(), s.Root.Bytes()
	b := make([]byte, 0, len(tag)+1+16+8+8+32+24)
	b = append(append(b, tag...), 0)
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(s.Epoch))
	b = binary.BigEndian.AppendUint64(b, uint64(s.Size))
	b = append(b, root[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(s.Totals.Calls))
	b = binary.BigEndian.AppendUint64(b, uint64(s.Totals.Units))
	return binary.BigEndian.AppendUint64(b, uint64(s.Totals.Micro))
}
