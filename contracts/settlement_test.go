package contracts

import (
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

// rounded is ⌊(x·y + d/2) / d⌋ over integers without bounds: half up, once.
func rounded(x, y, d int64) *big.Int {
	n := new(big.Int).Mul(big.NewInt(x), big.NewInt(y))
	n.Add(n, big.NewInt(d/2))
	return n.Div(n, big.NewInt(d))
}

// The contract's arithmetic against big.Int, up to the bounds of what totals and terms may be.
func TestSettlementArithmetic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		price := rapid.OneOf(rapid.Int64Range(0, 3), rapid.Int64Range(0, 2_000_000), rapid.Int64Range(0, int64(maxFen)*microPerFen)).Draw(t, "price")
		most := int64(maxFen) * microPerFen
		if price > 0 {
			most /= price
		}
		units := rapid.OneOf(rapid.Int64Range(0, min(most, 20_000)), rapid.Int64Range(0, most)).Draw(t, "units")
		flat := rapid.OneOf(rapid.Int64Range(0, 500_000), rapid.Int64Range(0, int64(maxFen))).Draw(t, "flat")
		buyer, provider := rapid.Int64Range(0, 5000).Draw(t, "buyerBP"), rapid.Int64Range(0, 5000).Draw(t, "providerBP")
		already := rapid.Int64Range(0, int64(maxFen)*microPerFen-units*price).Draw(t, "already")
		billing := rapid.SampledFrom([]Billing{Prepaid, Postpaid}).Draw(t, "billing")

		x := &tx{rules: &Rulebook{BuyerFeeBasisPoints: buyer, ProviderFeeBasisPoint: provider}}
		before := &Totals{Calls: 5, Units: 7, Micro: MicroYuan(already)}
		now := &Totals{Calls: 5 + units, Units: 7 + units, Micro: MicroYuan(already + units*price)}
		v, r := x.compute(&Agreement{Billing: billing}, &ClosedPeriod{Flat: flat%2 == 0}, &Terms{UnitPrice: MicroYuan(price), FlatFee: Fen(flat)}, now, before)

		usage := rounded(units, price, microPerFen)
		gross := new(big.Int).Set(usage)
		if flat%2 == 0 {
			gross.Add(gross, big.NewInt(flat))
		}
		share := func(bp int64) *big.Int {
			n := new(big.Int).Mul(gross, big.NewInt(bp))
			n.Add(n, big.NewInt(5000))
			return n.Div(n, big.NewInt(10_000))
		}
		total := new(big.Int).Add(gross, share(buyer))
		if over := total.Cmp(big.NewInt(int64(maxFen))) > 0; over != (r != nil) {
			t.Fatalf("total %s, refused with %v", total, r)
		}
		if r != nil {
			if r.Code != "settlement.overflow" {
				t.Fatal(r)
			}
			return
		}
		net := new(big.Int).Sub(gross, share(provider))
		for _, c := range []struct {
			what string
			got  Fen
			want *big.Int
		}{{"usage", v.Usage, usage}, {"buyer's fee", v.BuyerFee, share(buyer)}, {"provider's fee", v.ProviderFee, share(provider)},
			{"total", v.BuyerTotal, total}, {"net", v.ProviderNet, net}} {
			if big.NewInt(int64(c.got)).Cmp(c.want) != 0 {
				t.Fatalf("%s: %d, want %s", c.what, c.got, c.want)
			}
		}
		if v.ProviderNet < 0 || v.Calls != units || v.Units != units {
			t.Fatalf("%+v", v)
		}
		var debit, credit Fen
		of := map[string]Fen{}
		for _, p := range v.Postings {
			if p.Debit < 0 || p.Credit < 0 || (p.Debit == 0) == (p.Credit == 0) {
				t.Fatalf("posting %+v", p)
			}
			debit, credit = debit+p.Debit, credit+p.Credit
			of[p.Account] += p.Credit - p.Debit
		}
		payer := map[Billing]string{Prepaid: "escrow", Postpaid: "buyer"}[billing]
		if debit != credit || of[payer] != -v.BuyerTotal || of["provider"] != v.ProviderNet || of["venue"] != v.BuyerFee+v.ProviderFee || len(of) > 3 {
			t.Fatalf("postings %+v", v.Postings)
		}
	})
}

// An accrued amount that is not units times price is refused, whichever way it differs.
func TestSettlementPriceMismatch(t *testing.T) {
	x := &tx{rules: &Rulebook{}}
	for _, off := range []MicroYuan{-1, 1, 10_000} {
		_, r := x.compute(&Agreement{}, &ClosedPeriod{}, &Terms{UnitPrice: 2800}, &Totals{Units: 10, Micro: 28_000 + off}, &Totals{})
		if r == nil || r.Code != "settlement.price" {
			t.Errorf("%+d: %v", off, r)
		}
	}
	// Units that overflow at this price never look like a small amount.
	_, r := x.compute(&Agreement{}, &ClosedPeriod{}, &Terms{UnitPrice: 1 << 40}, &Totals{Units: 1 << 40}, &Totals{})
	if r == nil || r.Code != "settlement.overflow" {
		t.Errorf("2^80: %v", r)
	}
}

func TestToFenRoundsHalfUp(t *testing.T) {
	for _, c := range []struct {
		micro MicroYuan
		want  Fen
	}{{0, 0}, {4_999, 0}, {5_000, 1}, {14_999, 1}, {15_000, 2}, {25_000, 3}} {
		if got := toFen(c.micro); got != c.want {
			t.Errorf("%d millionths: %d fen, want %d", c.micro, got, c.want)
		}
	}
}
