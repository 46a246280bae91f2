// Package witnesstest runs real witnesses on loopback for tests.
package witnesstest

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/bund-exchange/bund/ledger/witness"
)

// Server is a witness behind HTTP that can be made unreachable.
type Server struct {
	*witness.Witness
	URL string
	Key string // verifier key
	Dir string

	down  atomic.Bool
	asked atomic.Int64
}

// Start begins a witness of the log with a clock of the test's.
func Start(t testing.TB, name, logKey string, now func() time.Time) *Server {
	t.Helper()
	skey, _, err := note.GenerateKey(nil, name)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Dir: t.TempDir()}
	s.Witness, err = witness.Open(witness.Config{Dir: s.Dir, LogKey: logKey, Key: skey, Begin: true, Now: now,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	s.Key = s.VerifierKey()
	h := s.Handler()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		if s.down.Load() {
			panic(http.ErrAbortHandler) // the connection breaks
		}
		h.ServeHTTP(w, r)
	}))
	s.URL = srv.URL
	t.Cleanup(func() {
		srv.Close()
		s.Close()
	})
	return s
}

// Down makes the witness unreachable, or reachable again.
func (s *Server) Down(down bool) { s.down.Store(down) }

// Asked counts requests.
func (s *Server) Asked() int64 { return s.asked.Load() }
