package clearing

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bund-exchange/bund/contracts"
)

func at(s string) contracts.Millis {
	if s == "" {
		return 0
	}
	t, err := time.ParseInLocation("2006-01-02 15:04", s, contracts.Shanghai)
	if err != nil {
		panic(err)
	}
	return contracts.Millis(t.UnixMilli())
}

// due is when a period is to be closed whose last one was closed at a time, 0 before the first, and which was used first
// at a time.
func due(a *contracts.Agreement, closed, used contracts.Millis) contracts.Millis {
	r := &records{agreement: a, usage: &contracts.Usage{Since: used}}
	if closed != 0 {
		r.last = &contracts.ClosedPeriod{Closed: closed, Report: &contracts.Report{}}
	}
	return closeAt(a, r.last, began(r))
}

// A clerk names the month of the use, not that of its own look.
func TestMonthOfAPeriod(t *testing.T) {
	for _, x := range []struct{ why, from, to, used, closed, now, want string }{
		{"closed with the month", "2026-03-10 09:00", "", "2026-03-11 09:00", "", "2026-04-01 00:00", "2026-03"},
		{"the clerk was away for two weeks", "2026-03-10 09:00", "", "2026-03-11 09:00", "", "2026-04-14 00:00", "2026-03"},
		{"the clerk was away for two months: no further back than the month before", "2026-03-10 09:00", "", "2026-03-11 09:00", "", "2026-06-02 00:00", "2026-05"},
		{"a report that came behind midnight", "2026-03-10 09:00", "", "2026-04-01 00:04", "", "2026-04-01 00:05", "2026-03"},
		{"used in April for the first time", "2026-03-10 09:00", "", "2026-04-10 09:00", "", "2026-05-01 00:00", "2026-04"},
		{"the next month", "2026-03-10 09:00", "", "2026-03-11 09:00", "2026-04-01 00:00", "2026-05-01 00:00", "2026-04"},
		{"the end in the month before", "2026-03-10 09:00", "2026-04-20 00:00", "2026-03-11 09:00", "2026-04-01 00:00", "2026-05-03 00:00", "2026-04"},
	} {
		a := &contracts.Agreement{State: contracts.AgreementActive, From: at(x.from), To: at("2027-03-10 09:00"), Periods: 1}
		if x.to != "" {
			a.State, a.To = contracts.AgreementTerminated, at(x.to)
		}
		r := &records{id: "a", agreement: a, usage: &contracts.Usage{Since: at(x.used)}}
		if x.closed != "" {
			r.last = &contracts.ClosedPeriod{Closed: at(x.closed), Report: &contracts.Report{}}
		}
		c, _, err := closePeriod(t.Context(), &work{now: at(x.now)}, r, nil)
		b, ok := c.body.(contracts.PeriodClose)
		if err != nil || !ok || string(b.Month) != x.want {
			t.Errorf("%s: %+v, %v, want %s", x.why, c, err, x.want)
		}
		if first, last := contracts.Months(began(r), at(x.now), a.To); b.Month < first || b.Month > last {
			t.Errorf("%s: the ledger would refuse %s", x.why, b.Month)
		}
	}
}

func TestCloseAt(t *testing.T) {
	for _, x := range []struct {
		why                string
		from, closed, want string
	}{
		{"the first month", "2026-03-10 09:00", "", "2026-04-01 00:00"},
		{"begun with a month", "2026-03-01 00:00", "", "2026-04-01 00:00"},
		{"a party closed in the middle of the month", "2026-03-10 09:00", "2026-03-15 09:00", "2026-04-01 00:00"},
		{"closed at the month's end", "2026-03-10 09:00", "2026-04-01 00:00", "2026-05-01 00:00"},
		{"the clerk was away at the month's end", "2026-03-10 09:00", "2026-04-20 09:00", "2026-05-01 00:00"},
		{"a year's end", "2026-11-01 00:00", "2026-12-01 00:01", "2027-01-01 00:00"},
	} {
		a := &contracts.Agreement{State: contracts.AgreementActive, From: at(x.from), To: at("2027-03-10 09:00")}
		if got := due(a, at(x.closed), at(x.from)); got != at(x.want) {
			t.Errorf("%s: %s", x.why, got.Time())
		}
	}
	ended := &contracts.Agreement{State: contracts.AgreementTerminated, Periods: 1, From: at("2026-03-10 09:00"), To: at("2026-03-20 09:00")}
	if got := due(ended, at("2026-03-15 09:00"), 0); got != ended.To {
		t.Errorf("the last period of an ended agreement is closed at %s", got.Time())
	}
	if got := due(ended, ended.To, 0); got != 0 {
		t.Errorf("an ended agreement is closed twice, at %s", got.Time())
	}
}

// However the clerk's looks fall, no period of a running agreement spans a month's end that the clerk has seen, none is
// closed before its month is over, and after a close nothing is due at once.
func TestClosedOnceAMonth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		began := at("2026-01-05 00:00") + contracts.Millis(rapid.Int64Range(0, 20*86400_000).Draw(t, "began"))
		a := &contracts.Agreement{State: contracts.AgreementActive, From: began, To: at("2030-01-01 00:00")}
		var closed contracts.Millis
		for now := began; now < at("2026-12-01 00:00"); now += contracts.Millis(rapid.Int64Range(1, 25*86400_000).Draw(t, "pause")) {
			over := now >= due(a, closed, began)
			if over != (contracts.PeriodOf(max(began, closed)) < contracts.PeriodOf(now)) {
				t.Fatalf("due: %v at %s, the last one was closed at %s", over, now.Time(), closed.Time())
			}
			if over {
				closed = now
			}
			if now >= due(a, closed, began) {
				t.Fatal("due again at once")
			}
		}
	})
}
