package fabric

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/fabric/profile"
)

// One peer with other blocks is set aside while another has those of the file; when no peer has them, nothing is read on.
func TestOddPeers(t *testing.T) {
	first, second := endorser{info: profile.Peer{Name: "one", Address: "1"}}, endorser{info: profile.Peer{Name: "two", Address: "2"}}
	gone := errors.New("connection refused")
	type end struct {
		peer   endorser
		agreed bool
		err    error
	}
	other := fmt.Errorf("block 7: %w", errJudged)
	for what, x := range map[string]struct {
		ends  []end
		stops bool
		odd   string // who is set aside in the end, when one is
	}{
		"the second":                         {[]end{{first, true, gone}, {second, false, other}, {first, true, gone}, {second, false, other}}, false, "two"},
		"the second, while the first is off": {[]end{{second, false, other}, {first, false, gone}, {second, false, other}}, false, "two"},
		"both":                               {[]end{{first, false, other}, {second, false, fmt.Errorf("block 7: %w", errAnother)}}, true, ""},
		"one after the other":                {[]end{{first, false, other}, {second, true, gone}, {second, false, other}, {first, true, gone}}, false, ""},
	} {
		l := &Ledger{cfg: Config{Log: slog.New(slog.NewTextHandler(io.Discard, nil))}, grew: make(chan struct{}), ctx: t.Context(), metrics: newMetrics(),
			own: []endorser{first, second}, odd: map[string]time.Time{}, down: map[string]time.Time{}}
		odd := map[string]bool{}
		for _, e := range x.ends {
			l.weigh(e.peer, e.agreed, e.err, odd)
		}
		if err := l.broken(nil); errors.Is(err, ledger.ErrStopped) != x.stops {
			t.Errorf("%s: %v", what, err)
		}
		if odd := l.Health().Odd; x.odd != "" && (!slices.Equal(odd, []string{x.odd}) || l.prefer(l.own).info.Name == x.odd) {
			t.Errorf("%s: odd is %v, and %s is asked", what, odd, l.prefer(l.own).info.Name)
		}
	}
}
