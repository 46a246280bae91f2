package headline

import (
	"context"
	"errors"
	"maps"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/deploy/sample/polish"
)

var companies = sync.OnceValues(polish.Companies)

// fromFile answers as the provider's node would.
func fromFile(t testing.TB) (bank []polish.Company, fetch Fetch) {
	t.Helper()
	bank, err := companies()
	if err != nil {
		t.Fatal(err)
	}
	rows := map[contracts.CreditCode]map[string]string{}
	for i := range bank {
		fields := map[string]string{}
		for _, c := range polish.ProviderColumns {
			fields[polish.Name(c)] = bank[i].Ratio(c).String()
		}
		rows[bank[i].Code] = fields
	}
	return polish.BankHalf(bank), func(_ context.Context, code contracts.CreditCode) (map[string]string, error) {
		return maps.Clone(rows[code]), nil
	}
}

func TestHeadline(t *testing.T) {
	bank, fetch := fromFile(t)
	var mu sync.Mutex
	asked := map[contracts.CreditCode]int{}
	table, err := Run(context.Background(), bank, func(ctx context.Context, code contracts.CreditCode) (map[string]string, error) {
		mu.Lock()
		asked[code]++
		mu.Unlock()
		return fetch(ctx, code)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + table.Text())
	for code, n := range asked {
		if n != 1 {
			t.Fatalf("%s was asked for %d times", code, n)
		}
	}
	if len(asked) != polish.Count || table.Calls != polish.Count || table.N != polish.Count || table.Bad != polish.Bankrupt {
		t.Errorf("%d asked for; table of %d companies, %d bad, %d calls", len(asked), table.N, table.Bad, table.Calls)
	}

	own, both, wrong := table.Variants[0], table.Variants[1], table.Variants[2]
	if own.Inputs != 19 || both.Inputs != 58 || wrong.Inputs != 58 {
		t.Errorf("inputs %d, %d, %d", own.Inputs, both.Inputs, wrong.Inputs)
	}
	// The lift, and that it is gone where the rows are other companies'. Seed and folds are fixed, so the bounds can't
	// be missed by chance.
	if both.Ranking.AUC < own.Ranking.AUC+.025 {
		t.Errorf("AUC %.4f with the provider's data, %.4f without", both.Ranking.AUC, own.Ranking.AUC)
	}
	if wrong.Ranking.AUC > own.Ranking.AUC+.01 {
		t.Errorf("AUC %.4f with the wrong companies' data, %.4f without any", wrong.Ranking.AUC, own.Ranking.AUC)
	}
	for a, percent := range Approvals {
		o, b := own.Approved[a], both.Approved[a]
		if o.Percent != percent || o.N != 5850*percent/100 || b.N != o.N || b.Bad > o.Bad {
			t.Errorf("at %d %%: %d of %d bad with the bank's data, %d of %d with both", percent, o.Bad, o.N, b.Bad, b.N)
		}
		for k, v := range []Variant{both, wrong} {
			g := table.Gains[k].Approved[a]
			if g.Interval.Low > g.Rate || g.Interval.High < g.Rate || math.Abs(g.Rate-float64(o.Bad-v.Approved[a].Bad)/float64(o.N)) > 1e-12 {
				t.Errorf("%s: gain %+v", v.Name, g)
			}
		}
	}
	if b, w := table.Gains[0], table.Gains[1]; b.Name != "both" || w.Name != "wrong" || b.Interval.Low <= 0 || w.Interval.Low > 0 {
		t.Errorf("the order gains %+v with the provider's data, %+v with the wrong companies'", b, w)
	}
	for _, v := range table.Variants {
		if v.Stability < 0 || v.Stability > .1 {
			t.Errorf("%s: scores of unseen companies are not distributed as those of seen ones: %.4f", v.Name, v.Stability)
		}
	}
	text := table.Text()
	for _, want := range []string{"not", "NPL ratio", "不良贷款率", "7 % → 1 %", "no out-of-time test", "no refused applicants", "10.24432/C5F600", "CC BY 4.0", "6.97 %"} {
		if !strings.Contains(text, want) {
			t.Errorf("the table doesn't say %q", want)
		}
	}

	again, err := Run(context.Background(), bank, fetch)
	if err != nil {
		t.Fatal(err)
	}
	if again.Digest() != table.Digest() {
		t.Errorf("a second run gives another table:\n%s", again.Text())
	}
}

func TestFoldsAreStratified(t *testing.T) {
	bank, _ := fromFile(t)
	var n, bad [Folds]int
	for i, f := range folds(bank) {
		n[f]++
		if bank[i].Bankrupt {
			bad[f]++
		}
	}
	for f := range Folds {
		if n[f] < 584 || n[f] > 586 || bad[f] < 40 || bad[f] > 41 {
			t.Errorf("fold %d has %d companies, %d bad", f, n[f], bad[f])
		}
	}
}

// TestWrongJoinIsWrong: no company keeps its own row.
func TestWrongJoinIsWrong(t *testing.T) {
	bank, _ := fromFile(t)
	order, seen := shuffled(bank, "wrong join"), map[int]bool{}
	for _, i := range order {
		seen[i] = true
	}
	if len(seen) != len(bank) {
		t.Errorf("%d of %d companies", len(seen), len(bank))
	}
}

func TestFetchTrouble(t *testing.T) {
	bank, fetch := fromFile(t)
	broken := errors.New("quota used up")
	for name, harm := range map[string]func(map[string]string) error{
		"refused":     func(map[string]string) error { return broken },
		"field gone":  func(f map[string]string) error { delete(f, "x63"); return nil },
		"not decimal": func(f map[string]string) error { f["x1"] = "1e5"; return nil },
	} {
		calls, mu := 0, sync.Mutex{}
		_, err := Run(context.Background(), bank, func(ctx context.Context, code contracts.CreditCode) (map[string]string, error) {
			mu.Lock()
			calls++
			nth := calls
			mu.Unlock()
			f, err := fetch(ctx, code)
			if nth == 100 {
				if err := harm(f); err != nil {
					return nil, err
				}
			}
			return f, err
		})
		if err == nil || name == "refused" && !errors.Is(err, broken) {
			t.Errorf("%s: got %v", name, err)
		}
		if calls > 100+2*Parallel {
			t.Errorf("%s: %d more calls were made, and paid for, after the hundredth failed", name, calls-100)
		}
	}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Run(gone, bank, fetch); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
