package polish

import (
	"errors"
	"strconv"
	"strings"
)

// Micro is a ratio in millionths. The data set has no value with more than six decimal places, so it is exact.
type Micro int64

const microDigits = 6

// ParseMicro reads a plain decimal: no exponent, no plus sign, no zeros before the whole part, at most six decimal
// places that aren't zero, and at most eleven digits before the point.
func ParseMicro(s string) (Micro, error) {
	body, negative := strings.CutPrefix(s, "-")
	whole, fraction, point := strings.Cut(body, ".")
	if whole == "" || len(whole) > 11 || len(whole) > 1 && whole[0] == '0' || point && fraction == "" || strings.Trim(whole+fraction, "0123456789") != "" {
		return 0, errors.New("not a plain decimal")
	}
	if fraction = strings.TrimRight(fraction, "0"); len(fraction) > microDigits {
		return 0, errors.New("more than six decimal places")
	}
	n, err := strconv.ParseInt(whole+fraction+strings.Repeat("0", microDigits-len(fraction)), 10, 64)
	if err != nil {
		return 0, errors.New("not a plain decimal")
	}
	if negative {
		n = -n
	}
	return Micro(n), nil
}

// String writes the shortest decimal.
func (m Micro) String() string {
	sign, n := "", uint64(m)
	if m < 0 {
		sign, n = "-", -n
	}
	s := strconv.FormatUint(n/1e6, 10)
	if rest := n % 1e6; rest != 0 {
		digits := strconv.FormatUint(1e6+rest, 10)[1:]
		s += "." + strings.TrimRight(digits, "0")
	}
	return sign + s
}
