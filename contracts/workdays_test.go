package contracts

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts/canon"
	"pgregory.net/rapid"
)

// at gives a moment in Shanghai: "2026-02-13 17:30".
func at(t testing.TB, s string) Millis {
	t.Helper()
	v, err := time.ParseInLocation("2006-01-02 15:04", s, Shanghai)
	if err != nil {
		t.Fatal(err)
	}
	return Millis(v.UnixMilli())
}

func calendars() []Calendar { return []Calendar{Calendar2026(), Calendar2025()} }

func TestAddWorkingDays(t *testing.T) {
	for _, c := range []struct {
		name, from string
		n          int
		want       string // the end: 00:00 of this day
	}{
		{"an ordinary Monday", "2026-03-02 10:00", 1, "2026-03-04"},
		{"the hour doesn't matter: first", "2026-03-02 00:00", 1, "2026-03-04"},
		{"the hour doesn't matter: last", "2026-03-02 23:59", 1, "2026-03-04"},
		{"over a weekend", "2026-03-06 12:00", 1, "2026-03-10"},
		{"from a Saturday", "2026-03-07 12:00", 1, "2026-03-10"},
		{"a week", "2026-03-02 12:00", 5, "2026-03-10"},
		{"spring festival: Friday, then the worked Saturday", "2026-02-13 12:00", 1, "2026-02-15"},
		{"spring festival: over all of it", "2026-02-13 12:00", 2, "2026-02-25"},
		{"spring festival: from New Year's Eve", "2026-02-16 12:00", 1, "2026-02-25"},
		{"spring festival: five days to the worked Saturday", "2026-02-16 12:00", 5, "2026-03-01"},
		{"spring festival: and the Sunday after it is off", "2026-02-16 12:00", 6, "2026-03-03"},
		{"national day, with the Sunday before", "2026-09-18 12:00", 1, "2026-09-21"},
		{"national day", "2026-09-30 12:00", 3, "2026-10-11"},
		{"year end", "2025-12-31 12:00", 1, "2026-01-05"}, // 1–3 January off, Sunday the 4th worked
		{"year end, twenty days", "2025-12-22 12:00", 20, "2026-01-21"},
		{"2025: Saturday after spring festival worked", "2025-02-07 12:00", 1, "2025-02-09"},
		{"2025: national day and mid-autumn", "2025-09-30 12:00", 1, "2025-10-10"},
		{"2025: new year is one day", "2025-01-01 12:00", 1, "2025-01-03"},
	} {
		end, err := AddWorkingDays(at(t, c.from), c.n, calendars())
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if want := at(t, c.want+" 00:00"); end != want {
			t.Errorf("%s: ends %s, want %s", c.name, end.Time().In(Shanghai), c.want)
		}
	}
}

// 16:30 UTC is half past midnight of the next day in Shanghai.
func TestWorkingDaysAreShanghais(t *testing.T) {
	utc := Millis(time.Date(2026, 3, 2, 16, 30, 0, 0, time.UTC).UnixMilli())
	if d := DayOf(utc); d != "2026-03-03" {
		t.Errorf("day %s", d)
	}
	end, err := AddWorkingDays(utc, 1, calendars())
	if err != nil || end != at(t, "2026-03-05 00:00") {
		t.Errorf("%s, %v", end.Time(), err)
	}
}

func TestAddWorkingDaysNeverGuesses(t *testing.T) {
	for name, c := range map[string]struct {
		from string
		n    int
		cals []Calendar
	}{
		"no calendar":                    {"2026-03-02 12:00", 1, nil},
		"last day of the last year":      {"2026-12-31 12:00", 1, calendars()},
		"runs out of the last year":      {"2026-12-28 12:00", 10, calendars()},
		"the second year is missing":     {"2025-12-31 12:00", 1, []Calendar{Calendar2025()}},
		"a year before":                  {"2024-12-30 12:00", 1, calendars()},
		"no day at all":                  {"2026-03-02 12:00", 0, calendars()},
		"backwards":                      {"2026-03-02 12:00", -1, calendars()},
		"beyond any term":                {"2026-03-02 12:00", maxWorkingDays + 1, calendars()},
		"a hole between known calendars": {"2025-12-30 12:00", 300, []Calendar{Calendar2025(), {Year: 2027}}},
	} {
		if end, err := AddWorkingDays(at(t, c.from), c.n, c.cals); err == nil {
			t.Errorf("%s: %s", name, end.Time())
		}
	}
	if _, err := AddWorkingDays(at(t, "2026-12-28 12:00"), 3, calendars()); err != nil {
		t.Errorf("the last three days of 2026 need no other year: %v", err)
	}
}

func TestWorkingDaysAddUp(t *testing.T) {
	from := at(t, "2025-01-01 00:00")
	rapid.Check(t, func(t *rapid.T) {
		start := from.Add(rapid.Int64Range(0, 500*86400).Draw(t, "second"))
		a, b := rapid.IntRange(1, 40).Draw(t, "a"), rapid.IntRange(1, 40).Draw(t, "b")
		first, err := AddWorkingDays(start, a, calendars())
		if err != nil {
			t.Fatal(err)
		}
		// The end is 00:00 of the day after, so the moment before it lies on the a-th working day.
		second, err := AddWorkingDays(first-1, b, calendars())
		if err != nil {
			t.Fatal(err)
		}
		both, err := AddWorkingDays(start, a+b, calendars())
		if err != nil || both != second {
			t.Fatalf("%d then %d days end %s, together %s, %v", a, b, second.Time(), both.Time(), err)
		}
	})
}

