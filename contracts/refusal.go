package contracts

import "fmt"

// Refusal is the market's "no": deterministic, stable in its code, documented in docs/reference/refusals.md, and
// final for the position at which it was decided. A refused command changes nothing and is not recorded; the same
// bytes may be accepted later.
//
// Every other error of this package is a failure: something outside the rules broke, nothing was decided, and the
// same command may be tried again.
type Refusal struct {
	Code   Code   // stable, listed in Codes
	Field  string // dotted path in the command's body, when one field is at fault
	Detail string // one English sentence; never a private value, a secret or a key
}

func (r *Refusal) Error() string {
	if r.Field != "" {
		return fmt.Sprintf("%s: %s: %s", r.Code, r.Field, r.Detail)
	}
	return fmt.Sprintf("%s: %s", r.Code, r.Detail)
}

// Code is the stable name of a refusal, noun first: "key.revoked", "grant.quota".
type Code string

func refuse(code Code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// at names the field that is at fault.
func (r *Refusal) at(field string) *Refusal {
	r.Field = field
	return r
}
