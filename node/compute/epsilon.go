package compute

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Shares of a budget are whole numbers, so that what is debited is exactly what is left out: epsilon in millionths,
// delta in millionths of a millionth.
type (
	epsilonMicro int64
	deltaPico    int64
)

// maxEpsilon bounds what one query may cost. Above it noise protects nobody.
const maxEpsilon epsilonMicro = 8_000_000

// minEpsilon keeps a query's parts from rounding to nothing.
const minEpsilon epsilonMicro = 1_000

func (e epsilonMicro) float() float64 { return float64(e) / 1e6 }
func (d deltaPico) float() float64    { return float64(d) / 1e12 }

func (e epsilonMicro) String() string { return fixed(int64(e), 6) }
func (d deltaPico) String() string    { return fixed(int64(d), 12) }

// parseEpsilon reads a query's cost.
func parseEpsilon(s string) (epsilonMicro, error) {
	n, err := parseFixed(s, 6)
	if err != nil {
		return 0, err
	}
	if e := epsilonMicro(n); e >= minEpsilon && e <= maxEpsilon {
		return e, nil
	}
	return 0, fmt.Errorf("want %s to %s", minEpsilon, maxEpsilon)
}

var errFixed = errors.New("want a decimal without sign, exponent or needless zeros")

// parseFixed reads a decimal with up to places after the point as a whole number of the last place.
func parseFixed(s string, places int) (int64, error) {
	whole, fraction, point := strings.Cut(s, ".")
	if len(whole) == 0 || len(whole) > 6 || len(whole) > 1 && whole[0] == '0' || point && (fraction == "" || fraction[len(fraction)-1] == '0') ||
		len(fraction) > places || strings.Trim(whole+fraction, "0123456789") != "" {
		return 0, errFixed
	}
	return strconv.ParseInt(whole+fraction+strings.Repeat("0", places-len(fraction)), 10, 64)
}

func fixed(n int64, places int) string {
	sign := ""
	if n < 0 {
		sign, n = "-", -n
	}
	s := fmt.Sprintf("%0*d", places+1, n)
	s = s[:len(s)-places] + "." + s[len(s)-places:]
	return sign + strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}
