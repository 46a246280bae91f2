package meter

import (
	"errors"
	"fmt"

	"github.com/bund-exchange/bund/contracts"
)

// Evidence shows one leaf of a log to somebody who has none of it, without showing the others: their hashes say
// nothing, since each leaf holds 80 random bits. The provider shows a leaf against the consumer's acknowledgement,
// the consumer against the provider's head or report.
type Evidence struct {
	Leaf   []byte   // encoded
	Path   [][]byte // RFC 6962 inclusion proof
	Signed Signed
	Tag    string // what Signed is: TagHead, TagAck or TagReport
}

// Verify checks that key signed a log that holds the leaf, and gives the leaf.
func (e *Evidence) Verify(key contracts.PublicKey) (Leaf, error) {
	if e.Tag != contracts.TagHead && e.Tag != contracts.TagAck && e.Tag != contracts.TagReport {
		return Leaf{}, errors.New("couldn't verify evidence: unknown kind of statement")
	}
	if !e.Signed.Verify(e.Tag, key) {
		return Leaf{}, errors.New("couldn't verify evidence: not a signature of this key")
	}
	l, err := DecodeLeaf(e.Leaf)
	if err != nil {
		return Leaf{}, fmt.Errorf("couldn't verify evidence: %w", err)
	}
	if l.Agreement != e.Signed.Agreement.Bytes() || l.Epoch != e.Signed.Epoch {
		return Leaf{}, errors.New("couldn't verify evidence: leaf of another log")
	}
	if err := verifyInclusion(e.Leaf, l.Seq, e.Signed.Size, e.Path, e.Signed.Root); err != nil {
		return Leaf{}, fmt.Errorf("couldn't verify evidence: %w", err)
	}
	return l, nil
}

// evidence reads all leaves below the signed size once. It fails if they are not the signed log.
func evidence(seq int64, against Signed, tag string, leaf func(int64) ([]byte, error)) (*Evidence, error) {
	path, root, err := prove(seq, against.Size, leaf)
	if err != nil {
		return nil, err
	}
	if root != against.Root {
		return nil, fmt.Errorf("couldn't prove leaf %d: the signed root isn't that of the leaves kept here", seq)
	}
	raw, err := leaf(seq)
	if err != nil {
		return nil, err
	}
	return &Evidence{Leaf: raw, Path: path, Signed: against, Tag: tag}, nil
}

// Evidence shows leaf seq of this epoch against a statement that was signed about it.
func (l *Log) Evidence(seq int64, against Signed, tag string) (*Evidence, error) {
	if l.State().Epoch != against.Epoch {
		return nil, errors.New("couldn't prove leaf: statement of another epoch")
	}
	return evidence(seq, against, tag, l.Leaf)
}

// Audit reads all acknowledged leaves of this epoch and compares their root with the one that the consumer signed.
func (l *Log) Audit() error {
	a := l.Acknowledged()
	if a == nil {
		return nil
	}
	_, err := evidence(a.Size-1, *a, contracts.TagAck, l.Leaf)
	return err
}

// Consumer gives the consumer's half of a report.
func (r *Report) Consumer() Signed { return Signed{r.Statement, r.ConsumerSig} }

// Provider gives the provider's half of a report.
func (r *Report) Provider() Signed { return Signed{r.Statement, r.ProviderSig} }
