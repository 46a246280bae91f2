package fabric

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/ledger/fabric/profile"
)

// A peer that is away for an hour is one line, and its return another.
func TestLostPeerIsLoggedOnce(t *testing.T) {
	var out bytes.Buffer
	l := &Ledger{cfg: Config{Log: slog.New(slog.NewTextHandler(&out, nil))}, grew: make(chan struct{})}
	p := endorser{info: profile.Peer{Name: "peer1.venue"}}
	for range 2 {
		out.Reset()
		l.confirm(p)
		l.lost(p, nil) // a stream that was closed in good order
		if out.Len() > 0 {
			t.Errorf("said %q of a peer that is read", out.String())
		}
		l.lost(p, errors.New("connection refused"))
		l.lost(p, errors.New("connection refused"))
		l.confirm(p)
		l.confirm(p)
		if s := out.String(); strings.Count(s, "level=WARN") != 1 || strings.Count(s, "level=INFO") != 1 || !strings.Contains(s, "peer1.venue") {
			t.Errorf("said %q", s)
		}
	}
}
