package compute

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
)

// Refusals that depend on what was answered before.
const (
	BudgetSpent   contracts.Code = "compute.budget"  // what is left of the period's budget is less than the query costs
	TooManyAsked  contracts.Code = "compute.queries" // the period's different questions are used up
	CohortTooNear contracts.Code = "compute.cohort"  // too few subjects behind a figure, or too few by which they differ from an earlier one's
	TooManyGroups contracts.Code = "compute.groups"  // more groups than an answer may have
)

// store keeps, per dataset, what was spent, every answer, and who stood behind it. One file, one process; a write is
// durable when it returns, and two writes never overlap.
//
//	<dataset>/account          canonical JSON of account
//	<dataset>/queries/<key>    canonical JSON of query, by the digest of the question
//	<dataset>/answers/<key>    the answer's bytes
//	<dataset>/cohorts/<key>    encodeGroups, of answered queries
type store struct{ db *bbolt.DB }

// account is a dataset's budget as far as it is used.
type account struct {
	Epoch        int64 `json:"epoch"`
	EpsilonMicro int64 `json:"epsilonMicro"` // limit
	DeltaPico    int64 `json:"deltaPico"`    // limit
	SpentEpsilon int64 `json:"spentEpsilonMicro"`
	SpentDelta   int64 `json:"spentDeltaPico"`
	Queries      int64 `json:"queries"` // different ones of the epoch
	Swept        int64 `json:"swept"`   // epoch in which older snapshots' answers were last removed
}

// query is one question's fate. A question without outcome is paid for and not answered: a crash or a failure lies
// between, and asking again costs nothing.
type query struct {
	Snapshot   contracts.Hash `json:"snapshot"`
	Definition contracts.Hash `json:"definition"` // of its cohorts: filters, groups, rows per subject
	Epoch      int64          `json:"epoch"`
	Epsilon    int64          `json:"epsilonMicro"` // debited
	Delta      int64          `json:"deltaPico"`
	Outcome    queryOutcome   `json:"outcome,omitempty"`
	Code       contracts.Code `json:"code,omitempty"`
	Detail     string         `json:"detail,omitempty"`
}

type queryOutcome string

const (
	answered queryOutcome = "answered"
	refused  queryOutcome = "refused"
)

var (
	bucketQueries = []byte("queries")
	bucketAnswers = []byte("answers")
	bucketCohorts = []byte("cohorts")
	keyAccount    = []byte("account")
)

func openStore(path string) (*store, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return nil, fmt.Errorf("couldn't open privacy budget %s: %w", path, err)
	}
	return &store{db}, nil
}

func (s *store) close() error { return s.db.Close() }

// begin opens a dataset's account for a period, or goes on with it.
func (s *store) begin(dataset string, t *terms) error {
	err := s.db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte(dataset))
		if err != nil {
			return err
		}
		for _, name := range [][]byte{bucketQueries, bucketAnswers, bucketCohorts} {
			if _, err := b.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		a, err := readAccount(b)
		if err != nil {
			return err
		}
		switch limit := (share{epsilonMicro(a.EpsilonMicro), deltaPico(a.DeltaPico)}); {
		case t.Epoch < a.Epoch:
			return fmt.Errorf("epoch %d was used before: a period doesn't come back, so %d is refused", a.Epoch, t.Epoch)
		case t.Epoch > a.Epoch:
			a = &account{Epoch: t.Epoch, Swept: a.Swept}
		case t.limit.epsilon > limit.epsilon || t.limit.delta > limit.delta:
			return fmt.Errorf("the budget of epoch %d is epsilon %s and delta %s: more begins with a higher epoch", a.Epoch, limit.epsilon, limit.delta)
		}
		a.EpsilonMicro, a.DeltaPico = int64(t.limit.epsilon), int64(t.limit.delta)
		return b.Put(keyAccount, canon.Marshal(a))
	})
	if err != nil {
		return fmt.Errorf("couldn't open privacy budget of dataset %s: %w", dataset, err)
	}
	return nil
}

func readAccount(b *bbolt.Bucket) (*account, error) {
	a := new(account)
	v := b.Get(keyAccount)
	if v == nil {
		return a, nil
	}
	if err := canon.Unmarshal(v, a); err != nil {
		return nil, fmt.Errorf("privacy budget is damaged: %w", err)
	}
	return a, nil
}

func (s *store) account(dataset string) (a *account, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(dataset))
		if b == nil {
			a = new(account)
			return nil
		}
		a, err = readAccount(b)
		return err
	})
	return a, err
}

