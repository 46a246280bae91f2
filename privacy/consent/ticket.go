package consent

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/privacy/lookup"
)

// Ticket is the consent service's word that each of these points is that of a company that consents to this use. One
// signature is for all points of a request, so that there is nothing to gain from a tree of them. It holds no id, no
// consent and no stable pseudonym: points are random.
type Ticket struct {
	Binding Binding        `json:"binding"`
	Count   int64          `json:"count"`
	Points  contracts.Hash `json:"points"` // of all points in the request's order
	Sig     []byte         `json:"sig"`    // by the service's receipt key
}

// Check refuses what can be no ticket.
func (t Ticket) Check() error {
	if t.Count < 1 || t.Count > MaxClaims || len(t.Sig) != 64 {
		return errors.New("want a count of points, and a signature of 64 bytes")
	}
	return nil
}

// pointsHash is that of n points, one after another.
func pointsHash(n int, point func(i int) []byte) contracts.Hash {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 4+n*lookup.ElementBytes), uint32(n))
	for i := range n {
		b = append(b, point(i)...)
	}
	return contracts.HashOf("bund/lookup-points/v1", b)
}

// statement is what the service signs.
func (t *Ticket) statement() []byte {
	return append([]byte("bund/lookup-ticket/v1\x00"), canon.Marshal(struct {
		Binding Binding        `json:"binding"`
		Count   int64          `json:"count"`
		Points  contracts.Hash `json:"points"`
	}{t.Binding, t.Count, t.Points})...)
}

// Bytes is the ticket's one form.
func (t *Ticket) Bytes() []byte { return canon.Marshal(*t) }

// ParseTicket reads it.
func ParseTicket(b []byte) (*Ticket, error) {
	t := new(Ticket)
	if err := canon.Unmarshal(b, t); err != nil {
		return nil, refuse(Malformed, "the ticket: %v", err)
	}
	return t, nil
}

// Call is what the provider knows of a call by itself, from its gate and the ledger.
type Call struct {
	Agreement contracts.ID
	Bank      contracts.ID
	Purpose   policy.Purpose
	Version   contracts.ID
	Epoch     int64
	Service   contracts.ID        // the node that the table names
	Key       contracts.PublicKey // its receipt key
	Use       contracts.Hash      // of this call: a ticket is good for one, and for that one again
}

// Spent remembers the nonces of tickets that were used.
type Spent interface {
	// Spend notes that the nonce was used by use, durably before it returns, until a time after which no ticket with it
	// lives. It reports whether the nonce was free, or spent by the same use. It is safe for concurrent use.
	Spend(nonce [16]byte, use contracts.Hash, until contracts.Millis) (bool, error)
}

// Verify is the provider's question before it evaluates a request. Its error is a *contracts.Refusal, or a failure of the
// store. The ticket is spent when nothing else is wrong.
func (t *Ticket) Verify(q *lookup.Request, c Call, now contracts.Millis, spent Spent) error {
	b := &t.Binding
	if !c.Key.Verify(t.statement(), t.Sig) {
		return refuse(TicketUnsigned, "the ticket is not signed by the consent service that the table names")
	}
	if b.Agreement != c.Agreement || b.Bank != c.Bank || b.Purpose != c.Purpose || b.Version != c.Version || b.Epoch != c.Epoch || b.Service != c.Service ||
		b.Table != q.Table() {
		return refuse(TicketForeign, "the ticket is for another bank, agreement, purpose, table or epoch")
	}
	if t.Count != int64(q.Len()) || t.Points != pointsHash(q.Len(), q.Element) {
		return refuse(TicketPoints, "the ticket is for other points")
	}
	if err := b.lives(now); err != nil {
		return err
	}
	free, err := spent.Spend(b.Nonce, c.Use, b.NotAfter)
	if err != nil {
		return fmt.Errorf("couldn't note a ticket: %w", err)
	}
	if !free {
		return refuse(TicketSpent, "the ticket was used for another call")
	}
	return nil
}
