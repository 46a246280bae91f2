package contracts

import (
	"errors"
	"time"
)

// Period is a civil month in Shanghai, "2026-11": what is metered in it is settled together.
type Period string

const periodLayout = "2006-01"

// PeriodOf gives the month in Shanghai that holds t.
func PeriodOf(t Millis) Period { return Period(t.Time().In(Shanghai).Format(periodLayout)) }

func (p Period) time() (time.Time, error) {
	return time.ParseInLocation(periodLayout, string(p), Shanghai)
}

// Check reports what is no month of 2000 to 2199.
func (p Period) Check() error {
	t, err := p.time()
	if err != nil || Period(t.Format(periodLayout)) != p || t.Year() < 2000 || t.Year() > 2199 {
		return errors.New("want a month as yyyy-mm, from 2000 to 2199")
	}
	return nil
}

// Start is 00:00 in Shanghai of the first day of a valid month.
func (p Period) Start() Millis {
	t, _ := p.time()
	return Millis(t.UnixMilli())
}

// End is the start of the next month: the first moment that no longer belongs to a valid month.
func (p Period) End() Millis {
	t, _ := p.time()
	return Millis(t.AddDate(0, 1, 0).UnixMilli())
}

// Next is the month after a valid month.
func (p Period) Next() Period { return PeriodOf(p.End()) }
