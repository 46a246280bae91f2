package headline

import (
	"context"
	"fmt"
	"strings"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/deploy/sample/polish"
)

// Joint scores companies by a card over the provider's fields without the bank seeing the fields or the provider the
// weights, in whatever way: the answer is in thousandths, in the order of codes. Fold says which of the Folds models it
// is; each is asked about once.
type Joint func(ctx context.Context, fold int, card ProviderCard, codes []contracts.CreditCode) ([]int64, error)

// ProviderCard is the part of a scorecard that is over the provider's fields, as the bank's node reads it (YAML).
// Columns whose bins all became one say nothing, and their weight stays with the bank.
type ProviderCard struct {
	YAML    string
	Fields  []string
	Weights int // one for each bin but the first of each field: what is encrypted
}

// Jointly is the row computed under encryption.
type Jointly struct {
	Variant
	Different int // scores that are not the plain ones
	Models    int
	Weights   int // of all models
}

// split divides a card over the bank's and the provider's ratios, in that order.
func split(card *Scorecard) (own Scorecard, theirs ProviderCard) {
	own = Scorecard{Base: card.Base, Columns: card.Columns[:len(polish.BankColumns)]}
	names := polish.Names(polish.ProviderColumns)
	var b strings.Builder
	b.WriteString("unit: 0.001\nbase: 0\nfeatures:\n")
	for j, c := range card.Columns[len(polish.BankColumns):] {
		if len(c.Edges) == 0 {
			own.Base += c.Weights[0]
			continue
		}
		theirs.Fields = append(theirs.Fields, names[j])
		theirs.Weights += len(c.Edges)
		var edges, weights []string
		for _, e := range c.Edges {
			edges = append(edges, e.String())
		}
		for _, w := range c.Weights {
			weights = append(weights, polish.Micro(w*(1_000_000/Unit)).String())
		}
		fmt.Fprintf(&b, "  - {field: %s, bins: [%s], weights: [%s]}\n", names[j], strings.Join(edges, ", "), strings.Join(weights, ", "))
	}
	theirs.YAML = b.String()
	return own, theirs
}

// AddJoint scores every company again as the variant both does, out of sample, with the provider's part computed jointly
// and the bank's own added in clear.
func (t *Table) AddJoint(ctx context.Context, bank []polish.Company, joint Joint) error {
	both := &t.Variants[1]
	fold := folds(bank)
	x := &Jointly{Variant: Variant{Name: "joint", Inputs: both.Inputs, scores: make([]int64, len(bank))}, Models: Folds}
	for f := range Folds {
		own, theirs := split(both.cards[f])
		var codes []contracts.CreditCode
		var at []int
		for i := range bank {
			if fold[i] == f {
				codes, at = append(codes, bank[i].Code), append(at, i)
			}
		}
		x.Weights += theirs.Weights
		parts, err := joint(ctx, f, theirs, codes)
		if err != nil {
			return fmt.Errorf("couldn't score fold %d jointly: %w", f, err)
		}
		if len(parts) != len(codes) {
			return fmt.Errorf("couldn't score fold %d jointly: %d scores of %d companies", f, len(parts), len(codes))
		}
		for k, i := range at {
			row := make([]polish.Micro, len(polish.BankColumns))
			for j, c := range polish.BankColumns {
				row[j] = bank[i].Ratio(c)
			}
			if x.scores[i] = own.Score(row) + parts[k]; x.scores[i] != both.scores[i] {
				x.Different++
			}
		}
	}
	bad := make([]bool, len(bank))
	for i := range bank {
		bad[i] = bank[i].Bankrupt
	}
	x.Ranking = Rank(x.scores, bad)
	x.Approved = approve(x.scores, bad, bank)
	t.Joint = x
	return nil
}

func (x *Jointly) text(b *strings.Builder) {
	fmt.Fprintf(b, "银行 + 供方数据，供方部分在加密权重下计算 · bank's and provider's, the provider's part computed on encrypted weights · %d 项 inputs\n", x.Inputs)
	x.rows(b, "")
	same := "与明文行逐家一致，一位不差 every score equals the plain one, to the last digit"
	if x.Different > 0 {
		same = fmt.Sprintf("与明文不同 differ from the plain ones: %d", x.Different)
	}
	fmt.Fprintf(b, "  %d 家 companies: %s；%d 个模型 models，%d 个加密权重 encrypted weights\n", len(x.scores), same, x.Models, x.Weights)
	b.WriteString("  评分时银行看不到供方字段、供方看不到权重（半诚实；训练所用的列仍是明文购得） in scoring the bank sees no fields and the provider no weights (semi-honest; the columns to train on were bought in clear): docs/privacy/score.md\n")
}
