package contracts

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// stateFunc is a State of one function.
type stateFunc func(key string) ([]byte, error)

func (f stateFunc) Get(key string) ([]byte, error) { return f(key) }

// ISO 7064 gives 0794 with the check digit 5 as its example of MOD 11,10.
func TestMod1110(t *testing.T) {
	if got := mod1110("0794"); got != '5' {
		t.Fatalf("0794 has the check digit %c", got)
	}
	// The property that defines it: running the scheme over digits and check digit ends at 1.
	rapid.Check(t, func(t *rapid.T) {
		digits := rapid.StringMatching(`[0-9]{1,24}`).Draw(t, "digits")
		p := 10
		for _, c := range digits {
			s := (p + int(c-'0')) % 10
			if s == 0 {
				s = 10
			}
			p = s * 2 % 11
		}
		if c := mod1110(digits); (p+int(c-'0'))%10 != 1 {
			t.Fatalf("%s%c", digits, c)
		}
	})
}

func aSerial(t *rapid.T) string {
	id := NewCommandID(Millis(rapid.Int64Range(int64(minMillis), int64(maxMillis)-1).Draw(t, "time")), [10]byte(rapid.SliceOfN(rapid.Byte(), 10, 10).Draw(t, "random")))
	x := &tx{st: stateFunc(func(string) ([]byte, error) { return nil, nil }), env: Env{Now: idMillis(id)}, cmd: &Command{Envelope: Envelope{ID: id}}, spec: &spec{}, writes: map[string][]byte{}}
	region := rapid.SampledFrom([]string{"", "310115", "390000"}).Draw(t, "region")
	s, r := x.serial("BUND", region)
	if r != nil || x.err != nil {
		t.Fatal(r, x.err)
	}
	return s
}

// One wrong digit is always noticed.
func TestSerialCheckDigit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := aSerial(t)
		if !ValidSerial(s) {
			t.Fatalf("%s is not valid", s)
		}
		i := rapid.IntRange(0, len(s)-1).Draw(t, "at")
		if s[i] < '0' || s[i] > '9' {
			return
		}
		d := byte('0' + rapid.IntRange(0, 9).Draw(t, "digit"))
		if slip := s[:i] + string(d) + s[i+1:]; slip != s && ValidSerial(slip) {
			t.Fatalf("%s passes for %s", slip, s)
		}
	})
	for _, s := range []string{"", "BUND", "BUND-20260302", "BUND-1"} {
		if ValidSerial(s) {
			t.Errorf("%q is a serial", s)
		}
	}
}

// Most pairs of digits in the wrong order are noticed. The numbers are the same in every run: a share of random ones would fail now and then.
func TestSerialTransposedDigits(t *testing.T) {
	missed, tried := 0, 0
	for n := range 500 {
		digits := []byte(fmt.Sprintf("20260302%010d", 7_919_000_003*(n+1)%10_000_000_000))
		s := string(digits) + string(mod1110(string(digits)))
		for i := range len(digits) - 1 {
			if digits[i] == digits[i+1] {
				continue
			}
			tried++
			swapped := bytes.Clone(digits)
			swapped[i], swapped[i+1] = swapped[i+1], swapped[i]
			if mod1110(string(swapped)) == s[len(s)-1] {
				missed++
			}
		}
	}
	if tried < 1000 || missed == 0 || missed*8 > tried {
		t.Errorf("%d of %d transpositions pass", missed, tried)
	}
}

// A number that is taken is refused, and the signer makes another command id; a failure of State is no refusal.
func TestSerialTaken(t *testing.T) {
	id := NewCommandID(1_772_413_200_000, [10]byte{1})
	x := &tx{st: stateFunc(func(string) ([]byte, error) { return []byte(`"0"`), nil }), env: Env{Now: 1_772_413_200_000}, cmd: &Command{Envelope: Envelope{ID: id}}, spec: &spec{}, writes: map[string][]byte{}}
	if _, r := x.serial("STL", ""); r == nil || r.Code != "serial.taken" {
		t.Errorf("got %v", r)
	}
	x.st = stateFunc(func(string) ([]byte, error) { return nil, errors.New("gone") })
	if _, r := x.serial("STL", ""); r != nil || x.err == nil {
		t.Errorf("got %v and the failure %v", r, x.err)
	}
	// Different nouns of one command get different numbers; the clearing definition keeps its own.
	seen := map[string]bool{}
	for _, prefix := range []string{"STL", "BUND", "DPR"} {
		x := &tx{st: stateFunc(func(string) ([]byte, error) { return nil, nil }), env: Env{Now: 1_772_413_200_000}, cmd: &Command{Envelope: Envelope{ID: id}}, spec: &spec{clearing: true}, writes: map[string][]byte{}}
		s, _ := x.serial(prefix, "")
		if seen[s[len(prefix):]] || x.writes["clr/serial/"+s] == nil {
			t.Errorf("%s: %s, %v", prefix, s, x.writes)
		}
		seen[s[len(prefix):]] = true
	}
}
