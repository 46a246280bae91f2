package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
)

// Subject is a ledger on a FaultFS, as far as the crash test drives it.
type Subject struct {
	ledger.Ledger
	Batch     func([]contracts.Submission) []Answer // decided in order, durable together
	Flush     func() error                          // of whatever follows the log
	StateHash func() (uint64, [32]byte, error)
	Kill      func() // ends it without a flush
}

// Answer is a receipt or an error.
type Answer struct {
	Receipt *ledger.Receipt
	Err     error
}

// Cuts is the crash test: the same workload again and again, each time with the power cut, or a failure, at another
// file operation, and perhaps a second time soon after the restart. Clients retry everything. Afterwards nothing that
// anybody was told may be untrue, nothing may be there twice, and the end must be that of an undisturbed run.
type Cuts struct {
	LedgerID string
	Open     func(fs *FaultFS, dir string) (*Subject, error)
	TempDir  func() string // an empty folder for what is not on the FaultFS
	Batches  [][]contracts.Submission
}

// Plan is one trial.
type Plan struct {
	At     int // operation of the first cut or failure
	Mode   Mode
	Fault  Fault
	Fails  bool // a failure, not a cut; the process ends by itself then, and Mode is mostly Killed
	Second int  // operation of the restart at which the power goes again; 0 not
	Mode2  Mode
	Refail bool // the restart's operation Second fails, and only the next restart is cut, three operations in
	Seed   uint64
	Lie    bool // syncs do nothing
}

func (p Plan) String() string {
	what := "cut, " + p.Mode.String()
	if p.Fails {
		what = fmt.Sprintf("fault %d, then %v", p.Fault, p.Mode)
	}
	return fmt.Sprintf("operation %d, %s; second %d (fails: %v), %v; seed %d", p.At, what, p.Second, p.Refail, p.Mode2, p.Seed)
}

// End is where a run ended.
type End struct {
	Height uint64
	State  [32]byte
}

// errDown means that the run ended at a cut or failure that the plan made.
var errDown = errors.New("down")

// told is what anybody was told in any run so far.
type told struct {
	at     map[contracts.ID]uint64
	hash   map[contracts.ID][32]byte
	height uint64 // a refusal named it, or a lookup
}

// Undisturbed runs the workload without a cut and gives its end and the number of file operations.
func (c *Cuts) Undisturbed() (End, int, error) {
	fs := NewFaultFS(1)
	end, err := c.run(fs, c.TempDir(), newTold(), 2)
	return end, fs.Ops(), err
}

func newTold() *told { return &told{at: map[contracts.ID]uint64{}, hash: map[contracts.ID][32]byte{}} }

// Try runs the workload as planned, to its end. An error is a broken promise.
func (c *Cuts) Try(p Plan) (End, error) {
	fs, dir, t := NewFaultFS(p.Seed), c.TempDir(), newTold()
	fs.Mode, fs.LieSync = p.Mode, p.Lie
	if p.Fails {
		fs.FailAt, fs.Fault = p.At, p.Fault
	} else {
		fs.CutAt = p.At
	}
	flushEvery := 1 + int(p.Seed%5)
	if flushEvery == 5 { // what follows the log must not hide what the log lost
		flushEvery = len(c.Batches) + 1
	}
	for restart := 0; ; restart++ {
		end, err := c.run(fs, dir, t, flushEvery)
		if !errors.Is(err, errDown) {
			return end, err
		}
		if restart == 4 {
			return end, fmt.Errorf("down without a reason")
		}
		fs = fs.Reboot(p.Seed + 99)
		switch {
		case restart == 0 && p.Refail:
			fs.FailAt, fs.Fault, fs.Mode = p.Second, p.Fault, Killed
		case restart == 0:
			fs.CutAt, fs.Mode = p.Second, p.Mode2
		case restart == 1 && p.Refail:
			fs.CutAt, fs.Mode = 3+p.Second, p.Mode2
		}
	}
}

