package compute

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
)

// exam is one question that is paid for, on its way to its answer.
type exam struct {
	desk    *Desk
	dataset *dataset
	table   *table
	plan    *plan
	shares  shares
	cohort  int64 // k: the least number of subjects behind a figure

	key        contracts.Hash // of the question
	definition contracts.Hash // of its cohorts
}

// identify says what makes two questions one, and what makes their cohorts the same by definition. The minimum cohort
// is part of the first: who agreed on a larger one isn't given an answer that was made under a smaller.
func (x *exam) identify(spec []byte) {
	x.key = digestOf("bund/compute/question/v1", struct {
		Cohort         int64          `json:"cohort"`
		QueryDelta     int64          `json:"queryDeltaPico"`
		RowsPerSubject int64          `json:"rowsPerSubject"`
		Snapshot       contracts.Hash `json:"snapshot"`
		Spec           canon.Raw      `json:"spec"`
	}{x.cohort, int64(x.dataset.query.delta), x.dataset.RowsPerSubject, x.table.Snapshot, spec})
	x.definition = digestOf("bund/compute/cohorts/v1", struct {
		Filters        []Filter `json:"filters"`
		GroupBy        []string `json:"groupBy"`
		RowsPerSubject int64    `json:"rowsPerSubject"`
	}{x.plan.spec.Filters, x.plan.spec.GroupBy, x.dataset.RowsPerSubject})
}

// run computes, decides what may be shown, and keeps it before anybody sees it.
func (x *exam) run(ctx context.Context) (*Reply, error) {
	cells, err := x.compute(ctx)
	if errors.Is(err, errTooManyGroups) {
		return nil, x.refuse(refuse(TooManyGroups, "the query has more than %d groups", maxCells), share{})
	}
	if err != nil {
		return nil, err
	}
	shown, err := x.plan.choose(cells, x.shares.selection, x.cohort)
	if err != nil {
		return nil, err
	}
	if len(shown) > MaxReleased {
		return nil, x.refuse(refuse(TooManyGroups, "the answer would have more than %d groups", MaxReleased), share{})
	}
	x.dataset.releasing.Lock()
	defer x.dataset.releasing.Unlock()
	near, err := x.near(shown)
	if err != nil {
		return nil, err
	}
	if near {
		// The figures were not made: what they would have cost goes back.
		back := share{x.plan.epsilon - x.shares.check.epsilon - x.shares.selection.epsilon, 0}
		return nil, x.refuse(refuse(CohortTooNear, "too few subjects stand behind a figure, or too few by which they differ from an earlier answer's"), back)
	}
	figures, err := x.plan.figures(shown, &x.table.header, x.shares.part)
	if err != nil {
		return nil, fmt.Errorf("couldn't make figures: %w", err)
	}
	body := canon.Marshal(Answer{Cells: figures, Delta: x.dataset.query.delta.String(), Epsilon: x.plan.epsilon.String(), MinimumCohort: x.cohort,
		RowsPerSubject: x.dataset.RowsPerSubject, Snapshot: x.table.Snapshot, Within95: x.plan.within(x.shares.part)})
	if len(body) > maxAnswerBytes {
		return nil, x.refuse(refuse(TooManyGroups, "the answer would exceed %d bytes", maxAnswerBytes), share{})
	}
	if err := x.desk.store.settle(x.dataset.name, x.key, body, groupsOf(shown), nil, share{}); err != nil {
		return nil, err
	}
	return &Reply{body, false}, nil
}

func (x *exam) compute(ctx context.Context) ([]exactCell, error) {
	select {
	case x.desk.slots <- struct{}{}:
		defer func() { <-x.desk.slots }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	f, err := os.Open(x.table.path)
	if err != nil {
		return nil, fmt.Errorf("couldn't open working table: %w", err)
	}
	defer f.Close()
	e, err := x.desk.cfg.Runner.run(ctx, f, &x.plan.program, x.table.Subjects)
	if err != nil {
		return nil, err
	}
	return e.cells, nil
}

// near says whether the cohorts are too small, or too near to earlier ones of another definition: by fewer than k, or
// by so few more that the drawn margin covers them. Those of the same definition are the same subjects, and differ by
// nobody.
func (x *exam) near(shown []exactCell) (bool, error) {
	drawn, most, err := margin(x.shares.check)
	if err != nil {
		return false, err
	}
	least := x.cohort + most // what is farther than this passes whatever was drawn
	groups := make([]group, len(shown))
	for i := range shown {
		groups[i] = group{shown[i].subjects, shown[i].cohort}
		if len(x.plan.program.Groups) == 0 {
			least = min(least, shown[i].subjects)
		}
	}
	c := newComparison(groups, x.table.Subjects)
	err = x.desk.store.cohortsOf(x.dataset.name, x.table.Snapshot, x.definition, func(old []group) (err error) {
		least, err = c.nearest(old, least)
		return err
	})
	return least < x.cohort+drawn, err
}

func (x *exam) refuse(r *contracts.Refusal, back share) error {
	if err := x.desk.store.settle(x.dataset.name, x.key, nil, nil, r, back); err != nil {
		return err
	}
	return r
}
