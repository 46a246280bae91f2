package contracts_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
)

// batch signs commands and applies them together.
type batch struct {
	t     *testing.T
	scene *contractstest.Scene
	m     *contractstest.Market
}

// newBatch is a market with its cast admitted, over the rules in memory.
func newBatch(t *testing.T) *batch {
	t.Helper()
	s := contractstest.NewScene("bund.test/batch", nil, 1)
	for _, line := range []string{"market", "authorised A1"} {
		if err := s.Run(line); err != nil {
			t.Fatal(err)
		}
	}
	return &batch{t, s, s.M}
}

func (b *batch) decode(sub contracts.Submission) *contracts.Command {
	b.t.Helper()
	c, err := contracts.Decode(sub)
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// apply runs a batch over the state before it; nothing is merged.
func (b *batch) apply(cmds ...*contracts.Command) []contracts.Answer {
	b.t.Helper()
	before := b.scene.Oracle.Hash()
	out, err := contracts.ApplyBatch(b.scene.Oracle, contracts.Env{Ledger: b.m.Ledger, Now: b.m.Now}, cmds)
	if err != nil {
		b.t.Fatal(err)
	}
	if b.scene.Oracle.Hash() != before {
		b.t.Fatal("a batch wrote through State")
	}
	return out
}

func (b *batch) renewFile(a *contractstest.Actor, note string) *contracts.Command {
	return b.decode(b.m.Sign(a.ID, "member.renew_file", contracts.MemberRenewFile{File: contracts.File{Kind: contracts.FileLicence,
		Digest: contracts.HashOf("test/file", []byte(note))}}, nil, a.Admin))
}

func (b *batch) appoint(a *contractstest.Actor) *contracts.Command {
	k := b.m.Key()
	return b.decode(b.m.Sign(a.ID, "person.appoint", contracts.PersonAppoint{Person: contracts.PersonSpec{Duties: []contracts.Duty{contracts.DutyMaker},
		Evidence: contracts.HashOf("test/evidence"), Keys: []contracts.KeySpec{{Key: k.Public, Purpose: contracts.PurposeCommand}}}}, nil, a.Admin, a.Check))
}

func code(a contracts.Answer) contracts.Code {
	if a.Refusal == nil {
		return ""
	}
	return a.Refusal.Code
}

func TestBatchIndependent(t *testing.T) {
	b := newBatch(t)
	cmds := []*contracts.Command{b.appoint(b.m.Provider), b.appoint(b.m.Provider), b.appoint(b.m.Buyer), b.appoint(b.m.Custodian)}
	want := map[contracts.ID]*contracts.Result{}
	for i, a := range b.apply(cmds...) {
		if a.Refusal != nil {
			t.Fatalf("command %d: %v", i, a.Refusal)
		}
		want[cmds[i].ID] = a.Result
	}
	// Any order gives every command the same result.
	for _, order := range [][]int{{3, 2, 1, 0}, {1, 3, 0, 2}, {2, 0, 3, 1}} {
		var shuffled []*contracts.Command
		for _, i := range order {
			shuffled = append(shuffled, cmds[i])
		}
		for i, a := range b.apply(shuffled...) {
			if a.Refusal != nil || !reflect.DeepEqual(a.Result, want[shuffled[i].ID]) {
				t.Errorf("order %v: command %d has another result", order, order[i])
			}
		}
	}
	// And so does each alone.
	for i, c := range cmds {
		if a := b.apply(c)[0]; !reflect.DeepEqual(a.Result, want[c.ID]) {
			t.Errorf("command %d alone has another result", i)
		}
	}
}

func TestBatchDependentWrite(t *testing.T) {
	b := newBatch(t)
	first, second := b.renewFile(b.m.Provider, "first"), b.renewFile(b.m.Provider, "second")
	other := b.renewFile(b.m.Buyer, "another member's")
	out := b.apply(first, second, other)
	if code(out[0]) != "" || code(out[1]) != "batch.dependent" || code(out[2]) != "" {
		t.Fatalf("answers %q %q %q", code(out[0]), code(out[1]), code(out[2]))
	}
	if out[1].Result != nil {
		t.Error("a refused command has a result")
	}
	// In the next batch it goes through.
	if err := b.scene.Oracle.Merge(out[0].Result.Writes); err != nil {
		t.Fatal(err)
	}
	if out := b.apply(second); code(out[0]) != "" {
		t.Errorf("alone it is refused with %v", out[0].Refusal)
	}
}

func TestBatchDependentRead(t *testing.T) {
	b := newBatch(t)
	// The second command only reads what the first writes: its own member's state.
	suspend := b.decode(b.m.Sign(b.m.Venue.ID, "member.suspend", contracts.MemberTurn{Subject: b.m.Buyer.ID, Reason: "test"}, nil, b.m.Venue.Two()...))
	reads := b.appoint(b.m.Buyer)
	out := b.apply(suspend, reads)
	if code(out[0]) != "" || code(out[1]) != "batch.dependent" {
		t.Fatalf("answers %q %q", code(out[0]), code(out[1]))
	}
	// The other way round neither sees the other: the read comes first, as if it had been submitted first.
	out = b.apply(reads, suspend)
	if code(out[0]) != "" || code(out[1]) != "" {
		t.Fatalf("reversed: %q %q", code(out[0]), code(out[1]))
	}
}

// A refused command has written nothing, so that nothing depends on it.
func TestBatchRefusedWritesNothing(t *testing.T) {
	b := newBatch(t)
	bad := b.decode(b.m.Sign(b.m.Provider.ID, "member.renew_file", contracts.MemberRenewFile{File: contracts.File{Kind: contracts.FileLicence,
		Digest: contracts.HashOf("test/file"), Expires: b.m.Now.Add(-1)}}, nil, b.m.Provider.Admin))
	good := b.renewFile(b.m.Provider, "good")
	out := b.apply(bad, good, good)
	if code(out[0]) != "member.file_expired" || code(out[1]) != "" {
		t.Fatalf("answers %q %q", code(out[0]), code(out[1]))
	}
	// The same bytes twice in a batch: the second would read the first's outcome.
	if code(out[2]) != "batch.dependent" {
		t.Errorf("the same command twice: %q", code(out[2]))
	}
	// Nor has one that was refused as dependent: a third waits for the first only.
	one, two, three := b.renewFile(b.m.Provider, "1"), b.renewFile(b.m.Provider, "2"), b.appoint(b.m.Provider)
	out = b.apply(three, one, two)
	if got := fmt.Sprint(code(out[0]), code(out[1]), code(out[2])); got != "batch.dependent" {
		t.Errorf("answers %q", got)
	}
}

// A batch is a sequence: applied one after another with merging, the accepted ones of a batch give the same results,
// whatever the batch. Random batches over one market.
func TestBatchEqualsSequence(t *testing.T) {
	b := newBatch(t)
	everybody := []*contractstest.Actor{b.m.Provider, b.m.Buyer, b.m.Custodian, b.m.LawFirm, b.m.Authority}
	everybody = slices.DeleteFunc(everybody, func(a *contractstest.Actor) bool { return a == nil })
	for round := range 40 {
		var cmds []*contracts.Command
		for i := range 6 {
			r := b.m.Random()
			a := everybody[int(r[0])%len(everybody)]
			switch r[1] % 3 {
			case 0:
				cmds = append(cmds, b.appoint(a))
			case 1:
				cmds = append(cmds, b.renewFile(a, fmt.Sprint(round, i)))
			case 2:
				cmds = append(cmds, b.decode(b.m.Sign(b.m.Venue.ID, "member.suspend", contracts.MemberTurn{Subject: a.ID}, nil, b.m.Venue.Two()...)))
			}
		}
		out := b.apply(cmds...)
		st := contractstest.NewState()
		for _, k := range b.scene.Oracle.Keys() {
			v, _ := b.scene.Oracle.Get(k)
			if err := st.Merge([]contracts.Write{{Key: k, Value: v}}); err != nil {
				t.Fatal(err)
			}
		}
		for i, a := range out {
			if a.Refusal != nil {
				continue
			}
			res, err := contracts.Apply(st, contracts.Env{Ledger: b.m.Ledger, Now: b.m.Now}, cmds[i])
			if err != nil || !reflect.DeepEqual(res, a.Result) {
				t.Fatalf("round %d, command %d: in sequence it gives another result (%v)", round, i, err)
			}
			if err := st.Merge(res.Writes); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A failure of State fails the batch: it decides nothing and is no refusal.
func TestBatchFailure(t *testing.T) {
	b := newBatch(t)
	broken := errors.New("the disk is gone")
	_, err := contracts.ApplyBatch(brokenState{b.scene.Oracle, broken}, contracts.Env{Ledger: b.m.Ledger, Now: b.m.Now},
		[]*contracts.Command{b.appoint(b.m.Provider)})
	var r *contracts.Refusal
	if !errors.Is(err, broken) || errors.As(err, &r) {
		t.Errorf("got %v", err)
	}
}

type brokenState struct {
	st  contracts.State
	err error
}

func (s brokenState) Get(key string) ([]byte, error) {
	if len(key) > 7 && key[:7] == "person/" {
		return nil, s.err
	}
	return s.st.Get(key)
}
