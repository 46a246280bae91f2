package contracts

// ReadsAnchor holds the chain of what supervisors have read at the market: so many rows, of which the last has this
// hash. The rows stay with the market; once anchored none can be taken out or changed without a trace.
type ReadsAnchor struct {
	Count int64 `json:"count"`
	Head  Hash  `json:"head"`
}

// AnchoredReads is the last anchor on the ledger.
type AnchoredReads struct {
	Count int64  `json:"count"`
	Head  Hash   `json:"head"`
	Time  Millis `json:"time"`
}

// KeyReads is where the last anchor stands.
const KeyReads = "reads"

var readsKinds = []*spec{
	kind("reads.anchor", applyReadsAnchor, by(RoleVenue), public),
}

// applyReadsAnchor takes only chains that have grown: a shorter one, or another of the same length, is another history.
func applyReadsAnchor(t *tx, b *ReadsAnchor) *Refusal {
	if old, ok := get[AnchoredReads](t, KeyReads); b.Count < 1 || ok && b.Count <= old.Count {
		return refuse("reads.order", "an anchor counts more reads than the one before").at("count")
	}
	t.put(KeyReads, AnchoredReads{Count: b.Count, Head: b.Head, Time: t.env.Now})
	t.event("reads.anchored", "")
	return nil
}
