package contractstest

import (
	"slices"
	"strings"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/policy"
)

// Commands of private computation.
var privateBodies = map[string]builder{
	// lookup.commit P1 [epoch=…] [cohort=…] [service=steward.node]: the next key epoch, of the dataset that was reported
	"lookup.commit": func(s *Scene, a *Actor, l *line) (*act, error) {
		id, v, err := s.version(l)
		if err != nil {
			return nil, err
		}
		key := s.M.Random()
		b := &contracts.LookupCommit{Version: id, Node: a.Node, Epoch: 1, Suite: contracts.LookupSuite, PublicKey: key[:], Root: contracts.HashOf("test/table"),
			Rows: 5850, Dataset: contracts.HashOf("test/dataset")}
		if old, err := read[contracts.LookupTable](s, contracts.KeyLookup(id)); err == nil {
			b.Epoch = old.Epoch + 1
		}
		if slices.Contains(v.Facts.Modes, policy.ConsentLookup) {
			if b.ConsentNode, err = s.id(l.take("service", "steward.node")); err != nil {
				return nil, err
			}
		}
		return &act{body: b}, nil
	},

	// model.register M1 on=D1
	"model.register": func(s *Scene, _ *Actor, l *line) (*act, error) {
		id, err := s.id(l.take("on", "D1"))
		return &act{body: &contracts.ModelRegister{Agreement: id, Digest: contracts.HashOf("test/model"), Features: contracts.HashOf("test/features"), Arity: 20,
			Assessor: s.actors["assessor"].ID}, after: s.bind(l.name(), "model")}, err
	},
	"model.attest": about(func(id contracts.ID, _ string) any {
		return &contracts.ModelAttest{Model: id, Digest: contracts.HashOf("test/model"), Document: contracts.HashOf("test/model opinion")}
	}).then(func(s *Scene, a *act) {
		a.body.(*contracts.ModelAttest).Expires = s.M.Now.Add(300 * 86400)
	}),
	"model.withdraw": about(func(id contracts.ID, why string) any { return &contracts.ModelWithdraw{Model: id, Reason: why} }),

	// statistics.propose S1 on=P1 [aggregators=a.node,b.node] [contributors=bank,lender]
	"statistics.propose": func(s *Scene, _ *Actor, l *line) (*act, error) {
		on, err := s.id(l.take("on", "P1"))
		if err != nil {
			return nil, err
		}
		b := &contracts.StatisticsPropose{Version: on, Measure: contracts.Measure{Kind: "histogram", Buckets: []int64{1, 2, 5, 10}}, MinBatch: 30, EpsilonMicro: 1_000_000,
			From: s.M.Now, To: s.M.Now.Add(30 * 86400)}
		for words, to := range map[string]*[]contracts.ID{l.take("aggregators", "summer.node,adder.node"): &b.Aggregators, l.take("contributors", "bank,lender"): &b.Contributors} {
			for w := range strings.SplitSeq(words, ",") {
				id, err := s.id(w)
				if err != nil {
					return nil, err
				}
				*to = append(*to, id)
			}
		}
		return &act{body: b, after: s.bind(l.name(), "statistics")}, nil
	},
	"statistics.join": about(func(id contracts.ID, _ string) any { return &contracts.StatisticsTurn{Task: id} }),
	"statistics.end":  about(func(id contracts.ID, _ string) any { return &contracts.StatisticsTurn{Task: id} }),
}

// then changes what a builder made, by what the scene knows.
func (b builder) then(f func(*Scene, *act)) builder {
	return func(s *Scene, a *Actor, l *line) (*act, error) {
		x, err := b(s, a, l)
		if err == nil {
			f(s, x)
		}
		return x, err
	}
}
