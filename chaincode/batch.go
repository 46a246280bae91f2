package main

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"golang.org/x/sync/errgroup"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/proposal"
)

// maxSkewSec bounds how far the proposer's clock may be from an endorser's.
const maxSkewSec = 30

// apart reports whether a transaction's time is too far from the endorser's own.
func (c *contract) apart(t contracts.Millis) bool {
	now := contracts.Millis(c.now().UnixMilli())
	return t.Add(maxSkewSec) < now || now.Add(maxSkewSec) < t
}

// batch is the commands of one transaction on their way to answers.
type batch struct {
	contract *contract
	ledger   string
	call     proposal.Call
	commands []*contracts.Command // nil: refused without a look at the state
	early    []*contracts.Refusal // why
	wall     contracts.Millis     // the transaction's time
}

// answer is what was decided about one command.
type answer struct {
	contracts.Answer
	time contracts.Millis
}

// decide runs submit and open.
func (c *contract) decide(stub shim.ChaincodeStubInterface, args [][]byte) ([]byte, error) {
	b, err := c.read(stub, args)
	if err != nil {
		return nil, err
	}
	answers, err := b.rounds(c.newState(stub))
	if err != nil {
		return nil, err
	}
	open := b.call.Function == proposal.Open
	if !open {
		if err := write(stub, answers); err != nil {
			return nil, err
		}
	}
	var r proposal.Reply
	for _, a := range answers {
		if a.Refusal != nil {
			r.Answers = append(r.Answers, proposal.Refuse(a.Refusal))
		} else {
			r.Answers = append(r.Answers, proposal.Accept(a.Result, a.time, open))
		}
	}
	return r.Encode(), nil
}

// read takes a call apart, decodes its commands and verifies their signatures.
func (c *contract) read(stub shim.ChaincodeStubInterface, args [][]byte) (*batch, error) {
	call, err := proposal.ParseCall(args)
	if err != nil {
		return nil, err
	}
	transient, err := stub.GetTransient()
	if err != nil {
		return nil, errors.New("couldn't read the openings")
	}
	if err := proposal.SetOpenings(call.Commands, transient[proposal.TransientOpenings]); err != nil {
		return nil, err
	}
	b := &batch{contract: c, ledger: c.ledgerOf(stub), call: call, commands: make([]*contracts.Command, len(call.Commands)), early: make([]*contracts.Refusal, len(call.Commands))}
	if b.wall, err = txTime(stub); err != nil {
		return nil, err
	}
	if err := b.decode(); err != nil {
		return nil, err
	}
	for i, cmd := range b.commands {
		if cmd == nil {
			continue
		}
		if is, _ := contracts.ClearingKind(cmd.Kind); is != (c.definition == clearing) {
			return nil, fmt.Errorf("command %d is a %s, which is not for the %s definition", i, cmd.Kind, c.definition)
		}
	}
	return b, nil
}

// decode shares the commands out among as many goroutines as can run: a new one's stack grows for each.
func (b *batch) decode() error {
	var g errgroup.Group
	var next atomic.Int64
	for range min(runtime.GOMAXPROCS(0), len(b.call.Commands)) {
		g.Go(func() (err error) {
			defer b.contract.survive(&err)
			for {
				i := int(next.Add(1)) - 1
				if i >= len(b.call.Commands) {
					return nil
				}
				cmd, err := contracts.DecodeWith(b.call.Commands[i], b.contract.keys.Verify)
				if errors.As(err, &b.early[i]) {
					continue
				}
				if err != nil {
					return err
				}
				b.commands[i] = cmd
			}
		})
	}
	return g.Wait()
}

// rounds runs the rules until a round has missed nothing, see state. The first command goes ahead alone: what it reads, the
// others mostly read too.
func (b *batch) rounds(st *state) ([]answer, error) {
	st.Ahead(proposal.KeyEpoch(b.call.Epoch), proposal.KeyEpoch(b.call.Epoch+2))
	for _, cmd := range b.commands {
		if cmd != nil {
			st.Ahead(cmd.FirstReads()...)
		}
	}
	n := 1
	for range maxRounds {
		if err := st.fetch(); err != nil {
			return nil, err
		}
		answers, err := b.round(st, n)
		if st.complete() && n < len(b.commands) {
			n = len(b.commands)
			answers, err = b.round(st, n)
		}
		if st.complete() {
			return answers, err
		}
	}
	return nil, errRounds
}

// round decides the first n commands over what is known. When something was missed, the rules have seen a state that never
// was, and whatever came of it, a panic included, means nothing.
func (b *batch) round(st *state, n int) (answers []answer, err error) {
	defer func() {
		if !st.complete() {
			if recover() != nil {
				err = errRounds
			}
		}
	}()
	return b.apply(st, n)
}

