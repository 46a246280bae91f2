package rest

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/server/api"
	"github.com/bund-exchange/bund/server/projection/projectiontest"
)

func TestAWholeMarketBeginsOverHTTP(t *testing.T) {
	s := serve(t, projectiontest.Open(t, nil))
	s.Market.Project()
	s.Exec = overHTTP{s.machine("00000000000000000000000000000001")}
	s.Must(s.Market.Market.Begin())
	s.Listed() // with openings in it
	if h := s.Height(); h < 30 {
		t.Errorf("only %d entries", h)
	}
}

func TestSubmitAndLookup(t *testing.T) {
	s := serve(t, begun(t))
	v := s.machine(s.Buyer.ID)
	sub := s.Sign(s.Venue.ID, "clock.advance", contracts.ClockAdvance{To: s.Now.Add(60)}, nil, s.Venue.Machine)
	id := string(s.LastCommand())
	var look api.Answer
	v.ask("GET", "/commands/"+id, nil).into(t, 200, &look)
	if look.Status != "not_found" || look.Position != nil {
		t.Errorf("before: %+v", look)
	}

	height := s.Height()
	var got, again api.Accepted
	v.ask("POST", "/commands", wire(sub)).into(t, 200, &got)
	v.ask("POST", "/commands", wire(sub)).into(t, 200, &again)
	if got.Position != int64(height) || got.Repeated || !again.Repeated || again.Position != got.Position || again.Hash != got.Hash {
		t.Errorf("got %+v, then %+v", got, again)
	}
	es, err := s.Ledger.Entries(context.Background(), height, 1)
	if err != nil {
		t.Fatal(err)
	}
	if string(got.Hash) != hex.EncodeToString(es[0].Hash[:]) || got.Time != int64(es[0].Time) {
		t.Errorf("%+v is not the entry", got)
	}
	b, err := base64.StdEncoding.DecodeString(got.Promise)
	if err != nil {
		t.Fatal(err)
	}
	p, err := ledger.DecodePromise(b)
	if err != nil || p.Kept(es[0].Encoded) != nil {
		t.Errorf("the promise isn't of the entry: %v", err)
	}
	v.ask("GET", "/commands/"+id, nil).into(t, 200, &look)
	if look.Status != "accepted" || *look.Position != got.Position || look.Height < got.Position+1 {
		t.Errorf("after: %+v", look)
	}
	v.ask("GET", "/commands/"+strings.Repeat("0", 32), nil).into(t, 200, &look)
	if look.Status != "never" {
		t.Errorf("an old id: %+v", look)
	}
	for _, bad := range []string{"x", strings.ToUpper(id), id + "00"} {
		v.ask("GET", "/commands/"+bad, nil).problem(t, 400, "invalid_request")
	}
	s.visitor().ask("POST", "/commands", wire(sub)).problem(t, 401, "session.required")
}

func TestRefusalsNameCodeFieldAndPosition(t *testing.T) {
	s := serve(t, begun(t))
	v := s.machine(s.Buyer.ID)
	height := int64(s.Height())
	at := func(p *api.Problem) {
		t.Helper()
		if p.Position == nil || *p.Position != height || p.Detail == nil {
			t.Errorf("got %+v, want the position %d", p, height)
		}
	}
	advance := contracts.ClockAdvance{To: s.Now.Add(60)}
	at(v.ask("POST", "/commands", wire(s.Sign(s.Buyer.ID, "clock.advance", advance, nil, s.Buyer.Machine))).problem(t, 403, "member.role"))

	altered := wire(s.Sign(s.Venue.ID, "clock.advance", advance, nil, s.Venue.Machine))
	altered.Raw = strings.Replace(altered.Raw, `"version":"1"`, `"version":"2"`, 1)
	v.ask("POST", "/commands", altered).problem(t, 422, "command.version")

	altered.Raw = "{}"
	p := v.ask("POST", "/commands", altered).problem(t, 400, "command.malformed")
	if p.Errors == nil || len(*p.Errors) != 1 {
		t.Errorf("no field is named: %+v", p)
	}
	unknown := contractstest.NewMarket(projectiontest.LedgerID, nil, 99)
	unknown.Now = s.Now
	at(v.ask("POST", "/commands", wire(unknown.Sign(s.Venue.ID, "clock.advance", advance, nil, unknown.Key()))).problem(t, 404, "key.unknown"))
	if h := int64(s.Height()); h != height {
		t.Errorf("refused commands wrote %d entries", h-height)
	}
}

func TestFailuresSayNothingOfTheInside(t *testing.T) {
	s := serve(t, begun(t))
	v := s.machine(s.Venue.ID)
	sub := wire(s.Sign(s.Venue.ID, "clock.advance", contracts.ClockAdvance{To: s.Now.Add(60)}, nil, s.Venue.Machine))
	id := string(s.LastCommand())
	for _, test := range []struct {
		err    error
		status int
		code   string
	}{
		{fmt.Errorf("disk sda1 secret: %w", ledger.ErrStopped), 503, "unavailable"},
		{fmt.Errorf("secret: %w", ledger.ErrClosed), 503, "unavailable"},
		{errors.New("secret"), 500, "failure"},
		{fmt.Errorf("%w: secret: %w", ledger.ErrOutcomeUnknown, context.DeadlineExceeded), 504, "outcome_unknown"},
	} {
		s.broken.fail(test.err)
		a := v.ask("POST", "/commands", sub)
		p := a.problem(t, test.status, test.code)
		if strings.Contains(string(a.body), "secret") {
			t.Errorf("the answer tells what failed: %s", a.body)
		}
		if !strings.Contains(s.log.String(), "secret") || !strings.Contains(s.log.String(), *p.RequestId) {
			t.Error("the log doesn't tell what failed")
		}
		if test.status == 503 && a.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		if test.status == 504 {
			if p.CommandId == nil || *p.CommandId != id || a.Header.Get("Location") != "/commands/"+id {
				t.Errorf("the command to look up isn't named: %s", a.body)
			}
		} else if p.CommandId != nil {
			t.Errorf("%d names a command to look up", test.status)
		}
	}
}
