package cast

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/deploy/market"
)

// slowMarket is the API over the rules alone. Commands wait until play decides them.
type slowMarket struct {
	*contractstest.Pure

	mu      sync.Mutex
	waiting []*submitted
	kinds   []string // of all that came
}

type submitted struct {
	sub    contracts.Submission
	answer chan []byte
	status int
}

// RoundTrip implements http.RoundTripper.
func (f *slowMarket) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path == "/oauth/token" {
		return answer(http.StatusOK, []byte(`{"access_token":"t","expires_in":3600}`)), nil
	}
	var w struct {
		Raw        string
		Signatures []struct{ Key, Sig string }
	}
	if err := json.NewDecoder(r.Body).Decode(&w); err != nil {
		return nil, err
	}
	x := &submitted{sub: contracts.Submission{Raw: []byte(w.Raw)}, answer: make(chan []byte, 1)}
	for _, s := range w.Signatures {
		sig, err := hex.DecodeString(s.Sig)
		if err != nil {
			return nil, err
		}
		x.sub.Signatures = append(x.sub.Signatures, contracts.Signature{Key: contracts.PublicKey(s.Key), Sig: sig})
	}
	cmd, err := contracts.Decode(x.sub)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	f.waiting, f.kinds = append(f.waiting, x), append(f.kinds, cmd.Kind)
	f.mu.Unlock()
	select {
	case b := <-x.answer:
		return answer(x.status, b), nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

func answer(status int, body []byte) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body))}
}

// play decides until what goes on in the bubble has ended, and gives how many commands waited each time. What keep names
// is left waiting. Nothing is told to callers in the order in which it stands on the ledger.
func (f *slowMarket) play(t *testing.T, keep string, end <-chan error) (waited []int, err error) {
	t.Helper()
	for {
		synctest.Wait()
		select {
		case err := <-end:
			return waited, err
		default:
		}
		f.mu.Lock()
		now := slices.DeleteFunc(f.waiting, func(x *submitted) bool { return keep != "" && bytes.Contains(x.sub.Raw, []byte(keep)) })
		f.waiting = nil
		f.mu.Unlock()
		if len(now) == 0 {
			t.Fatal("nothing more is submitted, and it does not end")
		}
		waited = append(waited, len(now))
		bodies := map[*submitted][]byte{}
		for _, x := range slices.Backward(now) {
			bodies[x] = f.decide(t, x)
		}
		for _, x := range now {
			x.answer <- bodies[x]
			synctest.Wait()
		}
	}
}

func (f *slowMarket) decide(t *testing.T, x *submitted) []byte {
	_, err := f.Apply(x.sub)
	var r *contracts.Refusal
	var body any = map[string]any{"position": len(f.Applied) - 1}
	x.status = http.StatusOK
	switch {
	case errors.As(err, &r):
		x.status, body = http.StatusConflict, map[string]any{"status": http.StatusConflict, "code": r.Code, "detail": r.Detail}
	case err != nil:
		t.Fatal(err)
	}
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// scene is a market that has begun, whose further commands go through an Exec to a slow market.
func scene(t *testing.T) (*contractstest.Market, *Exec, *slowMarket) {
	m, pure := begun(t)
	f := &slowMarket{Pure: pure}
	e := &Exec{stack: &Stack{Venue: &market.Client{Base: "http://market", ID: "venue", Secret: "s", HTTP: &http.Client{Transport: f}}}, ctx: t.Context(),
		Registered: map[contracts.ID]int64{}}
	m.Exec = e
	return m, e, f
}

func begun(t *testing.T) (*contractstest.Market, *contractstest.Pure) {
	pure := contractstest.NewPure("bund.test/1")
	m := contractstest.NewMarket("bund.test/1", pure, 1)
	if err := m.Begin(); err != nil {
		t.Fatal(err)
	}
	return m, pure
}

// admissions are as many stories as names, the first two a command longer than the others.
func admissions(m *contractstest.Market, names ...string) (stories []func() error) {
	for i, name := range names {
		stories = append(stories, func() error {
			a := m.Actor(name, contracts.RoleProvider)
			if err := m.Admit(a); err != nil || i > 1 {
				return err
			}
			return m.Do(a.ID, "node.register", contracts.NodeRegister{TLSKey: a.TLS.Public.ID(), ReceiptKey: a.Receipt.Public.ID(), Region: "CN-31"}, nil, a.Admin)
		})
	}
	return stories
}

func TestTogether(t *testing.T) {
	alone, want := begun(t)
	if err := alone.Together(admissions(alone, "one", "two", "three")...); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		m, e, f := scene(t)
		end := make(chan error, 1)
		go func() { end <- m.Together(admissions(m, "one", "two", "three")...) }()
		waited, err := f.play(t, "", end)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(waited, []int{3, 3, 3, 2}) {
			t.Errorf("commands that waited together: %v, want 3, 3, 3 and the two longer stories' last", waited)
		}
		if f.Hash() != want.Hash() {
			t.Error("the market is another one than when everything is submitted in order")
		}
		last := int64(len(f.Applied) - 1)
		if e.Last.Position != last {
			t.Errorf("what stands last is at %d, want %d", e.Last.Position, last)
		}
		if at := slices.Sorted(maps.Values(e.Registered)); !slices.Equal(at, []int64{last - 1, last}) {
			t.Errorf("nodes are registered at %d, want the last two", at)
		}
	})
}

// The first error ends it: what comes after it in its story is not submitted, nor what others would still submit.
func TestTogetherEndsWithTheFirstError(t *testing.T) {
	for _, title := range []string{"", "admit everybody"} {
		synctest.Test(t, func(t *testing.T) {
			m, e, f := scene(t)
			unknown := contracts.ID(strings.Repeat("0", 32))
			refused := func() error {
				if title != "" {
					e.Title("%s", title)
				}
				return errors.Join(
					m.Do(m.Venue.ID, "member.exit", contracts.MemberTurn{Subject: unknown, Reason: "nobody"}, nil, m.Venue.Two()...),
					m.Do(m.Venue.ID, "member.suspend", contracts.MemberTurn{Subject: m.Buyer.ID, Reason: "never submitted"}, nil, m.Venue.Two()...))
			}
			end := make(chan error, 1)
			go func() { end <- m.Together(append(admissions(m, "slow"), refused)...) }()
			_, err := f.play(t, "slow", end)
			want := "member.exit: 409 "
			if title != "" {
				want = "couldn't admit everybody: " + want
			}
			if err == nil || !strings.HasPrefix(err.Error(), want) || market.CodeOf(err) == "" {
				t.Errorf("got %v, want %s and a code", err, want)
			}
			slices.Sort(f.kinds)
			if !slices.Equal(f.kinds, []string{"member.apply", "member.exit"}) {
				t.Errorf("%v were submitted", f.kinds)
			}
		})
	}
}

func TestStoryWithinStory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _, f := scene(t)
		end := make(chan error, 1)
		go func() {
			end <- m.Together(func() error { return m.Together(admissions(m, "one", "two")...) })
		}()
		waited, err := f.play(t, "", end)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Max(waited) > 1 {
			t.Errorf("commands of one story that waited together: %v, want one at a time", waited)
		}
	})
}
