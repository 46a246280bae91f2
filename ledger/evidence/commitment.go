package evidence

import (
	"strings"

	"github.com/bund-exchange/bund/contracts"
)

// commitments lists the private values that a written record commits to.
func commitments(w contracts.Write) []contracts.Hash {
	noun, _, _ := strings.Cut(strings.TrimPrefix(w.Key, "clr/"), "/")
	switch noun {
	case "negotiation":
		return of(w.Value, func(n *contracts.Negotiation) []contracts.Hash {
			if n.Proposal == nil {
				return []contracts.Hash{n.Offer.Terms}
			}
			return []contracts.Hash{n.Offer.Terms, n.Proposal.Text}
		})
	case "agreement":
		return of(w.Value, func(a *contracts.Agreement) []contracts.Hash { return []contracts.Hash{a.Terms, a.NextTerms} })
	case "usage":
		return of(w.Value, func(u *contracts.Usage) []contracts.Hash { return []contracts.Hash{u.Totals} })
	case "movement":
		return of(w.Value, func(m *contracts.Movement) []contracts.Hash { return []contracts.Hash{m.Value} })
	case "escrow":
		return of(w.Value, func(e *contracts.Escrow) []contracts.Hash { return []contracts.Hash{e.Balance} })
	case "debt":
		return of(w.Value, func(d *contracts.Debt) []contracts.Hash { return []contracts.Hash{d.Owed} })
	case "settlement":
		return of(w.Value, func(s *contracts.Settlement) []contracts.Hash { return []contracts.Hash{s.Value} })
	}
	return nil
}

func of[T any](value []byte, hashes func(*T) []contracts.Hash) (out []contracts.Hash) {
	rec, err := contracts.Read[T](value)
	if err != nil {
		return nil
	}
	for _, c := range hashes(rec) {
		if c != "" {
			out = append(out, c)
		}
	}
	return out
}
