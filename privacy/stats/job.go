package stats

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/bund-exchange/bund/contracts"
)

// MaxJobBytes bounds a job, and so how many reports are prepared in one exchange.
const MaxJobBytes = 2 << 20

// outcome is what the helper says of one report of a job.
type outcome byte

const (
	prepared outcome = iota + 1 // its prep share follows, and each side decides by both
	missing                     // its half hasn't come here: it waits for another job
	known                       // it was prepared before: it is never counted again
	invalid                     // the helper's half is no share of this task
)

func (s *scheme) jobReports() int {
	return (MaxJobBytes - headerBytes - jobNumberBytes) / (16 + s.size.prep)
}

// A job's entries stand behind its number, which no other job has: reports that were missing are proposed again with the
// same prep shares, and that is another job.
const jobNumberBytes = 8

// proposal is one report of a job with the leader's prep share.
type proposal struct {
	id   ReportID
	prep []byte
}

func (s *scheme) readJob(t *Task, b []byte) (batch int64, ps []proposal, err error) {
	batch, n, rest, err := readHeader(b, jobMessage, t.digest())
	if err != nil {
		return 0, nil, err
	}
	size := 16 + s.size.prep
	if n < 1 || n > s.jobReports() || len(rest) != jobNumberBytes+n*size {
		return 0, nil, refuse(BadForm, "a job has 1 to %d reports, of %d bytes each", s.jobReports(), size)
	}
	rest = rest[jobNumberBytes:]
	seen := make(map[ReportID]bool, n)
	for i := range n {
		p := proposal{ReportID(rest[i*size : i*size+16]), rest[i*size+16 : (i+1)*size]}
		if seen[p.id] {
			return 0, nil, refuse(Replayed, "a job holds a report twice")
		}
		seen[p.id] = true
		ps = append(ps, p)
	}
	return batch, ps, nil
}

// answer is the helper's word on each report of a job, in the job's order.
type answer struct {
	what outcome
	prep []byte // where prepared
}

func appendAnswer(task [32]byte, batch int64, job []byte, as []answer) []byte {
	b := appendHeader(nil, answerMessage, task, batch, len(as))
	d := sha256.Sum256(job)
	b = append(b, d[:]...)
	for _, a := range as {
		b = append(append(b, byte(a.what)), a.prep...)
	}
	return b
}

func (s *scheme) readAnswer(t *Task, batch int64, job, b []byte) ([]answer, error) {
	of, n, rest, err := readHeader(b, answerMessage, t.digest())
	if err != nil {
		return nil, err
	}
	if of != batch {
		return nil, refuse(BadOrder, "the answer is of another batch")
	}
	d := sha256.Sum256(job)
	if len(rest) < len(d) || [sha256.Size]byte(rest[:len(d)]) != d {
		return nil, refuse(BadOrder, "the answer is to another job")
	}
	rest = rest[len(d):]
	if n > s.jobReports() {
		return nil, refuse(BadForm, "an answer to more reports than a job has")
	}
	as := make([]answer, n)
	for i := range as {
		if len(rest) < 1 || outcome(rest[0]) < prepared || outcome(rest[0]) > invalid {
			return nil, refuse(BadForm, "an answer ends early or holds an unknown outcome")
		}
		as[i].what, rest = outcome(rest[0]), rest[1:]
		if as[i].what == prepared {
			if len(rest) < s.size.prep {
				return nil, refuse(BadForm, "an answer ends within a prep share")
			}
			as[i].prep, rest = rest[:s.size.prep], rest[s.size.prep:]
		}
	}
	if len(rest) != 0 {
		return nil, refuse(BadForm, "bytes behind an answer")
	}
	return as, nil
}