// apply decides the first n commands. Its error is a failure.
func (b *batch) apply(st *state, n int) ([]answer, error) {
	out := make([]answer, n)
	for i, r := range b.early[:n] {
		out[i].Refusal = r
	}
	if stop, err := b.epoch(st); err != nil || stop != nil {
		for i := range out {
			out[i].Refusal = stop
		}
		return out, err
	}
	cmds, at, now, err := b.timed(st, out)
	if err != nil || len(cmds) == 0 {
		return out, err
	}
	answers, err := contracts.ApplyBatch(st, contracts.Env{Ledger: b.ledger, Now: now, Position: -1}, cmds)
	if err != nil {
		return nil, fmt.Errorf("couldn't decide: %w", err)
	}
	for j, a := range answers {
		out[at[j]] = answer{a, now}
		if a.Result != nil && proposal.EntryBytes(b.call.Commands[at[j]], a.Result) > contracts.MaxEntryBytes {
			out[at[j]].Answer = contracts.Answer{Refusal: &contracts.Refusal{Code: "command.too_large",
				Detail: fmt.Sprintf("its entry would have more than %d bytes", contracts.MaxEntryBytes)}}
		}
	}
	return out, nil
}

// epoch refuses everything unless the epoch that the call names has begun, and the one after the next has not: both are in
// the read set, so that a transaction which somebody holds back dies when that one begins.
func (b *batch) epoch(st *state) (*contracts.Refusal, error) {
	named, err := st.Get(proposal.KeyEpoch(b.call.Epoch))
	if err != nil {
		return nil, err
	}
	after, err := st.Get(proposal.KeyEpoch(b.call.Epoch + 2))
	switch {
	case err != nil:
		return nil, err
	case named == nil:
		return &contracts.Refusal{Code: "epoch.unknown", Detail: fmt.Sprintf("epoch %d has not begun", b.call.Epoch)}, nil
	case after != nil:
		return &contracts.Refusal{Code: "epoch.stale", Detail: fmt.Sprintf("epoch %d has begun", b.call.Epoch+2)}, nil
	}
	return nil, nil
}

// timed gives the commands whose time is right, where they stand, and their time, which is one for the whole batch. The
// others are answered in out.
func (b *batch) timed(st *state, out []answer) (cmds []*contracts.Command, at []int, now contracts.Millis, err error) {
	scripted, err := contracts.Scripted(st)
	if err != nil {
		return nil, nil, 0, fmt.Errorf("couldn't tell the time: %w", err)
	}
	apart := b.contract.apart(b.wall)
	moved := false // an earlier command sets the time for those after it
	for i, cmd := range b.commands[:len(out)] {
		if cmd == nil {
			continue
		}
		if apart && onWall(cmd, scripted) {
			out[i].Refusal = &contracts.Refusal{Code: "clock.peer", Detail: fmt.Sprintf("the clocks of proposer and endorser are more than %d s apart", maxSkewSec)}
			continue
		}
		if moved {
			out[i].Refusal = &contracts.Refusal{Code: "batch.dependent", Detail: "an earlier command of the same batch sets the time"}
			continue
		}
		switch cmd.Body().(type) {
		case *contracts.ClockAdvance, *contracts.ClockRelease:
			moved = true
		}
		t, err := contracts.EntryTime(st, cmd, 0, b.wall)
		switch {
		case errors.As(err, &out[i].Refusal):
		case err != nil:
			return nil, nil, 0, fmt.Errorf("couldn't tell the time: %w", err)
		case len(cmds) > 0 && t != now: // a genesis of a scripted ledger, and something before or after it
			out[i].Refusal = &contracts.Refusal{Code: "batch.dependent", Detail: "this takes place at another time than an earlier command of the same batch"}
		default:
			cmds, at, now = append(cmds, cmd), append(at, i), t
		}
	}
	return cmds, at, now, nil
}

// onWall reports whether wall time has a say in a command: on a ledger whose clock isn't scripted, and where scripted time
// may not run ahead of it.
func onWall(cmd *contracts.Command, scripted bool) bool {
	switch body := cmd.Body().(type) {
	case *contracts.Genesis:
		return body.Clock != "scripted"
	case *contracts.ClockAdvance:
		return true
	}
	return !scripted
}

// write puts what the accepted commands write into the transaction. The rules have made sure that no two write one key.
func write(stub shim.ChaincodeStubInterface, answers []answer) error {
	stub.StartWriteBatch()
	for _, a := range answers {
		if a.Result == nil {
			continue
		}
		for _, w := range a.Result.Writes {
			var err error
			if w.Value == nil {
				err = stub.DelState(w.Key)
			} else {
				err = stub.PutState(w.Key, proposal.Stored(w.Value))
			}
			if err != nil {
				return fmt.Errorf("couldn't write: %w", err)
			}
		}
	}
	if err := stub.FinishWriteBatch(); err != nil {
		return fmt.Errorf("couldn't write: %w", err)
	}
	return nil
}
