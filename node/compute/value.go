package compute

import (
	"errors"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/bund-exchange/bund/contracts/dictionary"
)

// Every value of a working table is a whole number. Texts and codes are their place in the column's list, booleans 0
// and 1, dates days since 1970, times milliseconds since then, decimals the number without its point at the field's
// scale. What doesn't fit is brought to the nearest that does: bounds and filters reach only to maxNumber, so beyond
// it one number is as good as another.
const (
	maxNumber   = int64(1) << 62
	emptyWide   = int64(math.MinInt64) // in a column of 64 bits
	emptyNarrow = int64(math.MinInt32) // in a column of 32 bits
	notListed   = int64(-1)            // a text that the column doesn't have
)

var (
	errNumber = errors.New("want a value as the field writes it")
	errWide   = errors.New("want a value below 2^62 at the field's scale")
)

// number reads the canonical text of a value that is neither text nor code.
func number(f *dictionary.Field, text string) (int64, error) {
	switch f.Type {
	case dictionary.Integer:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || strconv.FormatInt(n, 10) != text {
			return 0, errNumber
		}
		return max(n, -math.MaxInt64), nil
	case dictionary.Decimal:
		return decimal(text, int(f.Scale))
	case dictionary.Boolean:
		switch text {
		case "false":
			return 0, nil
		case "true":
			return 1, nil
		}
	case dictionary.Date:
		t, err := time.Parse(time.DateOnly, text)
		if err == nil {
			return t.Unix() / 86400, nil
		}
	case dictionary.Instant:
		t, err := time.Parse(instantForm, text)
		if err == nil && t.Format(instantForm) == text {
			return t.UnixMilli(), nil
		}
	}
	return 0, errNumber
}

const instantForm = "2006-01-02T15:04:05.000Z"

// decimal reads a decimal as a whole number of its last place.
func decimal(text string, scale int) (int64, error) {
	body, negative := strings.CutPrefix(text, "-")
	whole, fraction, point := strings.Cut(body, ".")
	if whole == "" || len(whole) > 1 && whole[0] == '0' || point && (fraction == "" || fraction[len(fraction)-1] == '0') || len(fraction) > scale ||
		strings.Trim(whole+fraction, "0123456789") != "" || negative && body == "0" {
		return 0, errNumber
	}
	n, ok := new(big.Int).SetString(whole+fraction+strings.Repeat("0", scale-len(fraction)), 10)
	if !ok {
		return 0, errNumber
	}
	if negative {
		n.Neg(n)
	}
	switch {
	case n.IsInt64():
		return max(n.Int64(), -math.MaxInt64), nil
	case negative:
		return -math.MaxInt64, nil
	}
	return math.MaxInt64, nil
}

// bound reads a value of a query, which is held to smaller limits than a dataset's.
func bound(f *dictionary.Field, text string) (int64, error) {
	n, err := number(f, text)
	if err == nil && (n >= maxNumber || n <= -maxNumber) {
		return 0, errWide
	}
	return n, err
}

// text writes a value of a group's key as the field writes it.
func text(f *dictionary.Field, c *column, n int64) string {
	switch f.Type {
	case dictionary.Text, dictionary.Coded:
		return c.List[n]
	case dictionary.Decimal:
		return fixed(n, int(f.Scale))
	case dictionary.Boolean:
		return strconv.FormatBool(n == 1)
	case dictionary.Date:
		return time.Unix(n*86400, 0).UTC().Format(time.DateOnly)
	case dictionary.Instant:
		return time.UnixMilli(n).UTC().Format(instantForm)
	}
	return strconv.FormatInt(n, 10)
}
