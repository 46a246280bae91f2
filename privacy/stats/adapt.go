package stats

import "fmt"

// circlVDAF is what circl's kinds have in common: measurement, aggregate, aggregate share, input share, output share,
// prep share and prep state are a kind's own.
type circlVDAF[M, A, AS, IS, OS, PS, ST any] interface {
	Shard(measurement M, id *nonce, random []byte) (publicShare, []IS, error)
	PrepInit(verify *verifyKey, id *nonce, role uint8, public publicShare, input IS) (*ST, *PS, error)
	PrepSharesToPrep([]PS) (*prepMessage, error)
	PrepNext(*ST, *prepMessage) (*OS, error)
	AggregateInit() AS
	AggregateUpdate(*AS, *OS)
	Unshard([]AS, uint) (*A, error)
}

type codec interface {
	MarshalBinary() ([]byte, error)
	UnmarshalBinary([]byte) error
}

type shareOf[T, P any] interface {
	*T
	codec
	New(*P) *T
}

type inputOf[T, P any] interface {
	*T
	codec
	New(p *P, role uint) *T
}

type paramsOf[P any] interface {
	*P
	RandSize() uint
	JointRandLength() uint
}

const seedBytes = 32

// adapt hides a kind's types, which circl keeps internal, behind bytes.
func adapt[M, A, AS, IS, OS, PS, ST, P any, ASp shareOf[AS, P], ISp inputOf[IS, P], PSp shareOf[PS, P], Pp paramsOf[P]](
	c circlVDAF[M, A, AS, IS, OS, PS, ST], params P, encode func(uint64) (M, error), decode func(A) []uint64,
) (*scheme, error) {
	s := new(scheme)
	s.size.random = int(Pp(&params).RandSize())
	if Pp(&params).JointRandLength() > 0 {
		s.size.public = 2 * seedBytes
	}
	readInput := func(role uint, b []byte) (*IS, error) {
		x := ISp(new(IS))
		x.New(&params, role)
		return (*IS)(x), x.UnmarshalBinary(b)
	}
	readPrep := func(b []byte) (*PS, error) {
		x := PSp(new(PS))
		x.New(&params)
		return (*PS)(x), x.UnmarshalBinary(b)
	}
	readTotal := func(b []byte) (*AS, error) {
		x := ASp(new(AS))
		x.New(&params)
		return (*AS)(x), x.UnmarshalBinary(b)
	}

	s.shard = func(measurement uint64, id *nonce, random []byte) (public []byte, inputs [2][]byte, err error) {
		m, err := encode(measurement)
		if err != nil {
			return nil, inputs, err
		}
		p, shares, err := c.Shard(m, id, random)
		if err != nil || len(shares) != 2 {
			return nil, inputs, refuse(BadValue, "a value is outside of what the task measures")
		}
		for i := range inputs {
			if inputs[i], err = ISp(&shares[i]).MarshalBinary(); err != nil {
				return nil, inputs, fmt.Errorf("couldn't encode share: %w", err)
			}
		}
		return p, inputs, nil
	}
	s.begin = func(verify *verifyKey, id *nonce, role uint8, public, input []byte) (*preparation, error) {
		x, err := readInput(uint(role), input)
		if err != nil || len(public) != s.size.public {
			return nil, refuse(BadShare, "an input share is none of this task")
		}
		state, prep, err := c.PrepInit(verify, id, role, public, *x)
		if err != nil {
			return nil, refuse(BadShare, "an input share doesn't fit its public share")
		}
		own, err := PSp(prep).MarshalBinary()
		if err != nil {
			return nil, fmt.Errorf("couldn't encode prep share: %w", err)
		}
		finish := func(other []byte) (any, error) {
			o, err := readPrep(other)
			if err != nil {
				return nil, refuse(BadForm, "a prep share is none of this task")
			}
			both := []PS{*prep, *o}
			if role == Helper {
				both[0], both[1] = both[1], both[0]
			}
			m, err := c.PrepSharesToPrep(both)
			if err != nil {
				return nil, refuse(BadShare, "the report's proof doesn't hold")
			}
			out, err := c.PrepNext(state, m)
			if err != nil {
				return nil, refuse(BadShare, "the report's randomness is not the same for both aggregators")
			}
			return out, nil
		}
		return &preparation{own, finish}, nil
	}
	s.total = func(share []byte) (*total, error) {
		sum := c.AggregateInit()
		if share != nil {
			x, err := readTotal(share)
			if err != nil {
				return nil, refuse(BadForm, "a total is none of this task")
			}
			sum = *x
		}
		return &total{func(out any) { c.AggregateUpdate(&sum, out.(*OS)) }, func() ([]byte, error) { return ASp(&sum).MarshalBinary() }}, nil
	}
	s.unshard = func(shares [2][]byte, reports uint) ([]uint64, error) {
		var both []AS
		for _, b := range shares {
			x, err := readTotal(b)
			if err != nil {
				return nil, refuse(BadShare, "an aggregate share is none of this task")
			}
			both = append(both, *x)
		}
		a, err := c.Unshard(both, reports)
		if err != nil {
			return nil, refuse(BadSum, "the shares don't add up to a sum")
		}
		return decode(*a), nil
	}
	return s, s.measure(
		func(role uint) codec { return ISp(ISp(new(IS)).New(&params, role)) },
		PSp(PSp(new(PS)).New(&params)), ASp(ASp(new(AS)).New(&params)))
}

// measure takes the sizes of encodings from empty shares.
func (s *scheme) measure(input func(role uint) codec, prep, total codec) error {
	for _, x := range []struct {
		share codec
		size  *int
	}{{input(Leader), &s.size.input[Leader]}, {input(Helper), &s.size.input[Helper]}, {prep, &s.size.prep}, {total, &s.size.total}} {
		b, err := x.share.MarshalBinary()
		if err != nil {
			return fmt.Errorf("couldn't measure a share: %w", err)
		}
		*x.size = len(b)
	}
	return nil
}
