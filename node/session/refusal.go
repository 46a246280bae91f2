package session

import (
	"errors"

	"github.com/bund-exchange/bund/contracts"
)

// Refusals of a session, beside those of the protocol that it runs.
const (
	Unknown   contracts.Code = "session.unknown"   // no such session of this peer under this agreement
	Expired   contracts.Code = "session.expired"   // its time is over, and what it kept is gone
	Ended     contracts.Code = "session.ended"     // the protocol has ended; nothing more is taken
	Gap       contracts.Code = "session.gap"       // a frame that doesn't follow those that are here
	Changed   contracts.Code = "session.changed"   // other bytes under the number of a frame that is here
	TooLarge  contracts.Code = "session.too_large" // a frame, or all of them, above the bounds
	Differs   contracts.Code = "session.differs"   // the id is taken by a session on other terms
	TooMany   contracts.Code = "session.too_many"  // as many sessions are open as this node holds
	Malformed contracts.Code = "session.malformed" // not the one form of a request
)

func refuse(code contracts.Code, detail string) error {
	return &contracts.Refusal{Code: code, Detail: detail}
}

func isRefusal(err error, code contracts.Code) bool {
	var r *contracts.Refusal
	return errors.As(err, &r) && r.Code == code
}

var (
	// ErrBusy says that the session's protocol runs already in this process.
	ErrBusy = errors.New("session is being run")

	// ErrStopped says that a write failed: what is on disk is known again once the shelf is opened anew.
	ErrStopped = errors.New("session has stopped after a failed write")

	// ErrClosed says that the shelf was closed.
	ErrClosed = errors.New("shelf of sessions is closed")
)

// PeerRefused is how a session ends because the other side refused something of ours.
type PeerRefused struct {
	Code contracts.Code // of the protocol, or Expired
}

func (e *PeerRefused) Error() string { return "the other side ended the session: " + string(e.Code) }
