package psi

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"iter"
	"runtime"
)

// Link carries numbered frames between the two sides and keeps them until the session is over. It is the session's
// memory of what was said: frames are never made twice.
type Link interface {
	// Sent is how many own frames are kept, in this run or one before it.
	Sent() uint64
	// Send keeps own frame n, which is Sent(); it is durable on return. Frames reach the peer unchanged and in order, or
	// the link fails.
	Send(ctx context.Context, n uint64, frame []byte) error
	// Own gives own frame n, which was sent.
	Own(n uint64) ([]byte, error)
	// Receive gives the peer's frame n, waiting until it is here. Any frame may be asked for again.
	Receive(ctx context.Context, n uint64) ([]byte, error)
}

// Spool is a place for what doesn't fit into memory: tapes that are appended to. It holds points of the own set, so it
// belongs where the set belongs. Run's goroutines never use the same tape at once.
type Spool interface {
	// Append writes at a tape's end. A tape that was never written is empty.
	Append(tape string, b []byte) error
	// ReadAt fills b from a tape's place off.
	ReadAt(tape string, b []byte, off int64) error
	// Truncate cuts a tape to size; 0 removes it.
	Truncate(tape string, size int64) error
	// Sync makes a tape durable.
	Sync(tape string) error
}

// Store keeps the one record of a session that holds its scalar.
type Store interface {
	// Load gives the record, nil if there is none.
	Load() ([]byte, error)
	// Save replaces the record, durably: on return the one before it can't be read any more.
	Save(record []byte) error
}

// Stage is what a session is at.
type Stage string

const (
	Preparing   Stage = "prepare"  // own ids: hashed, multiplied, sorted
	Exchanging  Stage = "exchange" // the peer's points
	Evaluating  Stage = "tags"     // tags made (sender) or received (receiver)
	Intersected Stage = "done"
)

// Progress says how far a session is, in elements. Total is 0 where it isn't known yet.
type Progress struct {
	Stage       Stage
	Done, Total uint64
}

// Session is one side of a set intersection.
type Session struct {
	Params Params
	Link   Link
	Spool  Spool
	Store  Store

	// Rand is crypto/rand.Reader where it is nil.
	Rand io.Reader
	// Workers is how many goroutines compute; the number of cores where it is 0.
	Workers int
	// OnProgress is told about progress, from one goroutine at a time, where it is not nil.
	OnProgress func(Progress)
}

// IDs yields the ids of a set, each once. It is run again only after a crash before the first frame.
type IDs = iter.Seq2[[]byte, error]

// Summary is what a side may tell about a session that is done: nothing in it depends on what matched.
type Summary struct {
	Sender, Receiver uint64   // announced sizes
	Tags             [32]byte // digest of the tags, the same on both sides
}

func (s *Session) check() error {
	if err := s.Params.check(); err != nil {
		return fmt.Errorf("couldn't begin intersection: %w", err)
	}
	if s.Link == nil || s.Spool == nil || s.Store == nil {
		return errors.New("couldn't begin intersection: link, spool or store is missing")
	}
	return nil
}

func (s *Session) random() io.Reader {
	if s.Rand == nil {
		return rand.Reader
	}
	return s.Rand
}

func (s *Session) workers() int {
	if s.Workers > 0 {
		return s.Workers
	}
	return runtime.GOMAXPROCS(0)
}

func (s *Session) progress(stage Stage, done, total uint64) {
	if s.OnProgress != nil {
		s.OnProgress(Progress{stage, done, total})
	}
}

// Tapes of a session.
const (
	tapeRuns   = "runs"   // sorted runs of own points with their ids' places
	tapePoints = "points" // own points, ascending
	tapePlaces = "places" // of the ids that own points belong to; receiver only
	tapeTags   = "tags"   // tags of the sender's points; receiver only
)

// cleanUp removes what only the session needed.
func (s *Session) cleanUp() error {
	for _, t := range []string{tapeRuns, tapePoints, tapePlaces, tapeTags} {
		if err := s.Spool.Truncate(t, 0); err != nil {
			return fmt.Errorf("couldn't clear spool: %w", err)
		}
	}
	return nil
}
