package contracts

//go:generate go test -run TestRefusalsDoc -update .

// Class says what kind of "no" a refusal is. An edge turns it into its own protocol; HTTPStatus is what HTTP makes of it.
type Class string

const (
	Malformed    Class = "malformed"    // the bytes are no command; nothing about the market was asked
	TooLarge     Class = "too_large"    // over a limit of size or number
	Unauthorised Class = "unauthorised" // the signatures do not carry the command
	Forbidden    Class = "forbidden"    // well signed, by somebody who may not do this
	PaymentDue   Class = "payment_due"  // money is missing
	NotFound     Class = "not_found"    // there is no such object, or it is not this member's to know
	Conflict     Class = "conflict"     // the object's state doesn't allow it, or somebody was first
	Gone         Class = "gone"         // it was in force once and is no more
	Unprocessed  Class = "unprocessed"  // well formed, and against a rule of the market
	Locked       Class = "locked"       // a freeze or a dispute holds it
	TooEarly     Class = "too_early"    // not yet; the same command may be accepted later
)

// HTTPStatus gives the status of RFC 9110 (and 4918, 8470) that an HTTP edge answers.
func (c Class) HTTPStatus() int {
	switch c {
	case Malformed:
		return 400
	case Unauthorised:
		return 401
	case PaymentDue:
		return 402
	case Forbidden:
		return 403
	case NotFound:
		return 404
	case Conflict:
		return 409
	case Gone:
		return 410
	case TooLarge:
		return 413
	case Unprocessed:
		return 422
	case Locked:
		return 423
	case TooEarly:
		return 425
	}
	return 500
}

// CodeDoc is the documentation of one refusal code: what it means and what its caller can do about it.
type CodeDoc struct {
	Code       Code
	Class      Class
	Zh, En     string // meaning
	DoZh, DoEn string // what a caller can do
}

// Lookup gives the documentation of a code.
func Lookup(c Code) (CodeDoc, bool) {
	d, ok := codeIndex[c]
	return d, ok
}

var codeIndex = func() map[Code]CodeDoc {
	m := make(map[Code]CodeDoc, len(Codes))
	for _, d := range Codes {
		m[d.Code] = d
	}
	return m
}()
