package contracts

// ExportDecision is a regulator's decision about a cross-border transfer: the inputs by digest, the rule version, and
// the route. The evaluation itself is not part of this ledger yet.
type ExportDecision struct {
	By     ID     `json:"by"`
	Member ID     `json:"member"`
	Inputs Hash   `json:"inputs"`
	Rules  string `json:"rules"`
	Route  string `json:"route"` // "EXEMPT", "SCC_OR_CERT", "ASSESS", "BLOCK"
	Time   Millis `json:"time"`
}

// KeyExport is where a decision stands.
func KeyExport(id ID) string { return "export/" + string(id) }

// ExportDecide records one.
type ExportDecide struct {
	Member ID     `json:"member"`
	Inputs Hash   `json:"inputs"`
	Rules  string `json:"rules"`
	Route  string `json:"route"`
}

// Erasure says that payload and salt of commitments were destroyed here. A buyer's copy is only promised away.
type Erasure struct {
	By     ID     `json:"by"`
	Reason string `json:"reason"`
	Time   Millis `json:"time"`
}

// KeyErasure is where the erasure of a commitment stands.
func KeyErasure(commitment Hash) string { return "erased/" + string(commitment) }

// ErasureRecord records the erasure of openings: by a party that they were opened for, or by the venue.
type ErasureRecord struct {
	Commitments []Hash `json:"commitments"`
	Reason      string `json:"reason"`
}

// LedgerSnapshot is a snapshot of State whose hash is in the log.
type LedgerSnapshot struct {
	Entries   int64  `json:"entries"` // that it covers
	StateHash Hash   `json:"stateHash"`
	Time      Millis `json:"time"`
}

// KeyLedgerSnapshot is where the last one stands.
const KeyLedgerSnapshot = "ledger-snapshot"

// SnapshotRecord records a ledger snapshot.
type SnapshotRecord struct {
	Entries   int64 `json:"entries"`
	StateHash Hash  `json:"stateHash"`
}

// LossAccept says openly that the ledger was restored from a backup that lacks entries which a witness had cosigned.
// Followers stop until a person has read it.
type LossAccept struct {
	CosignedSize int64  `json:"cosignedSize"`
	RestoredSize int64  `json:"restoredSize"`
	Reason       string `json:"reason"`
}

// Loss is the record of it; Epoch counts them.
type Loss struct {
	Epoch        int64  `json:"epoch"`
	CosignedSize int64  `json:"cosignedSize"`
	RestoredSize int64  `json:"restoredSize"`
	Reason       string `json:"reason"`
	Time         Millis `json:"time"`
}

// KeyLoss is where the last loss stands.
const KeyLoss = "loss"

var evidenceKinds = []*spec{
	kind("export.decide", applyExportDecide, twoPeople(RoleRegulator)),
	kind("erasure.record", applyErasure, by("", DutyMaker), public),
	kind("snapshot.record", applySnapshot, by(RoleVenue), public),
	kind("loss.accept", applyLoss, twoPeople(RoleVenue), public, personal),
}

func applyExportDecide(t *tx, b *ExportDecide) *Refusal {
	if _, r := t.member(b.Member); r != nil {
		return r.at("member")
	}
	switch b.Route {
	case "EXEMPT", "SCC_OR_CERT", "ASSESS", "BLOCK":
	default:
		return refuse("export.route", "a route is EXEMPT, SCC_OR_CERT, ASSESS or BLOCK").at("route")
	}
	id := t.newID("export")
	t.put(KeyExport(id), ExportDecision{By: t.me(), Member: b.Member, Inputs: b.Inputs, Rules: b.Rules, Route: b.Route, Time: t.env.Now})
	t.audience(b.Member)
	t.event("export.decided", id)
	return nil
}

func applyErasure(t *tx, b *ErasureRecord) *Refusal {
	if n := len(b.Commitments); n == 0 || n > 1000 {
		return refuse("erasure.count", "want 1 to 1000 commitments").at("commitments")
	}
	for i, c := range b.Commitments {
		for _, o := range b.Commitments[:i] {
			if o == c {
				return refuse("erasure.twice", "a commitment is there twice").at("commitments")
			}
		}
		if t.has(KeyErasure(c)) {
			return refuse("erasure.done", "a commitment was erased before").at("commitments")
		}
		if t.me() != t.gen.Venue && !t.reads(c) {
			// The same answer whether it is somebody else's or nobody's.
			return refuse("erasure.unknown", "this member is no party to a private value with this commitment").at("commitments")
		}
	}
	for _, c := range b.Commitments {
		t.put(KeyErasure(c), Erasure{By: t.me(), Reason: b.Reason, Time: t.env.Now})
	}
	t.event("erasure.recorded", "")
	return nil
}

func applySnapshot(t *tx, b *SnapshotRecord) *Refusal {
	if old, ok := get[LedgerSnapshot](t, KeyLedgerSnapshot); b.Entries < 1 || ok && b.Entries <= old.Entries {
		return refuse("snapshot.order", "a snapshot covers more than the one before").at("entries")
	}
	t.put(KeyLedgerSnapshot, LedgerSnapshot{Entries: b.Entries, StateHash: b.StateHash, Time: t.env.Now})
	t.event("snapshot.recorded", "")
	return nil
}

func applyLoss(t *tx, b *LossAccept) *Refusal {
	l, ok := get[Loss](t, KeyLoss)
	if !ok {
		l = &Loss{}
	}
	if b.CosignedSize <= b.RestoredSize || b.RestoredSize < 0 {
		return refuse("loss.sizes", "nothing was lost").at("cosignedSize")
	}
	t.put(KeyLoss, Loss{Epoch: l.Epoch + 1, CosignedSize: b.CosignedSize, RestoredSize: b.RestoredSize, Reason: b.Reason, Time: t.env.Now})
	t.event("ledger.loss_accepted", "")
	return nil
}
