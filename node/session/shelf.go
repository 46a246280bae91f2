package session

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
)

// Shelf holds a node's sessions, one directory each.
type Shelf struct {
	dir  string
	lock *os.File
	now  func() time.Time
	open opener
	max  int

	mu       sync.Mutex
	sessions map[string]*Session
	closed   bool
}

// Config is what a shelf needs.
type Config struct {
	Dir string // made where it is missing; it holds secrets of sessions under way
	Now func() time.Time
	Max int // sessions open at once; 64 where it is 0

	open opener // tests
}

const (
	defaultMax = 64
	newPrefix  = "new-"
	// keepFor is how long it is remembered how a session ended, past its time.
	keepFor = 7 * 24 * time.Hour
)

// OpenShelf reads all sessions. No other process may have the shelf open.
func OpenShelf(c Config) (_ *Shelf, err error) {
	s := &Shelf{dir: c.Dir, now: c.Now, open: c.open, max: c.Max, sessions: map[string]*Session{}}
	if s.open == nil {
		s.open = openFile
	}
	if s.max == 0 {
		s.max = defaultMax
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("couldn't make shelf: %w", err)
	}
	if s.lock, err = os.OpenFile(filepath.Join(c.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, fmt.Errorf("couldn't lock shelf: %w", err)
	}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if err := unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("couldn't lock shelf: another process holds it: %w", err)
	}
	entries, err := os.ReadDir(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("couldn't read shelf: %w", err)
	}
	for _, e := range entries {
		switch name := e.Name(); {
		case !e.IsDir():
		case strings.HasPrefix(name, newPrefix): // a crash while it was made: nobody was told of it
			if err := os.RemoveAll(filepath.Join(c.Dir, name)); err != nil {
				return nil, fmt.Errorf("couldn't tidy shelf: %w", err)
			}
		default:
			x, err := s.openSession(filepath.Join(c.Dir, name))
			if err != nil {
				return nil, fmt.Errorf("couldn't open session %s: %w", name, err)
			}
			s.sessions[name] = x
		}
	}
	return s, nil
}

func nameOf(agreement, id contracts.ID) string { return string(agreement) + "-" + string(id) }

// Create makes a session, durably. The same terms again give the session that is there.
func (s *Shelf) Create(t Terms) (*Session, error) {
	if err := t.Check(); err != nil {
		return nil, fmt.Errorf("couldn't make session: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	name := nameOf(t.Agreement, t.ID)
	if x := s.sessions[name]; x != nil {
		if string(canon.Marshal(x.Terms)) != string(canon.Marshal(t)) {
			return nil, refuse(Differs, "a session of this id is on other terms")
		}
		return x, nil
	}
	if !s.now().Before(t.ExpiresAt.Time()) {
		return nil, refuse(Expired, "the session's time is over")
	}
	n := 0
	for _, x := range s.sessions {
		if _, ended := x.Outcome(); !ended {
			n++
		}
	}
	if n >= s.max {
		return nil, refuse(TooMany, "this node runs as many sessions as it may")
	}
	fresh := filepath.Join(s.dir, newPrefix+name)
	dir := filepath.Join(s.dir, name)
	err := os.Mkdir(fresh, 0o700)
	if err == nil {
		err = replaceFile(filepath.Join(fresh, termsFile), canon.Marshal(t))
	}
	if err == nil {
		err = os.Rename(fresh, dir)
	}
	if err == nil {
		err = syncDir(s.dir)
	}
	if err != nil {
		os.RemoveAll(fresh)
		return nil, fmt.Errorf("couldn't make session: %w", err)
	}
	x, err := s.openSession(dir)
	if err != nil {
		return nil, err
	}
	s.sessions[name] = x
	return x, nil
}

// Session finds a session.
func (s *Shelf) Session(agreement, id contracts.ID) (*Session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, ok := s.sessions[nameOf(agreement, id)]
	return x, ok
}

// Sessions lists all, those that have ended too, in the order of their names.
func (s *Shelf) Sessions() []*Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*Session
	for _, x := range s.sessions {
		all = append(all, x)
	}
	slices.SortFunc(all, func(a, b *Session) int { return strings.Compare(a.dir, b.dir) })
	return all
}

// Sweep ends sessions whose time is over, and forgets those that ended long ago.
func (s *Shelf) Sweep() error {
	var errs []error
	now := s.now()
	for _, x := range s.Sessions() {
		over := x.Terms.ExpiresAt.Time()
		if now.Before(over) {
			continue
		}
		errs = append(errs, x.end(Outcome{Code: Expired}), x.release())
		if now.Before(over.Add(keepFor)) {
			continue
		}
		s.mu.Lock()
		delete(s.sessions, filepath.Base(x.dir))
		s.mu.Unlock()
		errs = append(errs, x.close(), os.RemoveAll(x.dir))
	}
	return errors.Join(errs...)
}

// Close ends all runs and gives the shelf to the next process. Sessions go on there.
func (s *Shelf) Close() error {
	s.mu.Lock()
	s.closed = true
	all := s.sessions
	s.sessions = map[string]*Session{}
	s.mu.Unlock()
	var errs []error
	for _, x := range all {
		errs = append(errs, x.close())
	}
	return errors.Join(append(errs, s.lock.Close())...)
}
