package contracts

import (
	"slices"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts/canon"
	"pgregory.net/rapid"
)

func TestCreditCodeVectors(t *testing.T) {
	for _, c := range []CreditCode{
		"91350100M000100Y43", // the standard's example
		"9144030071526726XG", "914403001922038216", "91310000132260250X", "91100000100003962T",
		"91310115MA1K00007Q",
		"91310115MA1K001700", // Σ mod 31 = 0
		"113100000000000191",
	} {
		if err := c.Check(); err != nil {
			t.Errorf("%s: %v", c, err)
		}
	}
	for name, c := range map[string]CreditCode{
		"check character":       "91350100M000100Y4Z",
		"lower case":            "91350100m000100Y43",
		"letter I":              "91350100I000100Y43",
		"letter O":              "91350100O000100Y43",
		"letter S":              "91350100S000100Y43",
		"letter V":              "91350100V000100Y43",
		"short":                 "91350100M000100Y4",
		"long":                  "91350100M000100Y433",
		"empty":                 "",
		"full width":            "９1350100M000100Y",
		"space":                 "91350100M000100Y4 ",
		"letter in the region":  resealed("9135A100M000100Y4"),
		"organisation's own":    resealed("91350100M000100Y5"),
		"mod 31 written as 31":  "91310115MA1K00170Y",
		"another one's check":   "9144030071526726X6",
		"digits only, off by 1": "914403001922038217",
	} {
		if c.Check() == nil {
			t.Errorf("accepted %s: %s", name, c)
		}
	}
}

// resealed gives a code whose last character is right, so that an earlier fault is what must be found.
func resealed(first17 string) CreditCode { return CreditCode(first17 + string(creditCheck(first17))) }

// Σ of the standard's example, by the weights as the standard prints them.
func TestCreditCodeSum(t *testing.T) {
	weights := []int{1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28}
	sum := 0
	for i, w := range weights {
		sum += w * strings.IndexByte(creditAlphabet, "91350100M000100Y4"[i])
	}
	if sum != 1640 {
		t.Errorf("Σ = %d, want 1640", sum)
	}
}

// A single wrong character, and two neighbours exchanged, are what the check characters are for.
func TestCreditCodeFindsSlips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := string(SyntheticCreditCode(rapid.Uint32().Draw(t, "n")))
		i := rapid.IntRange(0, 17).Draw(t, "place")
		with := creditAlphabet[rapid.IntRange(0, 30).Draw(t, "character")]
		if slip := CreditCode(c[:i] + string(with) + c[i+1:]); string(slip) != c && slip.Check() == nil {
			t.Fatalf("accepted %s for %s", slip, c)
		}
		if i < 17 && c[i] != c[i+1] {
			if slip := CreditCode(c[:i] + string(c[i+1]) + string(c[i]) + c[i+2:]); slip.Check() == nil {
				t.Fatalf("accepted %s for %s", slip, c)
			}
		}
	})
}

func TestSyntheticCreditCodesBelongToNobody(t *testing.T) {
	// GB/T 2260: the provinces, and the districts of Shanghai.
	provinces := strings.Fields("11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61 62 63 64 65 71 81 82")
	shanghai := strings.Fields("310000 310101 310104 310105 310106 310107 310109 310110 310112 310113 310114 310115 310116 310117 310118 310120 310151")
	if slices.Contains(provinces, SyntheticRegion[:2]) || slices.Contains(shanghai, SyntheticRegion) {
		t.Fatalf("region %s is assigned", SyntheticRegion)
	}
	seen := map[CreditCode]bool{}
	for _, n := range []uint32{0, 1, 2, 9, 10, 15, 16, 20_000, 1 << 20, 1<<32 - 2, 1<<32 - 1} {
		c := SyntheticCreditCode(n)
		if err := c.Check(); err != nil {
			t.Errorf("%d: %s: %v", n, c, err)
		}
		if c.Region() != SyntheticRegion || !c.Synthetic() || seen[c] {
			t.Errorf("%d: %s", n, c)
		}
		seen[c] = true
	}
	if CreditCode("91310115MA1K00007Q").Synthetic() {
		t.Error("a code of Shanghai passes for synthetic")
	}
}

func FuzzCreditCode(f *testing.F) {
	for _, s := range []string{"91350100M000100Y43", "", "91310115MA1K001700", "91350100\xff000100Y43", "９１３５０１"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c := CreditCode(s)
		if c.Check() != nil {
			return
		}
		var back CreditCode
		if err := canon.Unmarshal(canon.Marshal(c), &back); err != nil || back != c {
			t.Fatalf("%q: %v", back, err)
		}
		if len(s) != 18 || resealed(s[:17]) != c {
			t.Fatalf("accepted %q", s)
		}
	})
}
