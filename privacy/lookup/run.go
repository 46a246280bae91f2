package lookup

import (
	"bufio"
	"bytes"
	"container/heap"
	"io"
	"iter"
	"slices"
)

// run collects sealed records in memory, to be sorted by tag.
type run struct {
	size int // of a record
	buf  []byte
	n    int // records in buf
}

func newRun(recordSize, memoryBytes int) *run {
	if memoryBytes == 0 {
		memoryBytes = 64 << 20
	}
	return &run{size: recordSize, buf: make([]byte, max(blockRows, memoryBytes/recordSize)*recordSize)}
}

func (r *run) room() int { return len(r.buf)/r.size - r.n }

func (r *run) record(i int) []byte { return r.buf[i*r.size : (i+1)*r.size : (i+1)*r.size] }

// sorted gives the records in order of tag. The buffer keeps its order.
func (r *run) sorted() iter.Seq[[]byte] {
	order := make([]int32, r.n)
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int { return bytes.Compare(r.record(int(a))[:tagBytes], r.record(int(b))[:tagBytes]) })
	return func(yield func([]byte) bool) {
		for _, i := range order {
			if !yield(r.record(int(i))) {
				return
			}
		}
	}
}

// mergeRuns gives the records of all runs in order of tag. A record is good until the next.
func mergeRuns(runs []spilled, size int) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		h := make(runHeap, 0, len(runs))
		for _, s := range runs {
			x := &runHead{r: bufio.NewReaderSize(io.NewSectionReader(s, 0, s.bytes), 256<<10), record: make([]byte, size)}
			if err := x.advance(); err != nil {
				yield(nil, noEOF(err))
				return
			}
			h = append(h, x)
		}
		heap.Init(&h)
		for len(h) > 0 {
			if !yield(h[0].record, nil) {
				return
			}
			switch err := h[0].advance(); {
			case err == io.EOF:
				heap.Pop(&h)
			case err != nil:
				yield(nil, err)
				return
			default:
				heap.Fix(&h, 0)
			}
		}
	}
}

// noEOF makes the end of a run that has records the loss that it is.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

type runHead struct {
	r      io.Reader
	record []byte
}

func (x *runHead) advance() error {
	_, err := io.ReadFull(x.r, x.record)
	return err
}

type runHeap []*runHead

func (h runHeap) Len() int { return len(h) }
func (h runHeap) Less(i, j int) bool {
	return bytes.Compare(h[i].record[:tagBytes], h[j].record[:tagBytes]) < 0
}
func (h runHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *runHeap) Push(any)     { panic("lookup: runs are never added to a merge") }
func (h *runHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
