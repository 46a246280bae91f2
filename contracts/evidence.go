package contracts

import "slices"

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

// ErasureRecord records the erasure of openings: by a party that they were opened for, or by the venue, which held them.
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

// LossAccept says openly that the ledger was restored from a backup that lacks entries which a witness had cosigned. It
// is the first entry after those that were kept and opens a new epoch of the published log. What it keeps stands in
// the signed bytes, so that nobody can put it on top of another history: how entries are chained is the ledger's to know,
// and ledger.CheckLoss holds Kept against it.
type LossAccept struct {
	CosignedSize int64  `json:"cosignedSize"` // entries that a witness is known to have cosigned
	RestoredSize int64  `json:"restoredSize"` // entries that are kept; this one takes the position behind them
	Kept         Hash   `json:"kept"`         // chain hash of the last one kept
	Epoch        int64  `json:"epoch"`        // that begins: above every epoch that a witness has seen, 1 for the first loss
	Reason       string `json:"reason"`
}

// Loss is the record of it.
type Loss struct {
	Epoch        int64  `json:"epoch"`
	CosignedSize int64  `json:"cosignedSize"`
	RestoredSize int64  `json:"restoredSize"`
	Reason       string `json:"reason"`
	Time         Millis `json:"time"`
}

// EventLoss is the event of an accepted loss. The published log's epoch at a size is that of the last loss among so many
// entries.
const EventLoss = "ledger.loss_accepted"

// EpochOf gives the epoch of the published log that a state belongs to: 0 before the first loss.
func EpochOf(st State) (int64, error) {
	v, err := st.Get(KeyLoss)
	if err != nil || v == nil {
		return 0, err
	}
	l, err := Read[Loss](v)
	if err != nil {
		return 0, err
	}
	return l.Epoch, nil
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
		if slices.Contains(b.Commitments[:i], c) {
			return refuse("erasure.twice", "a commitment is there twice").at("commitments")
		}
	}
	for _, c := range b.Commitments {
		t.ahead(KeyErasure(c), KeyReaders(c), keyClearingReaders(c))
	}
	for _, c := range b.Commitments {
		if t.has(KeyErasure(c)) {
			return refuse("erasure.done", "a commitment was erased before").at("commitments")
		}
		if !t.reads(c) {
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
	switch {
	case b.CosignedSize <= b.RestoredSize || b.RestoredSize < 1:
		return refuse("loss.sizes", "nothing was lost").at("cosignedSize")
	case b.Epoch <= l.Epoch:
		return refuse("loss.epoch", "epoch %d has begun before", l.Epoch).at("epoch")
	case t.env.Position < 0:
		return refuse("loss.place", "entries that other organisations hold too are not lost by restoring a backup: this ledger takes no loss").at("restoredSize")
	case b.RestoredSize != t.env.Position:
		return refuse("loss.place", "this would be entry %d, behind as many", t.env.Position).at("restoredSize")
	}
	t.put(KeyLoss, Loss{Epoch: b.Epoch, CosignedSize: b.CosignedSize, RestoredSize: b.RestoredSize, Reason: b.Reason, Time: t.env.Now})
	t.event(EventLoss, "")
	return nil
}
