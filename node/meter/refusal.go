package meter

import (
	"errors"
	"fmt"

	"github.com/bund-exchange/bund/contracts"
)

// Refusals of the receipts protocol. A refused call is billed nothing and writes no leaf.
const (
	WindowFull          contracts.Code = "WINDOW_FULL"          // acknowledge, then ask again
	QuotaExceeded       contracts.Code = "QUOTA_EXCEEDED"       // the grant's billed calls are used up
	TooManyUnits        contracts.Code = "TOO_MANY_UNITS"       // one call asks for more than a call or the window may hold
	EscrowExhausted     contracts.Code = "ESCROW_EXHAUSTED"     // accrued amount has reached escrow plus grace
	RequestExpired      contracts.Code = "REQUEST_EXPIRED"      // the id is older than its life, or from the future
	IDReused            contracts.Code = "ID_REUSED"            // the same id with another tag or other request bytes
	AlreadyAcknowledged contracts.Code = "ALREADY_ACKNOWLEDGED" // the answer was acknowledged and is gone
	EpochMismatch       contracts.Code = "EPOCH_MISMATCH"       // the log is in another epoch
	LogBehindAck        contracts.Code = "LOG_BEHIND_ACK"       // acknowledged past the end of the provider's log
	AckMismatch         contracts.Code = "ACK_MISMATCH"         // root or totals are not the log's
	AckSignature        contracts.Code = "ACK_SIGNATURE"        // not the consumer's signature, or another agreement
	AckOutOfPlace       contracts.Code = "ACK_OUT_OF_PLACE"     // jumps over a CLOSE, or parts a VOID from its leaf
	NotVoidable         contracts.Code = "NOT_VOIDABLE"         // no CALL leaf, or taken back before
	CloseOutOfOrder     contracts.Code = "CLOSE_OUT_OF_ORDER"   // a later period is closed already
	NoAnswer            contracts.Code = "NO_ANSWER"            // no sealed answer at this place
)

// Refusal is the provider's "no" together with where its log stands, from which the consumer knows what to do.
// Other errors are failures: the same request may be sent again.
type Refusal struct {
	Code   contracts.Code
	Detail string // one English sentence without private values
	Epoch  int64
	Size   int64
	Acked  int64
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("%s: %s (epoch %d, size %d, acknowledged %d)", r.Code, r.Detail, r.Epoch, r.Size, r.Acked)
}

// refused reports whether err is a refusal with one of codes.
func refused(err error, codes ...contracts.Code) bool {
	var r *Refusal
	if !errors.As(err, &r) {
		return false
	}
	for _, c := range codes {
		if r.Code == c {
			return true
		}
	}
	return false
}

var (
	// ErrStopped is the failure of a writer that couldn't write, was fenced, or is closed. Nothing was served. What is
	// on disk is found out by the next writer; the caller asks it with the same id.
	ErrStopped = errors.New("receipt writer has stopped")

	// ErrFenced says that another writer has taken the store over.
	ErrFenced = errors.New("receipt writer is fenced: another has taken over")

	// ErrOutcomeUnknown wraps the last failure of a call that may have been executed and billed. Asking again with the
	// same nonce tells.
	ErrOutcomeUnknown = errors.New("outcome of the call is unknown")
)
