package contracts

// Signature is one person's or machine's signature over the received bytes of a command.
type Signature struct {
	Key PublicKey
	Sig []byte // 64 bytes in both suites
}

// Opening reveals a private value that a command's body commits to: Commitment = HashOf(tag, salt, value). It travels
// beside the signed bytes, never inside them, and never enters State, an entry or an event. Whoever accepts a
// submission stores its openings durably, for their audience only, before the entry is written.
type Opening struct {
	Salt  [32]byte
	Value []byte // canonical bytes of the value
}

// Commitment is what the ledger holds of the value. The tag says what kind of value it is.
func (o Opening) Commitment(tag string) Hash { return HashOf(tag, o.Salt[:], o.Value) }

// Submission is what a client sends to a ledger.
type Submission struct {
	Raw        []byte // the signed bytes, exactly as signed
	Signatures []Signature
	Openings   []Opening
}

// Event says that something happened to an object: "product.listed". Details are in the write set and the command.
type Event struct {
	Name   string
	Object ID
}

// Write is one absolute change of State; a nil Value deletes the key. Applying a write twice is harmless.
type Write struct {
	Key   string
	Value []byte
}
