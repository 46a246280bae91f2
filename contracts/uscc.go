package contracts

import (
	"errors"
	"fmt"
	"strings"
)

// CreditCode is a Unified Social Credit Code (统一社会信用代码, GB 32100-2015): department (1), category (1), region (6
// digits), organisation code by GB 11714 (9) and check character (1).
type CreditCode string

// creditAlphabet holds the 31 characters of GB 32100; a character's place is its value. I, O, S, V and Z are left out.
const creditAlphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"

// Check reports a code that GB 32100-2015 doesn't allow. It can't say whether the code was given to anybody. Department
// and category are not held against a list: registries add to theirs.
func (c CreditCode) Check() error {
	if len(c) != 18 {
		return errors.New("want a credit code of 18 characters")
	}
	for i := range len(c) {
		if strings.IndexByte(creditAlphabet, c[i]) < 0 {
			return errors.New("want digits and capital letters without I, O, S, V and Z")
		}
		if i >= 2 && i < 8 && c[i] > '9' {
			return errors.New("want a region of six digits in places 3 to 8")
		}
	}
	if c[16] != organisationCheck(string(c[8:16])) {
		return errors.New("the check character of the organisation code (place 17) is wrong")
	}
	if c[17] != creditCheck(string(c[:17])) {
		return errors.New("the check character (place 18) is wrong")
	}
	return nil
}

// Region gives the six digits of the registering authority's region (GB/T 2260) of a valid code.
func (c CreditCode) Region() string { return string(c[2:8]) }

// creditCheck computes place 18 (GB 32100-2015, 5.1): (31 − Σ value·3^i mod 31) mod 31. The last mod is needed when the
// sum divides by 31, where the check character is 0.
func creditCheck(first17 string) byte {
	sum, weight := 0, 1
	for i := range len(first17) {
		sum += strings.IndexByte(creditAlphabet, first17[i]) * weight
		weight = weight * 3 % 31
	}
	return creditAlphabet[(31-sum%31)%31]
}

// organisationCheck computes the ninth character of an organisation code (GB 11714-1997): 11 − Σ mod 11, where 10 is
// written X and 11 is written 0. Its letters count from A = 10 with no gaps, unlike those of GB 32100.
func organisationCheck(first8 string) byte {
	sum := 0
	for i, weight := range [8]int{3, 7, 9, 10, 5, 8, 4, 2} {
		v := int(first8[i] - '0')
		if first8[i] >= 'A' {
			v = int(first8[i]-'A') + 10
		}
		sum += v * weight
	}
	return "0X987654321"[sum%11]
}

// SyntheticRegion is a region that no registry assigns: GB/T 2260 has no province 39.
const SyntheticRegion = "390000"

// SyntheticCreditCode gives the n-th of the codes that are valid in form and can belong to no real organisation. Different
// n give different codes.
func SyntheticCreditCode(n uint32) CreditCode {
	organisation := fmt.Sprintf("%08X", n)
	first17 := "91" + SyntheticRegion + organisation + string(organisationCheck(organisation))
	return CreditCode(first17 + string(creditCheck(first17)))
}

// Synthetic reports a valid code that SyntheticCreditCode could have made.
func (c CreditCode) Synthetic() bool { return c.Region() == SyntheticRegion }
