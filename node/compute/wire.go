package compute

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/bund-exchange/bund/contracts/canon"
)

// job is what a child reads from standard input, in canonical JSON, to its end. The working table is its third open
// file.
type job struct {
	CPUSec   int64    `json:"cpuSec"`
	MemoryMB int64    `json:"memoryMB"`
	Threads  int64    `json:"threads"`
	Program  *program `json:"program,omitempty"` // without one the child only says what confines it
}

// A child's answer, integers big-endian, to the end of standard output:
//
//	magic
//	confinement u32, state u8
//	keys u8, sums u8, cells u32                                       the rest only when the state is figures
//	cell*   key i64 each, rows i64, {total i64, rows i64} each, subjects u32, length of the cohort u32
//	cohort*
const answerMagic = "bund figures 1\n"

type answerState uint8

const (
	stateFigures answerState = iota + 1
	stateTooManyGroups
	stateConfined // there was no program
	stateFailed   // the engine failed: the child says no more, since it might say what a row holds
)

type answer struct {
	held  Confinement
	state answerState
	exact *exact
}

func (a *answer) encode() []byte {
	size := 64
	if a.state == stateFigures {
		for i := range a.exact.cells {
			c := &a.exact.cells[i]
			size += 8*len(c.keys) + 16*len(c.sums) + 16 + len(c.cohort)
		}
	}
	b := append(make([]byte, 0, size), answerMagic...)
	b = binary.BigEndian.AppendUint32(b, uint32(a.held))
	b = append(b, byte(a.state))
	if a.state != stateFigures {
		return b
	}
	cells, keys, sums := a.exact.cells, 0, 0
	if len(cells) > 0 {
		keys, sums = len(cells[0].keys), len(cells[0].sums)
	}
	b = binary.BigEndian.AppendUint32(append(b, byte(keys), byte(sums)), uint32(len(cells)))
	put := func(n int64) { b = binary.BigEndian.AppendUint64(b, uint64(n)) }
	for i := range cells {
		c := &cells[i]
		for _, k := range c.keys {
			put(k)
		}
		put(c.rows)
		for _, s := range c.sums {
			put(s.total)
			put(s.rows)
		}
		b = binary.BigEndian.AppendUint32(b, uint32(c.subjects))
		b = binary.BigEndian.AppendUint32(b, uint32(len(c.cohort)))
	}
	for i := range cells {
		b = append(b, cells[i].cohort...)
	}
	return b
}

var errAnswer = errors.New("a child's answer is malformed")

// decodeAnswer reads a child's answer to a program over so many subjects, and holds it to what the program can give.
func decodeAnswer(b []byte, p *program, subjects int64) (*answer, error) {
	rest, ok := cut(b, answerMagic)
	if !ok || len(rest) < 5 {
		return nil, fmt.Errorf("%w: head", errAnswer)
	}
	a := &answer{held: Confinement(binary.BigEndian.Uint32(rest)), state: answerState(rest[4])}
	rest = rest[5:]
	switch {
	case a.state == stateTooManyGroups && p != nil, a.state == stateConfined && p == nil, a.state == stateFailed && p != nil:
		if len(rest) > 0 {
			return nil, fmt.Errorf("%w: bytes after it", errAnswer)
		}
		return a, nil
	case a.state != stateFigures || p == nil || len(rest) < 6:
		return nil, fmt.Errorf("%w: state", errAnswer)
	}
	keys, sums, n := int(rest[0]), int(rest[1]), int(binary.BigEndian.Uint32(rest[2:]))
	rest = rest[6:]
	size := 8*keys + 8 + 16*sums + 8
	empty := n == 0 && keys == 0 && sums == 0 && len(p.Groups) > 0
	if !empty && (keys != len(p.Groups) || sums != len(p.Sums)) || n > maxCells || len(rest) < n*size || keys == 0 && !empty && n != 1 {
		return nil, fmt.Errorf("%w: cells", errAnswer)
	}
	cells, cohorts := make([]exactCell, n), rest[n*size:]
	numbers := make([]int64, n*keys)
	totals := make([]exactSum, n*sums)
	for i := range cells {
		c := &cells[i]
		take := func() int64 {
			v := int64(binary.BigEndian.Uint64(rest))
			rest = rest[8:]
			return v
		}
		c.keys, c.sums = numbers[i*keys:(i+1)*keys:(i+1)*keys], totals[i*sums:(i+1)*sums:(i+1)*sums]
		for k := range c.keys {
			c.keys[k] = take()
		}
		c.rows = take()
		for k := range c.sums {
			c.sums[k] = exactSum{take(), take()}
		}
		c.subjects = int64(binary.BigEndian.Uint32(rest))
		length := int64(binary.BigEndian.Uint32(rest[4:]))
		rest = rest[8:]
		if length > int64(len(cohorts)) {
			return nil, fmt.Errorf("%w: cohort of cell %d", errAnswer, i)
		}
		c.cohort, cohorts = cohorts[:length:length], cohorts[length:]
		if i > 0 && slices.Compare(cells[i-1].keys, c.keys) >= 0 {
			return nil, fmt.Errorf("%w: order of cell %d", errAnswer, i)
		}
		if err := c.possible(p, subjects); err != nil {
			return nil, fmt.Errorf("%w: cell %d: %v", errAnswer, i, err)
		}
	}
	if len(cohorts) > 0 {
		return nil, fmt.Errorf("%w: bytes after it", errAnswer)
	}
	a.exact = &exact{cells}
	return a, nil
}

