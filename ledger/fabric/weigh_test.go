package fabric

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go/common"

	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/fabric/blocks"
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

// What was derived last is held against what a peer has in its place.
func TestSame(t *testing.T) {
	block := func(commit []byte) *common.Block {
		b := &common.Block{Header: &common.BlockHeader{Number: 7}, Metadata: &common.BlockMetadata{Metadata: make([][]byte, 5)}}
		b.Metadata.Metadata[common.BlockMetadataIndex_COMMIT_HASH] = commit
		return b
	}
	encoded := func(hash string) []byte { return append([]byte{0x0a, byte(len(hash))}, hash...) }
	m := mark{Block: 8, Head: blocks.HeaderHash(block(nil).Header), Commit: []byte("one")}
	other := block(encoded("one"))
	other.Header.Number = 6
	for what, x := range map[string]struct {
		b    *common.Block
		want error
	}{"the same": {block(encoded("one")), nil}, "another judgement": {block(encoded("two")), errJudged}, "no commit hash": {block(nil), errJudged},
		"a malformed one": {block([]byte{0xff}), errJudged}, "another block": {other, errAnother}, "no header": {&common.Block{}, errAnother}} {
		if err := m.same(x.b); !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %v", what, err, x.want)
		}
	}
}
