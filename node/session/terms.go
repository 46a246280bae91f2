package session

import (
	"errors"
	"fmt"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
)

// Terms are what a session is bound to, from its opening on.
type Terms struct {
	Agreement   contracts.ID     `json:"agreement"`
	ExpiresAt   contracts.Millis `json:"expiresAt"`
	ID          contracts.ID     `json:"id"`
	MaxReceived int64            `json:"maxReceived"` // bytes of the peer's frames
	MaxSent     int64            `json:"maxSent"`     // bytes of own frames
	Note        []byte           `json:"note"`        // what the protocol's owner needs to run it again; not secret
	Peer        contracts.ID     `json:"peer"`        // the other node
	Protocol    string           `json:"protocol"`
}

const (
	maxTotalBytes = 1 << 40
	maxNoteBytes  = 64 << 10
)

// Check reports terms that no session has.
func (t Terms) Check() error {
	for name, id := range map[string]contracts.ID{"agreement": t.Agreement, "id": t.ID, "peer": t.Peer} {
		if err := id.Check(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if t.MaxReceived < 1 || t.MaxSent < 1 || t.MaxReceived > maxTotalBytes || t.MaxSent > maxTotalBytes {
		return errors.New("a direction has 1 byte to 1 TiB")
	}
	if t.Protocol == "" || len(t.Protocol) > 32 || len(t.Note) > maxNoteBytes || t.ExpiresAt == 0 {
		return errors.New("protocol, note or end is missing or too long")
	}
	return t.ExpiresAt.Check()
}

// Outcome is how a session ended. The zero value says that it has not.
type Outcome struct {
	// Code is empty for a protocol that ran to its end; else the refusal that ended it.
	Code     contracts.Code `json:"code"`
	ByPeer   bool           `json:"byPeer"` // the other side refused
	Received int64          `json:"received"`
	Sent     int64          `json:"sent"`
}

// parseTerms and parseOutcome read what this package wrote.
func parseTerms(b []byte) (t Terms, err error)     { return t, canon.Unmarshal(b, &t) }
func parseOutcome(b []byte) (o Outcome, err error) { return o, canon.Unmarshal(b, &o) }
