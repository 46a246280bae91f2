// Package verifying is contracts.PublicKey.Verify, faster for keys that sign again and again.
//
// A market's commands and a provider's receipts are signed by few keys. A Verifier keeps, for those that it saw often,
// tables of multiples of the key, so that an ed25519 signature costs additions only: about a third of crypto/ed25519.
//
// Its answer is crypto/ed25519's, always: the same rules run on other machines, which have no tables. It says yes only
// where its own sum is the R of the signature, computed by formulas that are complete on the whole curve, torsion
// included; every no is crypto/ed25519's own word. The auditor (ledger/evidence) verifies without tables, so that no
// fault of these stays unseen.
package verifying

import (
	"sync"

	"github.com/bund-exchange/bund/contracts"
)

// A table pays for itself after some ten signatures. Whoever signs with fresh keys makes none.
const (
	seenOften = 32   // signatures, good ones, after which a key gets its table
	maxSeen   = 4096 // keys that are counted; then counting begins anew
)

// Verifier remembers tables of busy keys. Many goroutines may use it. Its zero value remembers none; see New.
type Verifier struct {
	limit int // tables in each of two generations

	mu         sync.Mutex
	young, old map[contracts.PublicKey]*table
	seen       map[contracts.PublicKey]int
}

// New gives a Verifier that remembers at most twice keys tables, of 165 kB each; those unused for longest go first.
func New(keys int) *Verifier {
	return &Verifier{limit: keys, young: map[contracts.PublicKey]*table{}, seen: map[contracts.PublicKey]int{}}
}

// Verify reports whether sig is k's signature over msg, as k.Verify does.
func (v *Verifier) Verify(k contracts.PublicKey, msg, sig []byte) bool {
	if t := v.find(k); t != nil && t.verify(msg, sig) {
		return true
	}
	if !k.Verify(msg, sig) {
		return false
	}
	v.count(k)
	return true
}

func (v *Verifier) find(k contracts.PublicKey) *table {
	v.mu.Lock()
	defer v.mu.Unlock()
	t := v.young[k]
	if t == nil {
		if t = v.old[k]; t != nil {
			v.keep(k, t)
		}
	}
	return t
}

// keep puts a table into the young generation. When that is full, the old one is forgotten.
func (v *Verifier) keep(k contracts.PublicKey, t *table) {
	if len(v.young) >= v.limit {
		v.young, v.old = map[contracts.PublicKey]*table{}, v.young
	}
	v.young[k] = t
}

// count notes a good signature and makes the table of a key that has had many. Only one caller makes it; the others go
// on without.
func (v *Verifier) count(k contracts.PublicKey) {
	if v.limit < 1 || k.Suite() != contracts.Ed25519 || !v.often(k) {
		return
	}
	if t := newTable(k); t != nil {
		v.mu.Lock()
		v.keep(k, t)
		v.mu.Unlock()
	}
}

func (v *Verifier) often(k contracts.PublicKey) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.seen) >= maxSeen {
		clear(v.seen)
	}
	v.seen[k]++
	if v.seen[k] < seenOften {
		return false
	}
	delete(v.seen, k)
	return true
}
