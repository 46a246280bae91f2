package consent

import (
	"fmt"

	"github.com/bund-exchange/bund/contracts"
)

// Refusals of this package. Each is deterministic, but for TicketExpired and TicketSpent, which come with time and use.
const (
	Malformed      contracts.Code = "ticket.malformed" // a message is not in its one form
	BadProof       contracts.Code = "ticket.proof"     // the point is not the company's, or the proof is for another binding or place
	BadLife        contracts.Code = "ticket.life"      // a ticket of more than five minutes, or one that is over already
	TicketForeign  contracts.Code = "ticket.foreign"   // for another bank, agreement, purpose, table, epoch or service
	TicketPoints   contracts.Code = "ticket.points"    // for other points, or in another order
	TicketUnsigned contracts.Code = "ticket.signature" // not signed by the consent service that the table names
	TicketExpired  contracts.Code = "ticket.expired"   // its five minutes are over
	TicketSpent    contracts.Code = "ticket.spent"     // it was used for another call
)

// refuse makes a refusal. Details name no company, consent or point.
func refuse(code contracts.Code, format string, args ...any) *contracts.Refusal {
	return &contracts.Refusal{Code: code, Detail: fmt.Sprintf(format, args...)}
}