// Begin is the leader's: it proposes waiting reports for the open batch, at most max, and gives the job for the helper,
// or nil when none waits. While a job is out it gives that one again.
func (a *Aggregator) Begin(most int) (job []byte, err error) {
	if a.role != Leader {
		return nil, refuse(BadOrder, "the leader begins")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var st standing
	var ids []ReportID
	var reports []*taken
	if err := a.store.View(func(tx Tx) (err error) {
		if st, err = getStanding(tx); err != nil {
			return err
		}
		if tx.Get(record(orderRecord)) != nil {
			return refuse(BadOrder, "a batch is being closed")
		}
		if b := tx.Get(record(jobRecord)); b != nil {
			job = append([]byte(nil), b...)
			return nil
		}
		b, err := getBatch(tx, st.open)
		if err != nil {
			return err
		}
		ids, reports, err = a.front(tx, min(most, a.scheme.jobReports(), int(MaxBatch-b.count)))
		return err
	}); err != nil || job != nil || len(ids) == 0 {
		return job, err
	}
	out, bad, err := a.prepare(ids, reports)
	if err != nil {
		return nil, err
	}
	job = appendHeader(nil, jobMessage, a.task.digest(), st.open, len(out))
	job = append(job, number(st.next+1)...)
	for _, id := range ids {
		if p := out[id]; p != nil {
			job = append(append(job, id[:]...), p.own...)
		}
	}
	err = a.store.Update(func(tx Tx) error {
		st, err := getStanding(tx)
		if err != nil {
			return err
		}
		st.next = max(st.next, int64Of(job[headerBytes:])) // taken: it numbers this job
		if err := a.dequeue(tx, ids); err != nil {
			return err
		}
		if len(out) > 0 {
			if err := tx.Put(record(jobRecord), job); err != nil {
				return err
			}
		}
		return a.commit(tx, &st, &tally{invalid: bad})
	})
	if err != nil {
		return nil, fmt.Errorf("couldn't begin job: %w", err)
	}
	if len(out) == 0 { // all of them were invalid: nothing to ask
		return nil, nil
	}
	a.out = out
	return job, nil
}

// front gives the reports that wait longest.
func (a *Aggregator) front(tx Tx, most int) (ids []ReportID, reports []*taken, err error) {
	if most < 1 {
		return nil, nil, nil
	}
	damaged := false
	if err := tx.Scan(record(waitingRecord), func(_, v []byte) bool {
		if damaged = len(v) != len(ReportID{}); damaged {
			return false
		}
		ids = append(ids, ReportID(v))
		return len(ids) < most
	}); err != nil {
		return nil, nil, err
	}
	if damaged {
		return nil, nil, errDamaged(waitingRecord)
	}
	reports, err = a.waiting(tx, ids)
	return ids, reports, err
}

// waiting reads reports that must be there and wait.
func (a *Aggregator) waiting(tx Tx, ids []ReportID) (reports []*taken, err error) {
	for _, id := range ids {
		r, err := a.scheme.getReport(tx, a.role, id)
		if err == nil && (r == nil || r.status != reportWaiting) {
			err = errDamaged(reportRecord)
		}
		if err != nil {
			return nil, err
		}
		reports = append(reports, r)
	}
	return reports, nil
}

// dequeue takes the first len(ids) waiting numbers away, which are those of ids: only Finish adds before others.
func (a *Aggregator) dequeue(tx Tx, ids []ReportID) error {
	var keys [][]byte
	if err := tx.Scan(record(waitingRecord), func(k, _ []byte) bool {
		keys = append(keys, append([]byte(nil), k...))
		return len(keys) < len(ids)
	}); err != nil {
		return err
	}
	for _, k := range keys {
		if err := tx.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// prepare makes this aggregator's prep shares. A half that is no share of the task makes its report invalid.
func (a *Aggregator) prepare(ids []ReportID, reports []*taken) (out map[ReportID]*preparation, bad []ReportID, err error) {
	out = make(map[ReportID]*preparation, len(ids))
	for i, id := range ids {
		n := nonce(id)
		p, err := a.scheme.begin(&a.verify, &n, uint8(a.role), reports[i].public, reports[i].input)
		var no *contracts.Refusal
		switch {
		case errors.As(err, &no):
			bad = append(bad, id)
		case err != nil:
			return nil, nil, err
		default:
			out[id] = p
		}
	}
	return out, bad, nil
}

// Answer is the helper's: it prepares a job's reports with its own halves, counts those whose proof holds, and answers
// with its prep shares. The same job again gets the same answer and counts nothing.
func (a *Aggregator) Answer(job []byte) ([]byte, error) {
	if a.role != Helper {
		return nil, refuse(BadOrder, "the helper answers")
	}
	batch, ps, err := a.scheme.readJob(a.task, job)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	digest := sha256.Sum256(job)
	var again []byte
	var total []byte
	reports := make([]*taken, len(ps))
	if err := a.store.View(func(tx Tx) error {
		if b := tx.Get(record(answerRecord)); len(b) > len(digest) && [sha256.Size]byte(b[:len(digest)]) == digest {
			again = append([]byte(nil), b[len(digest):]...)
			return nil
		}
		st, err := getStanding(tx)
		if err != nil {
			return err
		}
		if batch != st.open {
			return refuse(BadOrder, "batch %d takes reports, not %d", st.open, batch)
		}
		b, err := getBatch(tx, batch)
		if err != nil {
			return err
		}
		total = b.total
		for i, p := range ps {
			if reports[i], err = a.scheme.getReport(tx, a.role, p.id); err != nil {
				return err
			}
		}
		return nil
	}); err != nil || again != nil {
		return again, err
	}
	t, err := a.newTally(total)
	if err != nil {
		return nil, err
	}
	as := make([]answer, len(ps))
	for i, p := range ps {
		if as[i], err = a.help(t, p, reports[i]); err != nil {
			return nil, err
		}
	}
	if t.tally.total, err = t.sum.bytes(); err != nil {
		return nil, err
	}
	answer := appendAnswer(a.task.digest(), batch, job, as)
	err = a.store.Update(func(tx Tx) error {
		st, err := getStanding(tx)
		if err != nil {
			return err
		}
		if err := tx.Put(record(answerRecord), append(digest[:], answer...)); err != nil {
			return err
		}
		return a.commit(tx, &st, &t.tally)
	})
	if err != nil {
		return nil, fmt.Errorf("couldn't answer job: %w", err)
	}
	return answer, nil
}

func (a *Aggregator) help(t *running, p proposal, r *taken) (answer, error) {
	switch {
	case r == nil:
		return answer{what: missing}, nil
	case r.status != reportWaiting:
		return answer{what: known}, nil
	}
	n := nonce(p.id)
	own, err := a.scheme.begin(&a.verify, &n, Helper, r.public, r.input)
	var no *contracts.Refusal
	if errors.As(err, &no) {
		t.tally.invalid = append(t.tally.invalid, p.id)
		return answer{what: invalid}, nil
	} else if err != nil {
		return answer{}, err
	}
	return answer{prepared, own.own}, t.decide(p.id, r.from, own, p.prep)
}

// running is a tally while a job is prepared.
type running struct {
	tally tally
	sum   *total
}

func (a *Aggregator) newTally(soFar []byte) (*running, error) {
	sum, err := a.scheme.total(soFar)
	if err != nil {
		return nil, errDamaged(batchRecord)
	}
	return &running{tally: tally{counted: map[ReportID]contracts.ID{}}, sum: sum}, nil
}

// decide counts a report if its proof holds by both prep shares. One that isn't even a prep share stops the job: it
// says something about the other aggregator and nothing about the report.
func (t *running) decide(id ReportID, from contracts.ID, own *preparation, other []byte) error {
	out, err := own.finish(other)
	var no *contracts.Refusal
	switch {
	case err == nil:
		t.sum.add(out)
		t.tally.counted[id] = from
		return nil
	case errors.As(err, &no) && no.Code == BadShare:
		t.tally.invalid = append(t.tally.invalid, id)
		return nil
	}
	return err
}

// Finished says what became of a job.
type Finished struct {
	Counted int
	Refused int // reports found invalid, or prepared before
	Missing int // that wait for the helper's half
}

// Finish is the leader's: it decides by both prep shares and counts.
func (a *Aggregator) Finish(b []byte) (f Finished, err error) {
	if a.role != Leader {
		return f, refuse(BadOrder, "the leader finishes")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var job []byte
	var batchNow batch
	if err := a.store.View(func(tx Tx) error {
		if job = append(job, tx.Get(record(jobRecord))...); job == nil {
			return refuse(BadOrder, "no job is out")
		}
		st, err := getStanding(tx)
		if err != nil {
			return err
		}
		batchNow, err = getBatch(tx, st.open)
		return err
	}); err != nil {
		return f, err
	}
	n, ps, err := a.scheme.readJob(a.task, job)
	if err != nil {
		return f, errDamaged(jobRecord)
	}
	as, err := a.scheme.readAnswer(a.task, n, job, b)
	if err != nil {
		return f, err
	}
	if len(as) != len(ps) {
		return f, refuse(BadForm, "an answer to %d of %d reports", len(as), len(ps))
	}
	reports, err := a.remember(ps)
	if err != nil {
		return f, err
	}
	t, err := a.newTally(batchNow.total)
	if err != nil {
		return f, err
	}
	var later []ReportID
	for i, p := range ps {
		switch as[i].what {
		case prepared:
			err = t.decide(p.id, reports[i].from, a.out[p.id], as[i].prep)
		case missing:
			later = append(later, p.id)
		default:
			t.tally.invalid = append(t.tally.invalid, p.id)
		}
		if err != nil {
			return f, err
		}
	}
	if t.tally.total, err = t.sum.bytes(); err != nil {
		return f, err
	}
	err = a.store.Update(func(tx Tx) error {
		st, err := getStanding(tx)
		if err != nil {
			return err
		}
		if err := tx.Delete(record(jobRecord)); err != nil {
			return err
		}
		for _, id := range later {
			if err := a.enqueue(tx, &st, id); err != nil {
				return err
			}
		}
		return a.commit(tx, &st, &t.tally)
	})
	if err != nil {
		return f, fmt.Errorf("couldn't finish job: %w", err)
	}
	a.out = nil
	return Finished{len(t.tally.counted), len(t.tally.invalid), len(later)}, nil
}

// remember reads the reports of the job that is out, and prepares them again if this process didn't.
func (a *Aggregator) remember(ps []proposal) (reports []*taken, err error) {
	ids := make([]ReportID, len(ps))
	for i, p := range ps {
		ids[i] = p.id
	}
	if err := a.store.View(func(tx Tx) (err error) {
		reports, err = a.waiting(tx, ids)
		return err
	}); err != nil || a.out != nil {
		return reports, err
	}
	var bad []ReportID
	if a.out, bad, err = a.prepare(ids, reports); err == nil && len(bad) > 0 {
		err = errDamaged(reportRecord)
	}
	return reports, err
}