// The number of days off and worked is the notices' own count.
func TestNotices(t *testing.T) {
	for _, c := range []struct {
		cal         Calendar
		off, worked int
		weekdaysIn  int // working days of the year
		notice      string
	}{
		{Calendar2025(), 28, 5, 248, "国办发明电〔2024〕12号"},
		{Calendar2026(), 33, 6, 248, "国办发明电〔2025〕7号"},
	} {
		if err := c.cal.Check(); err != nil {
			t.Errorf("%s: %v", c.notice, err)
		}
		if len(c.cal.Holidays) != c.off || len(c.cal.Workdays) != c.worked {
			t.Errorf("%s: %d days off, %d worked", c.notice, len(c.cal.Holidays), len(c.cal.Workdays))
		}
		n := 0
		for d := time.Date(c.cal.Year, 1, 1, 0, 0, 0, 0, Shanghai); d.Year() == c.cal.Year; d = d.AddDate(0, 0, 1) {
			if c.cal.Working(DayOf(Millis(d.UnixMilli()))) {
				n++
			}
		}
		if n != c.weekdaysIn {
			t.Errorf("%s: %d working days, want %d", c.notice, n, c.weekdaysIn)
		}
		var back Calendar
		if err := canon.Unmarshal(canon.Marshal(c.cal), &back); err != nil || back.Year != c.cal.Year || !slices.Equal(back.Holidays, c.cal.Holidays) {
			t.Errorf("%s: %v", c.notice, err)
		}
	}
}

func TestCalendarRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		calendar Calendar
		word     string
	}{
		"year":              {Calendar{Year: 26}, "year"},
		"other year":        {Calendar{Year: 2026, Holidays: []Day{"2025-12-31"}}, "another year"},
		"other workday":     {Calendar{Year: 2026, Workdays: []Day{"2027-01-02"}}, "another year"},
		"no such day":       {Calendar{Year: 2026, Holidays: []Day{"2026-02-29"}}, "yyyy-mm-dd"},
		"short day":         {Calendar{Year: 2026, Holidays: []Day{"2026-2-9"}}, "yyyy-mm-dd"},
		"twice":             {Calendar{Year: 2026, Holidays: []Day{"2026-01-01", "2026-01-01"}}, "ascending"},
		"order":             {Calendar{Year: 2026, Holidays: []Day{"2026-01-02", "2026-01-01"}}, "ascending"},
		"workday on Friday": {Calendar{Year: 2026, Workdays: []Day{"2026-01-02"}}, "Monday to Friday"},
		"both":              {Calendar{Year: 2026, Holidays: []Day{"2026-01-04"}, Workdays: []Day{"2026-01-04"}}, "both"},
	} {
		if err := c.calendar.Check(); err == nil || !strings.Contains(err.Error(), c.word) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPeriod(t *testing.T) {
	for _, c := range []struct {
		p          Period
		start, end string
		next       Period
	}{
		{"2026-11", "2026-11-01", "2026-12-01", "2026-12"},
		{"2026-12", "2026-12-01", "2027-01-01", "2027-01"},
		{"2028-02", "2028-02-01", "2028-03-01", "2028-03"},
	} {
		if err := c.p.Check(); err != nil {
			t.Error(err)
		}
		if c.p.Start() != at(t, c.start+" 00:00") || c.p.End() != at(t, c.end+" 00:00") || c.p.Next() != c.next {
			t.Errorf("%s: %s to %s, then %s", c.p, c.p.Start().Time(), c.p.End().Time(), c.p.Next())
		}
		if PeriodOf(c.p.Start()) != c.p || PeriodOf(c.p.End()-1) != c.p || PeriodOf(c.p.Start()-1) == c.p {
			t.Errorf("%s doesn't hold its own ends", c.p)
		}
	}
	if p := PeriodOf(Millis(time.Date(2026, 10, 31, 16, 0, 0, 0, time.UTC).UnixMilli())); p != "2026-11" {
		t.Errorf("midnight in Shanghai belongs to %s", p)
	}
	for _, p := range []Period{"", "2026-1", "2026-13", "2026-00", "1999-12", "2200-01", "2026-11-01", " 2026-11", "2026/11", "２026-11"} {
		if p.Check() == nil {
			t.Errorf("accepted %q", p)
		}
	}
}

func FuzzDay(f *testing.F) {
	for _, s := range []string{"2026-02-28", "2026-02-29", "2028-02-29", "", "2026-2-9", "+026-02-09", "2026-02-28T00:00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d := Day(s); d.Check() == nil {
			if len(s) != 10 || DayOf(d.Start()) != d || DayOf(d.End()-1) != d || d.End()-d.Start() != 86_400_000 {
				t.Fatalf("accepted %q", s)
			}
		}
		if p := Period(s); p.Check() == nil {
			if len(s) != 7 || PeriodOf(p.Start()) != p || PeriodOf(p.End()) != p.Next() {
				t.Fatalf("accepted %q", s)
			}
		}
	})
}