// run opens the ledger, checks it against what was told, and submits the whole workload from its beginning.
func (c *Cuts) run(fs *FaultFS, dir string, t *told, flushEvery int) (End, error) {
	s, err := c.Open(fs, dir)
	if err != nil {
		if errors.Is(err, ErrCut) || errors.Is(err, ErrFault) {
			return End{}, errDown
		}
		return End{}, fmt.Errorf("couldn't open: %w", err)
	}
	defer s.Kill()
	if err := c.check(s, t); err != nil {
		return End{}, err
	}
	for i, b := range c.Batches {
		for k, a := range s.Batch(b) {
			if err := t.hear(b[k], a); err != nil {
				return End{}, err
			}
		}
		if (i+1)%flushEvery == 0 {
			if err := s.Flush(); err != nil {
				return End{}, fmt.Errorf("couldn't flush: %w", err)
			}
		}
	}
	height, state, err := s.StateHash()
	return End{height, state}, err
}

// check audits what the ledger holds and compares it with what was told. What it holds now, a Lookup tells.
func (c *Cuts) check(s *Subject, t *told) error {
	a := NewAudit(c.LedgerID)
	if err := a.ReadAll(context.Background(), s); err != nil {
		return err
	}
	if a.Height() < t.height {
		return fmt.Errorf("height %d was told, now it is %d", t.height, a.Height())
	}
	for id, p := range t.at {
		if now, there := a.IDs[id]; !there || now != p || a.Hashes[now] != t.hash[id] {
			return fmt.Errorf("command %s was told at %d, now it is at %d (%v) of %d", id, p, now, there, a.Height())
		}
	}
	height, state, err := s.StateHash()
	if err != nil {
		return err
	}
	if height != a.Height() || state != a.StateHash() {
		return fmt.Errorf("the state at %d is not that of the log at %d", height, a.Height())
	}
	for id, p := range a.IDs {
		t.at[id], t.hash[id] = p, a.Hashes[p]
	}
	t.height = a.Height()
	return nil
}

// hear takes note of an answer.
func (t *told) hear(sub contracts.Submission, a Answer) error {
	var no *ledger.Refused
	switch {
	case a.Err == nil:
		cmd, err := Decode(sub)
		if err != nil {
			return err
		}
		if old, known := t.at[cmd.ID]; known && (old != a.Receipt.Position || t.hash[cmd.ID] != a.Receipt.Hash) {
			return fmt.Errorf("command %s was answered at %d, then at %d", cmd.ID, old, a.Receipt.Position)
		}
		t.at[cmd.ID], t.hash[cmd.ID] = a.Receipt.Position, a.Receipt.Hash
	case errors.As(a.Err, &no):
		t.height = max(t.height, no.Position)
	case errors.Is(a.Err, ledger.ErrOutcomeUnknown), errors.Is(a.Err, ledger.ErrStopped):
		return errDown
	default:
		return fmt.Errorf("a failure that nobody planned: %w", a.Err)
	}
	return nil
}

// Workload gives about n commands in batches of 1 to 8: most are accepted, some refused, some sent twice, in the order
// that seed gives. What is refused would be refused at any time, so that retrying all leads to the same end.
func Workload(n int, seed uint64, at contracts.Millis) [][]contracts.Submission {
	r := rand.New(rand.NewPCG(seed, 1))
	var all []contracts.Submission
	add := func(words ...string) {
		all = append(all, Line(CommandID(at, strconv.Itoa(len(all))+"/"+strconv.FormatUint(seed, 10)), words...))
	}
	account := func() string { return strconv.Itoa(r.IntN(6)) }
	for i := range 6 {
		add("open", strconv.Itoa(i))
	}
	var there []string
	for len(all) < n {
		switch r.IntN(9) {
		case 0:
			all = append(all, all[r.IntN(len(all))])
		case 1:
			add("transfer", account(), account(), "99999")
		case 2:
			add("open", account())
		case 3, 4:
			there = append(there, strconv.Itoa(len(all)))
			add("register", there[len(there)-1])
		case 5:
			if k := len(there); k > 0 {
				add("remove", there[k-1])
				there = there[:k-1]
			}
		default:
			from := r.IntN(6)
			add("transfer", strconv.Itoa(from), strconv.Itoa((from+1)%6), "1")
		}
	}
	var batches [][]contracts.Submission
	for len(all) > 0 {
		k := min(1+r.IntN(8), len(all))
		batches, all = append(batches, all[:k]), all[k:]
	}
	return batches
}
