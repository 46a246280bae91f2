// Package proposal is the form in which commands travel to chaincode on Hyperledger Fabric and in which its answers come
// back. What a client writes here, endorsers read, and every organisation reads again out of the ordered block.
//
// A transaction's arguments are [function, epoch, command…]; openings travel beside them in the transient map, which is in
// no block. The answer is a Reply in the response's payload. What is signed, answered and written is packed, see Stored.
package proposal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/packed"
)

// Functions of the chaincode.
const (
	Submit = "submit" // decides a batch of commands and writes what the accepted ones write
	Open   = "open"   // decides as Submit does and writes nothing; its Reply holds openings. Never to be ordered
	Gets   = "gets"   // arguments are keys; the answer is Values
	Epoch  = "epoch"  // [Epoch, n]: the venue begins epoch n
)

// TransientOpenings is the name of the openings in the transient map.
const TransientOpenings = "openings"

// MaxBatch is how many commands one transaction may carry.
const MaxBatch = 200

// KeyEpoch is where the record of epoch n stands, in the namespace of the market definition. It is written once.
func KeyEpoch(n uint64) string { return fmt.Sprintf("epoch/%012d", n) }

// EpochRecord is what stands there.
type EpochRecord struct {
	Time contracts.Millis `json:"time"` // timestamp of the transaction that began it
}

// Call is a transaction's arguments, decoded.
type Call struct {
	Function string
	Epoch    uint64 // a transaction may be valid while epoch Epoch+2 has not begun
	Commands []contracts.Submission
}

// Args encodes a Submit or Open, without openings.
func (c Call) Args() [][]byte {
	args := [][]byte{[]byte(c.Function), strconv.AppendUint(nil, c.Epoch, 10)}
	for _, s := range c.Commands {
		args = append(args, encodeCommand(s))
	}
	return args
}

// ParseCall accepts what Args writes, with words of packed written out or not.
func ParseCall(args [][]byte) (Call, error) {
	if len(args) < 3 || len(args) > 2+MaxBatch {
		return Call{}, fmt.Errorf("proposal: want a function, an epoch and 1 to %d commands", MaxBatch)
	}
	c := Call{Function: string(args[0])}
	if c.Function != Submit && c.Function != Open {
		return Call{}, errors.New("proposal: this function takes no commands")
	}
	var err error
	if c.Epoch, err = ParseEpoch(args[1]); err != nil {
		return Call{}, err
	}
	for i, a := range args[2:] {
		s, err := parseCommand(a)
		if err != nil {
			return Call{}, fmt.Errorf("proposal: command %d: %w", i, err)
		}
		c.Commands = append(c.Commands, s)
	}
	return c, nil
}

// ParseEpoch reads the number of an epoch: decimal, from 1, without leading zeros.
func ParseEpoch(b []byte) (uint64, error) {
	n, err := strconv.ParseUint(string(b), 10, 63)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != string(b) {
		return 0, errors.New("proposal: the epoch is malformed")
	}
	return n, nil
}

// A command is: count of signatures (1) ‖ each packed key and signature with its length (2) ‖ the signed bytes, packed.
func encodeCommand(s contracts.Submission) []byte {
	raw := packed.Pack(s.Raw)
	b := make([]byte, 0, len(raw)+128*len(s.Signatures)+1)
	b = append(b, byte(len(s.Signatures)))
	for _, x := range s.Signatures {
		b = putShort(putShort(b, packed.Pack([]byte(x.Key))), x.Sig)
	}
	return append(b, raw...)
}

func parseCommand(b []byte) (contracts.Submission, error) {
	var s contracts.Submission
	if len(b) < 1 || b[0] == 0 || b[0] > contracts.MaxSignatures {
		return s, errors.New("the number of signatures is malformed")
	}
	n := int(b[0])
	b = b[1:]
	for range n {
		var key, sig []byte
		var ok bool
		if key, b, ok = short(b); ok {
			sig, b, ok = short(b)
		}
		if !ok {
			return contracts.Submission{}, errors.New("a signature is malformed")
		}
		key, err := packed.Unpack(key, math.MaxUint16)
		if err != nil {
			return contracts.Submission{}, errors.New("a key is malformed")
		}
		s.Signatures = append(s.Signatures, contracts.Signature{Key: contracts.PublicKey(key), Sig: sig})
	}
	var err error
	if s.Raw, err = packed.Unpack(b, contracts.MaxCommandBytes); err != nil || len(b) == 0 {
		return contracts.Submission{}, errors.New("the signed bytes are missing, malformed or too many")
	}
	return s, nil
}

func putShort(b, x []byte) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(x))), x...)
}

func short(b []byte) (x, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b) < 2+n {
		return nil, nil, false
	}
	return b[2 : 2+n : 2+n], b[2+n:], true
}
