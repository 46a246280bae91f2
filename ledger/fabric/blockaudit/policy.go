package blockaudit

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/golang/protobuf/proto"
	"github.com/hyperledger/fabric-protos-go/common"
	"github.com/hyperledger/fabric-protos-go/msp"
	"github.com/hyperledger/fabric-protos-go/peer"
)

// policy says which signers together may do a thing.
type policy interface {
	// satisfied takes distinct identities whose signatures are right; whether they are valid members is for the policy.
	satisfied(by []*identity) bool
	String() string
}

// signaturePolicy is a rule over principals. Like Fabric's, it takes signers greedily and in order: a signer that one leaf
// used can't satisfy another, even where another choice would have satisfied both.
type signaturePolicy struct {
	rule       *common.SignaturePolicy
	principals []*msp.MSPPrincipal
}

func newSignaturePolicy(e *common.SignaturePolicyEnvelope) (*signaturePolicy, error) {
	p := &signaturePolicy{rule: e.GetRule(), principals: e.GetIdentities()}
	return p, p.check(p.rule, maxNesting)
}

func (p *signaturePolicy) check(rule *common.SignaturePolicy, depth int) error {
	if depth == 0 {
		return errors.New("the policy is nested too deep")
	}
	switch t := rule.GetType().(type) {
	case *common.SignaturePolicy_SignedBy:
		if t.SignedBy < 0 || int(t.SignedBy) >= len(p.principals) {
			return fmt.Errorf("the policy names principal %d of %d", t.SignedBy, len(p.principals))
		}
	case *common.SignaturePolicy_NOutOf_:
		for _, r := range t.NOutOf.GetRules() {
			if err := p.check(r, depth-1); err != nil {
				return err
			}
		}
	default:
		return errors.New("the policy has an empty rule")
	}
	return nil
}

func (p *signaturePolicy) satisfied(by []*identity) bool {
	return p.evaluate(p.rule, by, make([]bool, len(by)))
}

func (p *signaturePolicy) evaluate(rule *common.SignaturePolicy, by []*identity, used []bool) bool {
	switch t := rule.Type.(type) {
	case *common.SignaturePolicy_SignedBy:
		for i, id := range by {
			if !used[i] && id.satisfies(p.principals[t.SignedBy]) {
				used[i] = true
				return true
			}
		}
	case *common.SignaturePolicy_NOutOf_:
		n := int32(0)
		for _, r := range t.NOutOf.GetRules() {
			try := slices.Clone(used)
			if p.evaluate(r, by, try) {
				n++
				copy(used, try)
			}
		}
		return n >= t.NOutOf.GetN()
	}
	return false
}

func (p *signaturePolicy) String() string { return p.text(p.rule) }

func (p *signaturePolicy) text(rule *common.SignaturePolicy) string {
	switch t := rule.Type.(type) {
	case *common.SignaturePolicy_SignedBy:
		return principalText(p.principals[t.SignedBy])
	case *common.SignaturePolicy_NOutOf_:
		var parts []string
		for _, r := range t.NOutOf.GetRules() {
			parts = append(parts, p.text(r))
		}
		inner := "(" + strings.Join(parts, ", ") + ")"
		switch n := int(t.NOutOf.GetN()); {
		case n == 1:
			return "OR" + inner
		case n == len(parts):
			return "AND" + inner
		default:
			return fmt.Sprintf("%d OF %s", n, inner)
		}
	}
	return "?"
}

func principalText(p *msp.MSPPrincipal) string {
	var r msp.MSPRole
	if p.GetPrincipalClassification() == msp.MSPPrincipal_ROLE && proto.Unmarshal(p.GetPrincipal(), &r) == nil {
		return clip(r.MspIdentifier) + "." + strings.ToLower(r.Role.String())
	}
	return strings.ToLower(p.GetPrincipalClassification().String())
}

// metaPolicy asks for the policies of one name in the groups below.
type metaPolicy struct {
	rule      common.ImplicitMetaPolicy_Rule
	name      string
	below     []policy
	threshold int
}

