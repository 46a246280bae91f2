package score

import (
	"math"

	"github.com/bund-exchange/bund/contracts/canon"
)

// Card is a bank's scorecard over a provider's features: integers in the bank's own fixed point. It is the bank's
// secret; only the specification leaves it in clear.
type Card struct {
	Base int64 `json:"base"`
	Spec Spec  `json:"spec"`
	// Weights has, for each feature, one weight for each of its choices, in their order; a linear feature has its factor
	// and, if it may be empty, the weight of that.
	Weights [][]int64 `json:"weights"`
}

// maxWeight keeps differences of weights, and the carry that noise is counted with, small.
const maxWeight = math.MaxInt32

// MaxScore bounds what a card can give: beyond it a score would wrap modulo T.
const MaxScore = (T - 1) / 2

// Check refuses a card whose scores could wrap.
func (c *Card) Check() error {
	if len(c.Weights) != len(c.Spec.Features) {
		return refuse(CodeArity, "weights for %d features, want %d", len(c.Weights), len(c.Spec.Features))
	}
	if c.Base < -MaxScore || c.Base > MaxScore {
		return refuse(CodeValue, "the base is out of range")
	}
	for i, w := range c.Weights {
		if len(w) != c.Spec.Features[i].choices() {
			return refuse(CodeArity, "feature %d: %d weights for %d choices", i, len(w), c.Spec.Features[i].choices())
		}
		for _, v := range w {
			if v < -maxWeight || v > maxWeight {
				return refuse(CodeValue, "feature %d: a weight is out of range", i)
			}
		}
	}
	if low, high := c.span(); low < -MaxScore || high > MaxScore {
		return refuse(CodeValue, "scores could pass ±%d", int64(MaxScore))
	}
	return nil
}

// fold gives the weights of the columns, and the constant that the first choices leave.
func (c *Card) fold() (columns []int64, constant int64) {
	constant = c.Base
	for i, w := range c.Weights {
		if c.Spec.Features[i].Kind == Linear {
			columns = append(columns, w...)
			continue
		}
		constant += w[0]
		for _, v := range w[1:] {
			columns = append(columns, v-w[0])
		}
	}
	return columns, constant
}

// span bounds the sum over the columns, without the constant.
func (c *Card) span() (low, high int64) {
	for i, w := range c.Weights {
		f := &c.Spec.Features[i]
		l, h := int64(0), int64(0)
		for k, v := range w {
			switch {
			case f.Kind != Linear:
				v -= w[0]
			case k == 0:
				v *= f.Max
			}
			l, h = min(l, v), max(h, v)
		}
		low, high = low+l, high+h
	}
	return low, high
}

// Bits tells an assessor how much of a company one score could show: rows is how many bits the values of a company can
// take in this card, scores how many bits scores can. Where rows aren't far more, a score may say what all values are.
func (c *Card) Bits() (rows, scores float64) {
	for i := range c.Spec.Features {
		f := &c.Spec.Features[i]
		n := f.choices()
		if f.Kind == Linear {
			n += int(f.Max)
		}
		rows += math.Log2(float64(n))
	}
	low, high := c.span()
	return rows, math.Log2(float64(high-low) + 1)
}

// Score is the score in clear, of values in the order of the features.
func (c *Card) Score(values []string) (int64, error) {
	if len(values) != len(c.Spec.Features) {
		return 0, refuse(CodeArity, "%d values for %d features", len(values), len(c.Spec.Features))
	}
	score := c.Base
	for i := range c.Spec.Features {
		f := &c.Spec.Features[i]
		choice, level, ok := f.choose(values[i])
		switch {
		case !ok:
			return 0, refuse(CodeValue, "feature %d: empty, or no decimal of six places", i)
		case f.Kind == Linear && choice == 0:
			score += c.Weights[i][0] * level
		default:
			score += c.Weights[i][choice]
		}
	}
	return score, nil
}

// ReadCard decodes canonical JSON.
func ReadCard(b []byte) (*Card, error) {
	c := new(Card)
	if err := canon.Unmarshal(b, c); err != nil {
		return nil, refuse(CodeModel, "not a scorecard: %v", err)
	}
	return c, nil
}
