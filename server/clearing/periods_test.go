package clearing

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bund-exchange/bund/contracts"
)

func at(s string) contracts.Millis {
	t, err := time.ParseInLocation("2006-01-02 15:04", s, contracts.Shanghai)
	if err != nil {
		panic(err)
	}
	return contracts.Millis(t.UnixMilli())
}

func TestCloseDue(t *testing.T) {
	for _, x := range []struct {
		why                string
		began, closed, now string
		want               bool
	}{
		{"mid-month, nothing was missed", "2026-03-10 09:00", "", "2026-03-20 09:00", false},
		{"the last minutes of its first month", "2026-03-10 09:00", "", "2026-03-31 23:55", true},
		{"before the last minutes", "2026-03-10 09:00", "", "2026-03-31 23:49", false},
		{"closed in these minutes", "2026-03-10 09:00", "2026-03-31 23:52", "2026-03-31 23:58", false},
		{"closed in them, and the month is over", "2026-03-10 09:00", "2026-03-31 23:52", "2026-04-01 00:10", false},
		{"the clerk was away at the month's end", "2026-03-10 09:00", "", "2026-04-20 09:00", true},
		{"a party closed in the middle of the month", "2026-03-10 09:00", "2026-03-15 09:00", "2026-03-31 23:55", true},
		{"made after the last closing", "2026-04-01 00:05", "", "2026-04-20 09:00", false},
		{"made in the last minutes", "2026-03-31 23:55", "", "2026-03-31 23:58", false},
		{"a year's end", "2026-11-01 00:00", "2026-11-30 23:50", "2026-12-31 23:50", true},
	} {
		var closed contracts.Millis
		if x.closed != "" {
			closed = at(x.closed)
		}
		a := &contracts.Agreement{State: contracts.AgreementActive, To: at("2027-03-10 09:00")}
		if got := closeDue(a, at(x.began), closed, at(x.now)); got != x.want {
			t.Errorf("%s: %v", x.why, got)
		}
	}
	ended := &contracts.Agreement{State: contracts.AgreementTerminated, Periods: 1, To: at("2026-03-20 09:00")}
	if !closeDue(ended, 0, at("2026-03-15 09:00"), at("2026-03-20 09:01")) {
		t.Error("the last period of an ended agreement isn't closed")
	}
	if closeDue(ended, 0, at("2026-03-20 09:00"), at("2026-03-31 23:55")) {
		t.Error("an ended agreement is closed twice")
	}
}

// However the clerk's looks fall, a running agreement is closed once for every month's end that has passed, and after a
// close nothing is due until the next one.
func TestClosedOnceAMonth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		began := at("2026-01-05 00:00") + contracts.Millis(rapid.Int64Range(0, 20*86400_000).Draw(t, "began"))
		a := &contracts.Agreement{State: contracts.AgreementActive, To: at("2030-01-01 00:00")}
		var closed contracts.Millis
		closes := map[contracts.Millis]int{}
		for now := began; now < at("2026-12-01 00:00"); now += contracts.Millis(rapid.Int64Range(1, 25*86400_000).Draw(t, "pause")) {
			if closeDue(a, began, closed, now) {
				closed = now
				closes[closeFrom(now)]++
			}
			if closeDue(a, began, closed, now) {
				t.Fatal("due again at once")
			}
			if from := closeFrom(now); from > began && closes[from] != 1 {
				t.Fatalf("closed %d times since the closing at %s", closes[from], from.Time())
			}
		}
	})
}