func newMetaPolicy(m *common.ImplicitMetaPolicy, groups map[string]*policies) *metaPolicy {
	p := &metaPolicy{rule: m.Rule, name: m.SubPolicy}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		p.below = append(p.below, groups[name].get(m.SubPolicy))
	}
	switch n := len(p.below); {
	case n == 0:
	case m.Rule == common.ImplicitMetaPolicy_ANY:
		p.threshold = 1
	case m.Rule == common.ImplicitMetaPolicy_ALL:
		p.threshold = n
	default:
		p.threshold = n/2 + 1
	}
	return p
}

func (p *metaPolicy) satisfied(by []*identity) bool {
	n := 0
	for _, b := range p.below {
		if b.satisfied(by) {
			n++
		}
	}
	return n >= p.threshold
}

func (p *metaPolicy) String() string { return p.rule.String() + " " + clip(p.name) }

// noPolicy stands where there is none: nobody satisfies it.
type noPolicy struct{ path string }

func (noPolicy) satisfied([]*identity) bool { return false }
func (p noPolicy) String() string           { return "no policy " + clip(p.path) }

// policies are those of a group of the config and of the groups below it.
type policies struct {
	path   string // Channel, Channel/Application, …
	named  map[string]policy
	groups map[string]*policies
}

func newPolicies(path string, g *common.ConfigGroup, depth int) (*policies, error) {
	if depth == 0 {
		return nil, fmt.Errorf("the config is nested too deep at %s", clip(path))
	}
	p := &policies{path: path, named: map[string]policy{}, groups: map[string]*policies{}}
	for name, sub := range g.GetGroups() {
		var err error
		if p.groups[name], err = newPolicies(path+"/"+name, sub, depth-1); err != nil {
			return nil, err
		}
	}
	for name, c := range g.GetPolicies() {
		var err error
		switch c := c.GetPolicy(); c.GetType() {
		case int32(common.Policy_SIGNATURE):
			var e common.SignaturePolicyEnvelope
			if err = proto.Unmarshal(c.Value, &e); err == nil && e.Version != 0 {
				err = fmt.Errorf("version %d is unknown", e.Version)
			}
			if err == nil {
				p.named[name], err = newSignaturePolicy(&e)
			}
		case int32(common.Policy_IMPLICIT_META):
			var m common.ImplicitMetaPolicy
			if err = proto.Unmarshal(c.Value, &m); err == nil {
				p.named[name] = newMetaPolicy(&m, p.groups)
			}
		default:
			err = fmt.Errorf("type %d is unknown", c.GetType())
		}
		if err != nil {
			return nil, fmt.Errorf("the policy %s/%s: %w", clip(path), clip(name), err)
		}
	}
	return p, nil
}

// get gives a policy by its name, by its path from here, or by a path from the root when this is the root.
func (p *policies) get(name string) policy {
	rel := name
	if strings.HasPrefix(name, "/") {
		var ok bool
		if rel, ok = strings.CutPrefix(name, "/"+p.path+"/"); !ok {
			return noPolicy{name}
		}
	}
	at := p
	for {
		if x, ok := at.named[rel]; ok {
			return x
		}
		group, rest, ok := strings.Cut(rel, "/")
		if !ok || at.groups[group] == nil {
			return noPolicy{name}
		}
		at, rel = at.groups[group], rest
	}
}

// applicationPolicy reads the policy of a chaincode definition or a collection.
func (c *channel) applicationPolicy(b []byte) (policy, error) {
	var a peer.ApplicationPolicy
	if err := proto.Unmarshal(b, &a); err != nil {
		return nil, fmt.Errorf("the policy is malformed: %w", err)
	}
	switch t := a.Type.(type) {
	case *peer.ApplicationPolicy_SignaturePolicy:
		return newSignaturePolicy(t.SignaturePolicy)
	case *peer.ApplicationPolicy_ChannelConfigPolicyReference:
		p := c.policies.get(t.ChannelConfigPolicyReference)
		if _, none := p.(noPolicy); none {
			return nil, fmt.Errorf("the channel has no policy %s", clip(t.ChannelConfigPolicyReference))
		}
		return p, nil
	}
	return nil, errors.New("the policy is empty")
}
