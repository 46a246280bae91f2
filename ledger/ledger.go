package ledger

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/bund-exchange/bund/contracts"
)

// Ledger is what a client may ask of any ledger. Every implementation passes ledgertest. All methods are safe for
// concurrent use.
type Ledger interface {
	// Submit asks for one command to be accepted. It answers only after everything that the answer depends on is
	// durable. The error is one of three things: *Refused, a deterministic no; ErrOutcomeUnknown, to be resolved by
	// Lookup, never by a new command id; or a failure: nothing was accepted and the same bytes may be sent again.
	// Sending the bytes of an accepted command again is always safe and gives the recorded answer.
	Submit(ctx context.Context, sub contracts.Submission) (*Receipt, error)

	// Lookup says what became of a command. It waits for what was submitted before it.
	Lookup(ctx context.Context, id contracts.ID) (*Answer, error)

	// Entries gives up to limit durable entries from position from on, in order and without gaps; none when from is
	// the height. The answer may be shorter than limit before the end.
	Entries(ctx context.Context, from uint64, limit int) ([]*Stored, error)

	// Height is the number of durable entries.
	Height(ctx context.Context) (uint64, error)

	// Wait returns once the height is above from.
	Wait(ctx context.Context, from uint64) error
}

// Stored is a durable entry together with its encoding.
type Stored struct {
	*Entry
	Encoded []byte   // never changed after it was stored
	Hash    [32]byte // Hash(Encoded)
}

// Receipt is the answer to an accepted command.
type Receipt struct {
	Promise
	Repeated bool // accepted before, by the same bytes
	Outcome  contracts.Outcome
}

// Status is what a ledger knows about a command id.
type Status string

const (
	NotFound Status = "not_found" // not accepted so far; a submission under way may still be
	Accepted Status = "accepted"
	Never    Status = "never" // not accepted, and the last moment at which it could be has passed
)

// Answer is the result of a Lookup.
type Answer struct {
	Status  Status
	Height  uint64            // entries that were durable when the answer was decided
	Promise Promise           // of an accepted command
	Outcome contracts.Outcome // of an accepted command
}

// Refused is a contracts.Refusal together with where it was decided. Another position may decide otherwise.
type Refused struct {
	*contracts.Refusal
	Position uint64 // the position that the command would have had
}

func (r *Refused) Error() string { return fmt.Sprintf("refused at %d: %v", r.Position, r.Refusal) }

func (r *Refused) Unwrap() error { return r.Refusal }

var (
	// ErrOutcomeUnknown means that the command may have been accepted. Lookup will tell.
	ErrOutcomeUnknown = errors.New("outcome unknown, look the command up")

	// ErrStopped means that the ledger takes no more commands until an operator has looked at it: a write failed, and
	// what is on the disk can only be told by opening it again. Nothing was accepted.
	ErrStopped = errors.New("the ledger's writer has stopped")

	// ErrClosed means that the ledger was closed before it took the command. Nothing was accepted.
	ErrClosed = errors.New("the ledger is closed")

	// ErrDamaged means that stored bytes are not what was written. It comes with file and offset.
	ErrDamaged = errors.New("the log is damaged")
)

// validityMillis is the longest time between a command's notBefore, which its id begins with, and its notAfter.
const validityMillis = 600_000

// Deadline is the last moment at which a command with this id can be accepted.
func Deadline(id contracts.ID) (contracts.Millis, error) {
	if err := id.Check(); err != nil {
		return 0, fmt.Errorf("command id: %w", err)
	}
	ms, err := strconv.ParseUint(string(id[:12]), 16, 64)
	if err != nil {
		return 0, fmt.Errorf("command id: %w", err)
	}
	return contracts.Millis(ms + validityMillis), nil
}
