package compute

import (
	"errors"
	"fmt"
)

// Budget is what the owner of a dataset lets all its consumers learn together, and how.
type Budget struct {
	// Epoch numbers the period that Epsilon and Delta are for. A higher number begins a new period with nothing spent;
	// nothing else does. A lower one than was used before is refused.
	Epoch int64
	// Epsilon and Delta are decimals. Within an epoch they may be lowered, not raised.
	Epsilon, Delta string
	// QueryDelta is the delta of one query: how unlikely it is that epsilon doesn't hold. "0.000000001" when empty.
	QueryDelta string
	// MaxQueries bounds the different questions of one epoch; 256 when zero. It bounds the disk that cohorts take too.
	MaxQueries int64
	// RowsPerSubject is how many of a subject's rows count, its newest; 1 when zero.
	RowsPerSubject int64
	// MinimumCohort is the least number of subjects behind a figure, whatever a policy allows; 10 when zero.
	MinimumCohort int64
}

// share is an amount of both.
type share struct {
	epsilon epsilonMicro
	delta   deltaPico
}

// terms is a Budget that was read.
type terms struct {
	Budget
	limit, query share // query: its delta
}

func (b Budget) read() (t terms, err error) {
	if b.QueryDelta == "" {
		b.QueryDelta = "0.000000001"
	}
	if b.MaxQueries == 0 {
		b.MaxQueries = 256
	}
	if b.RowsPerSubject == 0 {
		b.RowsPerSubject = 1
	}
	if b.MinimumCohort == 0 {
		b.MinimumCohort = 10
	}
	t.Budget = b
	switch {
	case b.Epoch < 1:
		return t, errors.New("epoch: want a number from 1")
	case b.MaxQueries < 1 || b.MaxQueries > 10_000:
		return t, errors.New("maxQueries: want 1 to 10000")
	case b.RowsPerSubject < 1 || b.RowsPerSubject > 64:
		return t, errors.New("rowsPerSubject: want 1 to 64")
	case b.MinimumCohort < 2 || b.MinimumCohort > maxTableRows:
		return t, errors.New("minimumCohort: want 2 or more")
	}
	for _, f := range []struct {
		name, text string
		places     int
		most       int64
		into       *int64
	}{
		{"epsilon", b.Epsilon, 6, 1_000_000_000, (*int64)(&t.limit.epsilon)},
		{"delta", b.Delta, 12, 10_000_000_000, (*int64)(&t.limit.delta)},      // 0.01
		{"queryDelta", b.QueryDelta, 12, 1_000_000, (*int64)(&t.query.delta)}, // 0.000001
	} {
		n, err := parseFixed(f.text, f.places)
		if err == nil && (n < 2 || n > f.most) {
			err = fmt.Errorf("want more than 0 and %s at most", fixed(f.most, f.places))
		}
		if err != nil {
			return t, fmt.Errorf("%s: %w", f.name, err)
		}
		*f.into = n
	}
	return t, nil
}