// debit takes a question's cost off the budget, once: a question that was paid for before, and every repeat of one that
// has its outcome, costs nothing. It gives the outcome, nil where there is none yet, and the answer's bytes.
//
// The check and the debit are one transaction, durable before it returns: of many callers with enough left for one, one
// is served.
func (s *store) debit(dataset string, key contracts.Hash, cost query, maxQueries int64) (done *query, answer []byte, err error) {
	k := key.Bytes()
	err = s.db.View(func(tx *bbolt.Tx) error { // what is known needs no turn at writing
		done, answer, err = outcome(tx.Bucket([]byte(dataset)), k[:])
		return err
	})
	if err != nil || done != nil {
		return done, answer, err
	}
	err = s.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(dataset))
		if done, answer, err = outcome(b, k[:]); err != nil || done != nil {
			return err
		}
		a, err := readAccount(b)
		if err != nil {
			return err
		}
		q, err := readQuery(b, k[:])
		if err != nil {
			return err
		}
		if q != nil && q.Epoch == a.Epoch {
			return nil // paid for, not answered
		}
		switch {
		case a.Queries >= maxQueries:
			return refuse(TooManyAsked, "the period's %d different questions are asked", maxQueries)
		case cost.Epsilon > a.EpsilonMicro-a.SpentEpsilon || cost.Delta > a.DeltaPico-a.SpentDelta:
			return refuse(BudgetSpent, "the query costs epsilon %s, and what is left of the dataset's budget for all consumers is less", epsilonMicro(cost.Epsilon))
		}
		if a.Swept < a.Epoch {
			if err := sweep(b, a.Epoch, cost.Snapshot); err != nil {
				return err
			}
			a.Swept = a.Epoch
		}
		cost.Epoch = a.Epoch
		a.SpentEpsilon, a.SpentDelta, a.Queries = a.SpentEpsilon+cost.Epsilon, a.SpentDelta+cost.Delta, a.Queries+1
		return errors.Join(b.Put(keyAccount, canon.Marshal(a)), b.Bucket(bucketQueries).Put(k[:], canon.Marshal(cost)))
	})
	return done, answer, err
}

func readQuery(b *bbolt.Bucket, key []byte) (*query, error) {
	v := b.Bucket(bucketQueries).Get(key)
	if v == nil {
		return nil, nil
	}
	q := new(query)
	if err := canon.Unmarshal(v, q); err != nil {
		return nil, fmt.Errorf("a kept query is damaged: %w", err)
	}
	return q, nil
}

func outcome(b *bbolt.Bucket, key []byte) (*query, []byte, error) {
	if b == nil {
		return nil, nil, errors.New("the dataset has no privacy budget")
	}
	q, err := readQuery(b, key)
	if err != nil || q == nil || q.Outcome == "" {
		return nil, nil, err
	}
	return q, bytes.Clone(b.Bucket(bucketAnswers).Get(key)), nil
}

// sweep removes what an earlier period left of snapshots that are no longer the current one. What it left of the
// current one stays: its answers are repeated with the same noise, and its cohorts still count.
func sweep(b *bbolt.Bucket, epoch int64, current contracts.Hash) error {
	var gone [][]byte
	err := b.Bucket(bucketQueries).ForEach(func(k, v []byte) error {
		q, err := readQuery(b, k)
		if err == nil && q.Epoch < epoch && q.Snapshot != current {
			gone = append(gone, bytes.Clone(k))
		}
		return err
	})
	for _, k := range gone {
		for _, name := range [][]byte{bucketQueries, bucketAnswers, bucketCohorts} {
			err = errors.Join(err, b.Bucket(name).Delete(k))
		}
	}
	return err
}

// cohortsOf hands over the kept cohorts of a snapshot that are defined otherwise. They are valid during the call.
func (s *store) cohortsOf(dataset string, snapshot, definition contracts.Hash, f func(gs []group) error) error {
	return s.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(dataset))
		return b.Bucket(bucketCohorts).ForEach(func(k, v []byte) error {
			q, err := readQuery(b, k)
			if err != nil {
				return err
			}
			if q == nil || q.Snapshot != snapshot || q.Definition == definition {
				return nil
			}
			gs, err := decodeGroups(v)
			if err != nil {
				return err
			}
			return f(gs)
		})
	})
}

// settle writes a question's outcome: an answer with those behind it, or a refusal, of whose cost the rest is given
// back. What is settled stays.
func (s *store) settle(dataset string, key contracts.Hash, answer []byte, cohorts []group, r *contracts.Refusal, back share) error {
	k := key.Bytes()
	err := s.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(dataset))
		q, err := readQuery(b, k[:])
		if err != nil {
			return err
		}
		if q == nil || q.Outcome != "" {
			return errors.New("the question isn't open")
		}
		if r != nil {
			q.Outcome, q.Code, q.Detail = refused, r.Code, r.Detail
			a, err := readAccount(b)
			if err != nil {
				return err
			}
			if a.Epoch == q.Epoch {
				a.SpentEpsilon, a.SpentDelta = a.SpentEpsilon-int64(back.epsilon), a.SpentDelta-int64(back.delta)
				q.Epsilon, q.Delta = q.Epsilon-int64(back.epsilon), q.Delta-int64(back.delta)
			}
			return errors.Join(b.Put(keyAccount, canon.Marshal(a)), b.Bucket(bucketQueries).Put(k[:], canon.Marshal(q)))
		}
		q.Outcome = answered
		return errors.Join(b.Bucket(bucketQueries).Put(k[:], canon.Marshal(q)), b.Bucket(bucketAnswers).Put(k[:], answer), b.Bucket(bucketCohorts).Put(k[:], encodeGroups(cohorts)))
	})
	if err != nil {
		return fmt.Errorf("couldn't keep answer: %w", err)
	}
	return nil
}
