package contracts

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Day is a civil day in Shanghai, "2026-02-14".
type Day string

const dayLayout = "2006-01-02"

// DayOf gives the civil day in Shanghai that holds t.
func DayOf(t Millis) Day { return Day(t.Time().In(Shanghai).Format(dayLayout)) }

func (d Day) time() (time.Time, error) { return time.ParseInLocation(dayLayout, string(d), Shanghai) }

// Check reports what is no day of 2000 to 2199.
func (d Day) Check() error {
	t, err := d.time()
	if err != nil || Day(t.Format(dayLayout)) != d || t.Year() < 2000 || t.Year() > 2199 {
		return errors.New("want a day as yyyy-mm-dd, from 2000 to 2199")
	}
	return nil
}

// Start is 00:00 in Shanghai of a valid day.
func (d Day) Start() Millis {
	t, _ := d.time()
	return Millis(t.UnixMilli())
}

// End is 00:00 in Shanghai of the day after a valid day.
func (d Day) End() Millis { return d.Start().Add(24 * 3600) }

// Calendar is what the State Council's notice makes of one year's days: dated rule data, published on the ledger. A day
// that it doesn't name is a working day from Monday to Friday.
type Calendar struct {
	Year     int   `json:"year"`
	Holidays []Day `json:"holidays"` // days off, weekends among them or not, ascending
	Workdays []Day `json:"workdays"` // 调休: Saturdays and Sundays that are worked, ascending
}

// Check reports a calendar that contradicts itself or names days of another year.
func (c Calendar) Check() error {
	if c.Year < 2000 || c.Year > 2199 {
		return errors.New("want a year from 2000 to 2199")
	}
	for _, days := range [][]Day{c.Holidays, c.Workdays} {
		for i, d := range days {
			if err := d.Check(); err != nil {
				return err
			}
			if t, _ := d.time(); t.Year() != c.Year {
				return errors.New("a day lies in another year")
			}
			if i > 0 && d <= days[i-1] {
				return errors.New("days are not ascending")
			}
		}
	}
	for _, d := range c.Workdays {
		if t, _ := d.time(); !weekend(t) {
			return errors.New("workdays names a day from Monday to Friday")
		}
		if slices.Contains(c.Holidays, d) {
			return errors.New("a day is both a holiday and a workday")
		}
	}
	return nil
}

// Working reports whether a valid day of the calendar's year is a working day.
func (c Calendar) Working(d Day) bool {
	t, _ := d.time()
	return slices.Contains(c.Workdays, d) || !weekend(t) && !slices.Contains(c.Holidays, d)
}

func weekend(t time.Time) bool {
	return t.Weekday() == time.Saturday || t.Weekday() == time.Sunday
}

// maxWorkingDays bounds what AddWorkingDays counts.
const maxWorkingDays = 1000

// AddWorkingDays gives the end, 00:00 of the day after in Shanghai, of the n-th working day after t's day. The day of t
// itself never counts, whatever the hour (Civil Code 201). It never guesses: a year that it must count in and that has no
// calendar is an error.
func AddWorkingDays(t Millis, n int, calendars []Calendar) (Millis, error) {
	if n < 1 || n > maxWorkingDays {
		return 0, fmt.Errorf("want 1 to %d working days", maxWorkingDays)
	}
	day := t.Time().In(Shanghai)
	for {
		day = time.Date(day.Year(), day.Month(), day.Day()+1, 0, 0, 0, 0, Shanghai)
		i := slices.IndexFunc(calendars, func(c Calendar) bool { return c.Year == day.Year() })
		if i < 0 {
			return 0, fmt.Errorf("there is no working-day calendar for %d", day.Year())
		}
		d := Day(day.Format(dayLayout))
		if calendars[i].Working(d) {
			if n--; n == 0 {
				return d.End(), nil
			}
		}
	}
}

// Calendar2025 follows the General Office of the State Council, 国办发明电〔2024〕12号 of 2024-11-12.
func Calendar2025() Calendar {
	return Calendar{
		Year: 2025,
		Holidays: slices.Concat(
			days("2025-01-01", 1), // 元旦
			days("2025-01-28", 8), // 春节
			days("2025-04-04", 3), // 清明节
			days("2025-05-01", 5), // 劳动节
			days("2025-05-31", 3), // 端午节
			days("2025-10-01", 8), // 国庆节、中秋节
		),
		Workdays: []Day{"2025-01-26", "2025-02-08", "2025-04-27", "2025-09-28", "2025-10-11"},
	}
}

// Calendar2026 follows the General Office of the State Council, 国办发明电〔2025〕7号 of 2025-11-04.
func Calendar2026() Calendar {
	return Calendar{
		Year: 2026,
		Holidays: slices.Concat(
			days("2026-01-01", 3), // 元旦
			days("2026-02-15", 9), // 春节
			days("2026-04-04", 3), // 清明节
			days("2026-05-01", 5), // 劳动节
			days("2026-06-19", 3), // 端午节
			days("2026-09-25", 3), // 中秋节
			days("2026-10-01", 7), // 国庆节
		),
		Workdays: []Day{"2026-01-04", "2026-02-14", "2026-02-28", "2026-05-09", "2026-09-20", "2026-10-10"},
	}
}

func days(first Day, n int) []Day {
	t, _ := first.time()
	ds := make([]Day, n)
	for i := range ds {
		ds[i] = Day(t.AddDate(0, 0, i).Format(dayLayout))
	}
	return ds
}
