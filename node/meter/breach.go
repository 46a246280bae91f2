package meter

import "fmt"

// Breach is evidence that the provider broke the chain: totals, time, fence, a fork, an answer that isn't the
// leaf's. Nothing at or past it is ever signed; the way out is a dispute and a new epoch from the last
// acknowledgement.
type Breach struct {
	Seq   int64  `json:"seq"`
	What  string `json:"what"`
	Leaf  []byte `json:"leaf,omitempty"`  // as given to us
	Head  []byte `json:"head,omitempty"`  // the provider's signature that contradicts it, where there is one
	Other []byte `json:"other,omitempty"` // a second leaf or head for the same place
}

func (b *Breach) Error() string { return fmt.Sprintf("breach at %d: %s", b.Seq, b.What) }

// Objection is a leaf that the consumer will not sign, while the chain is whole: nothing at or past it is signed
// until a VOID takes it back.
type Objection struct {
	Seq  int64
	What string
	Leaf []byte
}

// withheld is the one objection that ends by itself, when the answer comes after all.
const withheld = "answer withheld"
