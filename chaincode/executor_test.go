package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/proposal"
)

// executor is a contractstest.Executor over both definitions of a channel, as a client is: every command goes to the
// definition of its kind, in a transaction of its own, and is committed at once. It is the state of both namespaces, too.
type executor struct {
	ch    *fakeChannel
	epoch uint64
	trips int // most messages that one transaction took

	holding bool // what is submitted is held, for the test to do something with
	held    []contracts.Submission
}

func newExecutor(ch *fakeChannel) *executor {
	ch.begin(1)
	return &executor{ch: ch, epoch: 1}
}

// Positionless says that positions are the order's to know.
func (x *executor) Positionless() {}

func (x *executor) SetWall(t contracts.Millis) { x.ch.wall = time.UnixMilli(int64(t)) }

func (x *executor) Get(key string) ([]byte, error) {
	for _, space := range x.ch.spaces {
		if v := space[key]; v != nil {
			return proposal.ParseStored(v.value)
		}
	}
	return nil, nil
}

func (x *executor) Keys() []string { return x.ch.keys() }

// definitionOf says which definition a command is for; one that can't be told is for any.
func definitionOf(sub contracts.Submission) string {
	var e struct{ Kind string }
	if json.Unmarshal(sub.Raw, &e) == nil {
		if is, _ := contracts.ClearingKind(e.Kind); is {
			return clearing
		}
	}
	return market
}

func (x *executor) Submit(_ context.Context, sub contracts.Submission) error {
	if x.holding {
		x.held = append(x.held, sub)
		return nil
	}
	if _, err := proposal.ParseCall(proposal.Call{Function: proposal.Submit, Epoch: 1, Commands: []contracts.Submission{sub}}.Args()); err != nil || len(sub.Openings) > contracts.MaxOpenings || tooLarge(sub) {
		// What doesn't fit into a proposal, the client refuses.
		_, err := contracts.Decode(sub)
		return err
	}
	definition := definitionOf(sub)
	opened, open := x.ch.call(definition, proposal.Open, x.epoch, sub)
	if len(opened.writes) > 0 {
		return errors.New("open writes")
	}
	tx, r := x.ch.call(definition, proposal.Submit, x.epoch, sub)
	x.trips = max(x.trips, tx.trips)
	a := r.Answers[0]
	if err := sameButOpenings(open.Answers[0], a); err != nil {
		return err
	}
	switch {
	case a.Refused != nil:
		if len(tx.writes) > 0 {
			return errors.New("a refused command writes")
		}
		return a.Refused.Refusal()
	case a.Repeated:
		if len(tx.writes) > 0 {
			return errors.New("a repeated command writes")
		}
		return nil
	}
	return x.take(tx, definition, a)
}

// take commits an accepted command and holds its answer against what was written.
func (x *executor) take(tx *fakeTx, definition string, a proposal.Answer) error {
	if len(tx.writes) != 1 || len(tx.writes[definition]) != len(a.Accepted.Keys) {
		return fmt.Errorf("the answer names %v, the write set is %v", a.Accepted.Keys, tx.writes)
	}
	if _, err := a.Accepted.Result(func(k string) ([]byte, bool) { v, ok := tx.writes[definition][k]; return v, ok }); err != nil {
		return err
	}
	if !x.ch.commit(tx) {
		return errors.New("nothing came between, and it is invalid")
	}
	return nil
}

func tooLarge(sub contracts.Submission) bool {
	for _, o := range sub.Openings {
		if len(o.Value) > contracts.MaxOpeningBytes {
			return true
		}
	}
	return false
}

// sameButOpenings holds the answer of open against that of submit: it adds the openings of the commitments, and no more.
func sameButOpenings(open, submit proposal.Answer) error {
	if a := open.Accepted; a != nil {
		if len(a.Openings) != len(a.Commitments) {
			return fmt.Errorf("%d openings of %d commitments", len(a.Openings), len(a.Commitments))
		}
		for i, k := range a.Kept() {
			if k.Commitment != a.Commitments[i] || k.Opening.Commitment(k.Tag) != k.Commitment {
				return errors.New("an opening doesn't open its commitment")
			}
		}
		b := *a
		b.Openings = nil
		open.Accepted = &b
	}
	one, two := proposal.Reply{Answers: []proposal.Answer{open}}.Encode(), proposal.Reply{Answers: []proposal.Answer{submit}}.Encode()
	if string(one) != string(two) {
		return fmt.Errorf("open answers %s, submit %s", one, two)
	}
	return nil
}
