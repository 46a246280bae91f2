package vault

import (
	"strings"

	"github.com/bund-exchange/bund/contracts/dictionary"
)

// The field dictionary is the market's word too; its types live with the contracts.
type (
	Schema = dictionary.Dictionary
	Field  = dictionary.Field
	Code   = dictionary.Code
	Type   = dictionary.Type
	Format = dictionary.Format
)

const (
	Text             = dictionary.Text
	Coded            = dictionary.Coded
	Integer          = dictionary.Integer
	Decimal          = dictionary.Decimal
	Boolean          = dictionary.Boolean
	Date             = dictionary.Date
	Instant          = dictionary.Instant
	CreditCodeFormat = dictionary.CreditCodeFormat
)

// ReadSchema reads a dictionary that a person wrote, as YAML or JSON.
func ReadSchema(b []byte) (*Schema, error) { return dictionary.Read(b) }

// clip keeps a name that somebody else wrote from filling an error.
func clip(s string) string {
	if len(s) > 40 {
		return strings.ToValidUTF8(s[:40], "") + "…"
	}
	return s
}
