package vault

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bund-exchange/bund/contracts"
)

// canonical gives the one text of a value that is not empty, or what is wrong with it.
//
//	text, code  as it is: UTF-8 without control characters other than tab and line feed
//	integer     -?(0|[1-9][0-9]*), within 64 bits, never -0
//	decimal     the same with up to Scale decimal places; zeros at the end of the fraction are dropped, 38 digits at most
//	boolean     true or false
//	date        2006-01-02
//	time        2006-01-02T15:04:05.000Z; other offsets are converted, finer parts than milliseconds refused
func canonical(f *Field, raw string) (text string, code FaultCode, detail string) {
	if len(raw) > MaxValueBytes {
		return "", ValueTooLong, "more than " + strconv.Itoa(MaxValueBytes) + " bytes"
	}
	if problem, code := checkText(raw); problem != "" {
		return "", code, problem
	}
	var ok bool
	switch f.Type {
	case Text, Coded:
		return raw, "", ""
	case Integer:
		text, ok = raw, canonicalInteger(raw)
	case Decimal:
		if text, ok = canonicalDecimal(raw); ok && fractionDigits(text) > f.Scale {
			return "", ValueScale, "more than " + strconv.FormatInt(f.Scale, 10) + " decimal places"
		}
	case Boolean:
		text, ok = raw, raw == "true" || raw == "false"
	case Date:
		_, err := time.Parse(time.DateOnly, raw)
		text, ok = raw, err == nil
	case Instant:
		text, ok = canonicalInstant(raw)
	}
	if !ok {
		return "", ValueType, "not written as " + string(f.Type) + " is"
	}
	return text, "", ""
}

// checkText reports text that no value may have.
func checkText(s string) (problem string, code FaultCode) {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= utf8.RuneSelf {
			if !utf8.ValidString(s[i:]) {
				return "not UTF-8; text in GB 18030 must be converted first", ValueEncoding
			}
			// U+0080 to U+009F are control characters too, and U+FEFF in the middle is a file mark gone astray.
			if strings.ContainsFunc(s[i:], func(r rune) bool {
				return r < 0x20 && r != '\t' && r != '\n' || r >= 0x7f && r < 0xa0 || r == 0xfeff
			}) {
				return "a control character", ValueControl
			}
			return "", ""
		}
		if c < 0x20 && c != '\t' && c != '\n' || c == 0x7f {
			return "a control character", ValueControl
		}
	}
	return "", ""
}

func canonicalInteger(s string) bool {
	n, err := strconv.ParseInt(s, 10, 64)
	return err == nil && strconv.FormatInt(n, 10) == s
}

func canonicalDecimal(s string) (string, bool) {
	body, negative := strings.CutPrefix(s, "-")
	whole, fraction, point := strings.Cut(body, ".")
	if whole == "" || point && fraction == "" || len(whole) > 1 && whole[0] == '0' || strings.Trim(whole+fraction, "0123456789") != "" {
		return "", false
	}
	fraction = strings.TrimRight(fraction, "0")
	if len(whole)+len(fraction) > 38 {
		return "", false
	}
	body = whole
	if fraction != "" {
		body += "." + fraction
	}
	if negative && body != "0" {
		body = "-" + body
	}
	return body, true
}

func fractionDigits(s string) int64 {
	_, fraction, _ := strings.Cut(s, ".")
	return int64(len(fraction))
}

const instantForm = "2006-01-02T15:04:05.000Z"

func canonicalInstant(s string) (string, bool) {
	// time.Parse takes one-digit hours and a comma before the fraction, which RFC 3339 doesn't allow.
	if len(s) < len("2006-01-02T15:04:05Z") || s[13] != ':' || strings.Contains(s, ",") {
		return "", false
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Nanosecond()%int(time.Millisecond) != 0 {
		return "", false
	}
	if t = t.UTC(); t.Year() < 1 || t.Year() > 9999 {
		return "", false
	}
	return t.Format(instantForm), true
}

// millisOf reads the canonical text of a date or time field.
func millisOf(t Type, text string) contracts.Millis {
	if t == Date {
		day, _ := time.ParseInLocation(time.DateOnly, text, contracts.Shanghai)
		return contracts.Millis(day.UnixMilli())
	}
	at, _ := time.Parse(instantForm, text)
	return contracts.Millis(at.UnixMilli())
}

// conforms reports whether a canonical text is in the field's code list and of its format.
func conforms(f *Field, text string, codes map[string]bool) (code FaultCode, detail string) {
	if f.Type == Coded && !codes[text] {
		return ValueCode, "not in the code list"
	}
	if f.Format == CreditCodeFormat && contracts.CreditCode(text).Check() != nil {
		return ValueFormat, "not a credit code by GB 32100"
	}
	return "", ""
}
