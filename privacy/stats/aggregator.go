package stats

import (
	"crypto/sha256"
	"fmt"
	"sync"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/privacy/envelope"
)

// Aggregator is one of a task's two. It learns of each report its half, of which every value is as likely as any other.
// It is safe for concurrent use; the steps between leader and helper run one after another.
type Aggregator struct {
	task   *Task
	role   int
	verify verifyKey
	key    *envelope.Key
	store  Store
	scheme *scheme

	mu sync.Mutex // of all steps but Receive
	// out are the leader's preparations of the job that is out. After a restart they are made again from the store.
	out map[ReportID]*preparation
}

// OpenAggregator resumes what the store holds. role is Leader or Helper; the verify key is one that both have and no
// contributor knows.
func OpenAggregator(t *Task, role int, verify [32]byte, key *envelope.Key, store Store) (*Aggregator, error) {
	if err := t.Check(); err != nil {
		return nil, err
	}
	if role != Leader && role != Helper {
		return nil, refuse(BadTask, "an aggregator leads or helps")
	}
	s, err := newScheme(t)
	if err != nil {
		return nil, err
	}
	return &Aggregator{task: t, role: role, verify: verify, key: key, store: store, scheme: s}, nil
}

// SealVerifyKey gives the leader's verify key to the helper's HPKE key alone.
func SealVerifyKey(t *Task, helper contracts.PublicKey, verify [32]byte) ([]byte, error) {
	d := t.digest()
	return envelope.SealMessage(helper, []byte("bund/stats/v1 verify key"), d[:], verify[:])
}

// OpenVerifyKey reads what SealVerifyKey sealed for this task.
func OpenVerifyKey(t *Task, key *envelope.Key, sealed []byte) (verify [32]byte, err error) {
	d := t.digest()
	b, err := key.OpenMessage([]byte("bund/stats/v1 verify key"), d[:], sealed)
	if err != nil {
		return verify, err
	}
	if len(b) != len(verify) {
		return verify, refuse(BadForm, "a verify key has 32 bytes")
	}
	return [32]byte(b), nil
}

// Received says what became of an upload.
type Received struct {
	New   int // reports that were taken
	Known int // that had been taken before, with the same bytes: they count once
}

// Receive takes a contributor's upload whole or not at all. Who sent it is for the transport to know. The same upload
// again changes nothing; a report id that is known with other bytes, or from another contributor, is refused.
func (a *Aggregator) Receive(from contracts.ID, upload []byte) (Received, error) {
	if err := from.Check(); err != nil {
		return Received{}, refuse(BadForm, "a contributor is a member")
	}
	halves, err := a.scheme.readUpload(a.task, a.role, upload)
	if err != nil {
		return Received{}, err
	}
	inputs := make([][]byte, len(halves))
	for i, h := range halves {
		if inputs[i], err = h.open(a.task, a.role, a.key); err != nil {
			return Received{}, err
		}
		if len(inputs[i]) != a.scheme.size.input[a.role] {
			return Received{}, refuse(BadShare, "an input share is none of this task")
		}
	}
	var got Received
	err = a.store.Update(func(tx Tx) error {
		got = Received{}
		st, err := getStanding(tx)
		if err != nil {
			return err
		}
		for i, h := range halves {
			digest := sha256.Sum256(append(append([]byte(nil), h.public...), h.sealed...))
			switch known, err := a.scheme.getReport(tx, a.role, h.id); {
			case err != nil:
				return err
			case known != nil && (known.digest != digest || known.from != from):
				return refuse(Replayed, "a report's id is that of another report")
			case known != nil:
				got.Known++
				continue
			}
			r := taken{status: reportWaiting, from: from, digest: digest, public: h.public, input: inputs[i]}
			if err := r.put(tx, h.id); err != nil {
				return err
			}
			if err := a.enqueue(tx, &st, h.id); err != nil {
				return err
			}
			st.waiting++
			got.New++
		}
		return st.put(tx)
	})
	if err != nil {
		return Received{}, fmt.Errorf("couldn't take upload: %w", err)
	}
	return got, nil
}

// enqueue puts a report behind all that wait. The helper keeps no queue: it prepares what the leader proposes.
func (a *Aggregator) enqueue(tx Tx, st *standing, id ReportID) error {
	if a.role != Leader {
		return nil
	}
	st.next++
	return tx.Put(record(waitingRecord, number(st.next)), id[:])
}

// Progress is how far an aggregator is. What it says is no secret between the aggregators and the collector.
type Progress struct {
	Batch   int64 // the one that takes reports
	Counted int64 // reports in it
	Waiting int64 // taken and not yet prepared
	Refused int64 // found invalid, since the task began
}

// Progress tells where this aggregator stands.
func (a *Aggregator) Progress() (p Progress, err error) {
	err = a.store.View(func(tx Tx) error {
		st, err := getStanding(tx)
		if err != nil {
			return err
		}
		b, err := getBatch(tx, st.open)
		p = Progress{st.open, b.count, st.waiting, st.refused}
		return err
	})
	return p, err
}

// tally is what one job changes: reports that count from now on, and reports that never will.
type tally struct {
	counted map[ReportID]contracts.ID // and who contributed them
	invalid []ReportID
	total   []byte
}

// commit writes a tally into the open batch. Each report is counted here once: it must have waited.
func (a *Aggregator) commit(tx Tx, st *standing, t *tally) error {
	b, err := getBatch(tx, st.open)
	if err != nil {
		return err
	}
	settle := func(id ReportID, status reportStatus) error {
		r, err := a.scheme.getReport(tx, a.role, id)
		if err == nil && (r == nil || r.status != reportWaiting) {
			err = errDamaged(reportRecord)
		}
		if err != nil {
			return err
		}
		r.status = status
		st.waiting--
		return r.put(tx, id)
	}
	for id, from := range t.counted {
		if err := settle(id, reportCounted); err != nil {
			return err
		}
		if err := tx.Put(record(countedRecord, number(st.open), id[:]), []byte{1}); err != nil {
			return err
		}
		if err := tx.Put(record(contributorRecord, number(st.open), contributorBytes(from)), []byte{1}); err != nil {
			return err
		}
	}
	for _, id := range t.invalid {
		if err := settle(id, reportInvalid); err != nil {
			return err
		}
		st.refused++
	}
	if len(t.counted) > 0 {
		b.count, b.total = b.count+int64(len(t.counted)), t.total
		if err := b.put(tx, st.open); err != nil {
			return err
		}
	}
	return st.put(tx)
}
