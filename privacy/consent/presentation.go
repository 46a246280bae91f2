package consent

import (
	"encoding/binary"

	"github.com/bund-exchange/bund/privacy/lookup"
)

// maxTicketBytes bounds a ticket within a presentation.
const maxTicketBytes = 4 << 10

// Present is the payload of a consent_lookup: length u16 of the ticket, the ticket, and the lookup request.
func Present(t *Ticket, q *lookup.Request) []byte {
	b := t.Bytes()
	out := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(b)), uint16(len(b)))
	return append(append(out, b...), q.Bytes()...)
}

// ParsePresentation reads it.
func ParsePresentation(b []byte) (*Ticket, *lookup.Request, error) {
	if len(b) < 2 {
		return nil, nil, refuse(Malformed, "the presentation is short")
	}
	n := int(binary.BigEndian.Uint16(b))
	if n > maxTicketBytes || n > len(b)-2 {
		return nil, nil, refuse(Malformed, "the presentation is short, or its ticket too long")
	}
	t, err := ParseTicket(b[2 : 2+n])
	if err != nil {
		return nil, nil, err
	}
	q, err := lookup.ParseRequest(b[2+n:])
	return t, q, err
}