func cut(b []byte, magic string) ([]byte, bool) {
	if len(b) < len(magic) || string(b[:len(magic)]) != magic {
		return nil, false
	}
	return b[len(magic):], true
}

// possible reports a cell that no honest run of the program gives. What noise must hide rests on these bounds.
func (c *exactCell) possible(p *program, subjects int64) error {
	switch {
	case c.subjects > subjects, c.rows < c.subjects, c.rows > maxTableRows, c.rows > c.subjects*p.RowsPerSubject:
		return errors.New("more rows than its subjects may have")
	case len(p.Groups) > 0 && c.rows == 0:
		return errors.New("no row")
	}
	for i, s := range c.sums {
		if s.rows < 0 || s.rows > c.rows || s.total < s.rows*p.Sums[i].Lower || s.total > s.rows*p.Sums[i].Upper {
			return errors.New("a sum beyond its bounds")
		}
	}
	return eachSubject(c.cohort, c.subjects, subjects, func(uint32) {})
}

// parseJob reads a child's task.
func parseJob(b []byte) (*job, error) {
	j := new(job)
	if err := canon.Unmarshal(b, j); err != nil {
		return nil, err
	}
	return j, nil
}

// Check refuses a task that would not run.
func (j job) Check() error {
	if j.CPUSec < 1 || j.MemoryMB < 16 || j.Threads < 1 || j.CPUSec > 86400 || j.MemoryMB > math.MaxInt32 || j.Threads > 256 {
		return errors.New("limits out of bounds")
	}
	return nil
}

// Check refuses a program that names a column which isn't there: an engine doesn't look again.
func (p program) Check() error {
	if len(p.Groups) > MaxGroupBy || len(p.Sums) > MaxAggregates || len(p.Conditions) > MaxFilters || p.RowsPerSubject < 1 || p.RowsPerSubject > maxRowsOfSubject || p.Subjects < 0 || p.Subjects > maxTableRows {
		return errors.New("a program beyond its limits")
	}
	columns := slices.Clone(p.Groups)
	for _, c := range p.Conditions {
		columns = append(columns, c.Column)
		if want := len(c.Values); want != 1 && c.Operator != In && c.Operator != Empty && c.Operator != Filled || want > MaxValues {
			return errors.New("a condition with too few or too many values")
		}
		switch c.Operator {
		case Equal, Unequal, Less, LessEqual, Greater, GreaterEqual, In, Empty, Filled:
		default:
			return errors.New("no such operator")
		}
	}
	for _, s := range p.Sums {
		columns = append(columns, s.Column)
		if s.Lower >= s.Upper || s.Lower <= -maxNumber || s.Upper >= maxNumber || s.Column < 0 || s.Column >= int64(len(p.Shapes)) || !p.Shapes[s.Column].Wide {
			return errors.New("a sum of nothing")
		}
	}
	for _, c := range columns {
		if c < 0 || c >= int64(len(p.Shapes)) {
			return errors.New("no such column")
		}
	}
	return nil
}

func (l Limits) job(p *program) *job {
	return &job{CPUSec: l.CPUSec, MemoryMB: l.MemoryMB, Threads: l.Threads, Program: p}
}

// limits gives a child its own.
func (j *job) limits() Limits {
	return Limits{CPUSec: j.CPUSec, MemoryMB: j.MemoryMB, Threads: j.Threads, Wall: time.Minute}.complete()
}
