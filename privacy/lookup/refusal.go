package lookup

import (
	"fmt"

	"github.com/bund-exchange/bund/contracts"
)

// Refusals of this package. Each is deterministic: the same bytes are refused again.
const (
	Malformed     contracts.Code = "lookup.malformed"    // a message is not in its one form
	BadElement    contracts.Code = "lookup.element"      // an element is the identity or not canonical
	TooMany       contracts.Code = "lookup.too_many"     // more ids than one request takes
	Twice         contracts.Code = "lookup.twice"        // an id is there twice
	OtherTable    contracts.Code = "lookup.other_table"  // asked, or answered, under another commitment
	WrongKey      contracts.Code = "lookup.wrong_key"    // the key is not the committed one
	BadProof      contracts.Code = "lookup.proof"        // evaluated by another key, in another order, or for another request
	TableMismatch contracts.Code = "lookup.table"        // the table or a part of it is not the committed one
	BadRecord     contracts.Code = "lookup.record"       // the committed table holds a record that its own key doesn't open
	TooLong       contracts.Code = "lookup.row_too_long" // a row is longer than the table's records
	TooFew        contracts.Code = "lookup.too_few_rows" // fewer rows than the cohort, or none
)

// refuse makes a refusal. Details name no id and no value.
func refuse(code contracts.Code, format string, args ...any) *contracts.Refusal {
	return &contracts.Refusal{Code: code, Detail: fmt.Sprintf(format, args...)}
}
