package headline

import (
	"context"
	"errors"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/deploy/sample/polish"
)

// inClear reads the provider's card as the node does and scores the provider's fields by it.
func inClear(t *testing.T, fetch Fetch, harm func(fold int, parts []int64) []int64) Joint {
	return func(ctx context.Context, fold int, card ProviderCard, codes []contracts.CreditCode) ([]int64, error) {
		var c struct {
			Unit     string
			Base     string
			Features []struct {
				Field         string
				Bins, Weights []string
			}
		}
		if err := yaml.Unmarshal([]byte(card.YAML), &c); err != nil {
			return nil, err
		}
		weights := 0
		if c.Unit != "0.001" || c.Base != "0" || len(c.Features) != len(card.Fields) {
			t.Errorf("card of fold %d: %s", fold, card.YAML)
		}
		parse := func(s string) polish.Micro {
			m, err := polish.ParseMicro(s)
			if err != nil {
				t.Error(err)
			}
			return m
		}
		out := make([]int64, len(codes))
		for i, f := range c.Features {
			if f.Field != card.Fields[i] || len(f.Weights) != len(f.Bins)+1 {
				t.Errorf("feature %d of fold %d: %+v", i, fold, f)
			}
			weights += len(f.Bins)
			for k, code := range codes {
				fields, err := fetch(ctx, code)
				if err != nil {
					return nil, err
				}
				v, at := parse(fields[f.Field]), 0
				for at < len(f.Bins) && v > parse(f.Bins[at]) {
					at++
				}
				w := parse(f.Weights[at])
				if w%1000 != 0 {
					t.Errorf("a weight of %d millionths", w)
				}
				out[k] += int64(w / 1000)
			}
		}
		if weights != card.Weights {
			t.Errorf("fold %d: %d weights, the card says %d", fold, weights, card.Weights)
		}
		if harm != nil {
			out = harm(fold, out)
		}
		return out, nil
	}
}

// TestJoint: the bank's part in clear and the provider's by the card that is encrypted give the scores of the variant
// with both data, for every company; and one that is off by a thousandth is seen.
func TestJoint(t *testing.T) {
	bank, fetch := fromFile(t)
	table, err := Run(context.Background(), bank, fetch)
	if err != nil {
		t.Fatal(err)
	}
	plain := table.Text()
	if err := table.AddJoint(context.Background(), bank, inClear(t, fetch, nil)); err != nil {
		t.Fatal(err)
	}
	j, both := table.Joint, &table.Variants[1]
	if j.Different != 0 || j.Ranking != both.Ranking || j.Inputs != 58 || j.Models != Folds || j.Weights < Folds*39 {
		t.Errorf("joint %+v", j)
	}
	for a := range both.Approved {
		if j.Approved[a].Bad != both.Approved[a].Bad || j.Approved[a].N != both.Approved[a].N {
			t.Errorf("at %d %%: %d bad, %d in clear", both.Approved[a].Percent, j.Approved[a].Bad, both.Approved[a].Bad)
		}
	}
	if text := table.Text(); text == plain || !strings.Contains(text, "to the last digit") || !strings.Contains(text, "semi-honest") {
		t.Errorf("the table says\n%s", text)
	}
	err = table.AddJoint(context.Background(), bank, inClear(t, fetch, func(fold int, parts []int64) []int64 {
		if fold == 3 {
			parts[7]++
		}
		return parts
	}))
	if err != nil || table.Joint.Different != 1 || strings.Contains(table.Text(), "to the last digit") {
		t.Errorf("one score off by a thousandth: %v, %d differ", err, table.Joint.Different)
	}
	broken := errors.New("no model")
	for name, f := range map[string]Joint{
		"refused": func(context.Context, int, ProviderCard, []contracts.CreditCode) ([]int64, error) { return nil, broken },
		"too few": inClear(t, fetch, func(_ int, parts []int64) []int64 { return parts[1:] }),
	} {
		if err := table.AddJoint(context.Background(), bank, f); err == nil || name == "refused" && !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
