package contractstest

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/bund-exchange/bund/contracts"
)

// Pure executes submissions with the rules alone and keeps what a ledger would keep. It applies every command twice, the
// second time on a state that remembers records, and fails when the two differ or a remembered record was changed.
type Pure struct {
	*State
	Ledger   string
	Applied  []Applied
	Openings map[contracts.Hash]contracts.KeptOpening
	time     contracts.Millis // of the last entry
	wall     contracts.Millis
}

// Applied is an accepted submission with what it did.
type Applied struct {
	Submission contracts.Submission
	Time       contracts.Millis
	Result     *contracts.Result
}

// NewPure gives an executor of an empty ledger.
func NewPure(id string) *Pure {
	return &Pure{State: NewState(), Ledger: id, Openings: map[contracts.Hash]contracts.KeptOpening{}, time: Start, wall: Start}
}

// SetWall sets the wall clock, which matters to a ledger whose time is not scripted.
func (p *Pure) SetWall(t contracts.Millis) { p.wall = t }

// Submit implements Executor.
func (p *Pure) Submit(_ context.Context, sub contracts.Submission) error {
	_, err := p.Apply(sub)
	return err
}

// Apply decodes and applies one submission.
func (p *Pure) Apply(sub contracts.Submission) (*contracts.Result, error) {
	cmd, err := contracts.Decode(sub)
	if err != nil {
		return nil, err
	}
	now, err := contracts.NextTime(p.State, p.time, p.wall)
	if err != nil {
		return nil, err
	}
	env := contracts.Env{Ledger: p.Ledger, Now: now, Position: int64(len(p.Applied))}
	res, err := contracts.Apply(p.State, env, cmd)
	kept := &remembering{p.State, map[string]any{}}
	again, err2 := contracts.Apply(kept, env, cmd)
	if err := kept.changed(); err != nil {
		return nil, err
	}
	if fmt.Sprint(err) != fmt.Sprint(err2) {
		return nil, fmt.Errorf("contractstest: applied twice: %v, then %v", err, err2)
	}
	if err != nil || res.Repeated {
		return res, err
	}
	if !reflect.DeepEqual(res, again) {
		return nil, errors.New("contractstest: the same command did two different things")
	}
	if err := p.Merge(res.Writes); err != nil {
		return nil, err
	}
	for _, o := range res.Openings {
		p.Openings[o.Commitment] = o
	}
	p.Applied, p.time = append(p.Applied, Applied{sub, now, res}), now
	return res, nil
}
