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
		if got := closeAt(a, at(x.closed)); got != at(x.want) {
			t.Errorf("%s: %s", x.why, got.Time())
		}
	}
	ended := &contracts.Agreement{State: contracts.AgreementTerminated, Periods: 1, From: at("2026-03-10 09:00"), To: at("2026-03-20 09:00")}
	if got := closeAt(ended, at("2026-03-15 09:00")); got != ended.To {
		t.Errorf("the last period of an ended agreement is closed at %s", got.Time())
	}
	if got := closeAt(ended, ended.To); got != 0 {
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
			due := now >= closeAt(a, closed)
			if due != (contracts.PeriodOf(max(began, closed)) < contracts.PeriodOf(now)) {
				t.Fatalf("due: %v at %s, the last one was closed at %s", due, now.Time(), closed.Time())
			}
			if due {
				closed = now
			}
			if now >= closeAt(a, closed) {
				t.Fatal("due again at once")
			}
		}
	})
}
