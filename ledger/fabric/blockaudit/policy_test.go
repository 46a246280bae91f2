package blockaudit

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"testing"

	"github.com/golang/protobuf/proto"
	"github.com/hyperledger/fabric-protos-go/common"
	"github.com/hyperledger/fabric-protos-go/msp"
	"github.com/hyperledger/fabric-protos-go/peer"
)

func role(t testing.TB, id string, r msp.MSPRole_MSPRoleType) *msp.MSPPrincipal {
	t.Helper()
	return &msp.MSPPrincipal{PrincipalClassification: msp.MSPPrincipal_ROLE, Principal: encoded(t, &msp.MSPRole{MspIdentifier: id, Role: r})}
}

func encoded(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func leaf(i int32) *common.SignaturePolicy {
	return &common.SignaturePolicy{Type: &common.SignaturePolicy_SignedBy{SignedBy: i}}
}

func of(n int32, rules ...*common.SignaturePolicy) *common.SignaturePolicy {
	return &common.SignaturePolicy{Type: &common.SignaturePolicy_NOutOf_{NOutOf: &common.SignaturePolicy_NOutOf{N: n, Rules: rules}}}
}

// somebody is a member of an organisation whose units client, peer, admin and orderer are roles.
func somebody(org, ou, key string) *identity {
	o := &organisation{id: org, roles: map[msp.MSPRole_MSPRoleType]unit{msp.MSPRole_CLIENT: {name: "client"}, msp.MSPRole_PEER: {name: "peer"},
		msp.MSPRole_ADMIN: {name: "admin"}, msp.MSPRole_ORDERER: {name: "orderer"}}}
	return &identity{of: o, key: org + "\x00" + key, issuer: "the CA", cert: &x509.Certificate{Subject: pkix.Name{OrganizationalUnit: []string{ou}}}}
}

func TestSignaturePolicy(t *testing.T) {
	a, b, c := somebody("A", "peer", "1"), somebody("B", "peer", "1"), somebody("C", "peer", "1")
	a2, client, admin := somebody("A", "peer", "2"), somebody("A", "client", "3"), somebody("A", "admin", "4")
	expelled := somebody("A", "peer", "5")
	expelled.member = errors.New("revoked")
	named := somebody("A", "client", "6")
	named.of.admins, named.member = []string{"6"}, errors.New("revoked")
	ps := []*msp.MSPPrincipal{role(t, "A", msp.MSPRole_PEER), role(t, "B", msp.MSPRole_PEER), role(t, "C", msp.MSPRole_PEER), role(t, "A", msp.MSPRole_MEMBER),
		role(t, "A", msp.MSPRole_ADMIN), role(t, "A", msp.MSPRole_CLIENT), role(t, "A", msp.MSPRole_ORDERER),
		{PrincipalClassification: msp.MSPPrincipal_ORGANIZATION_UNIT, Principal: encoded(t, &msp.OrganizationUnit{MspIdentifier: "A", OrganizationalUnitIdentifier: "peer", CertifiersIdentifier: []byte("the CA")})},
		{PrincipalClassification: msp.MSPPrincipal_ORGANIZATION_UNIT, Principal: encoded(t, &msp.OrganizationUnit{MspIdentifier: "A", OrganizationalUnitIdentifier: "peer", CertifiersIdentifier: []byte("another CA")})},
	}
	combined := &msp.MSPPrincipal{PrincipalClassification: msp.MSPPrincipal_COMBINED, Principal: encoded(t, &msp.CombinedPrincipal{Principals: []*msp.MSPPrincipal{ps[0], ps[3]}})}
	neither := &msp.MSPPrincipal{PrincipalClassification: msp.MSPPrincipal_COMBINED, Principal: encoded(t, &msp.CombinedPrincipal{Principals: []*msp.MSPPrincipal{ps[0], ps[5]}})}
	ps = append(ps, combined, neither, &msp.MSPPrincipal{PrincipalClassification: msp.MSPPrincipal_COMBINED}, &msp.MSPPrincipal{PrincipalClassification: 77})
	ids := func(x ...*identity) []*identity { return x }
	for name, c := range map[string]struct {
		rule *common.SignaturePolicy
		by   []*identity
		want bool
	}{
		"one":                         {leaf(0), ids(a), true},
		"another's":                   {leaf(0), ids(b), false},
		"none":                        {leaf(0), nil, false},
		"a client is no peer":         {leaf(0), ids(client), false},
		"an expelled peer":            {leaf(0), ids(expelled), false},
		"any member":                  {leaf(3), ids(client), true},
		"an expelled member":          {leaf(3), ids(expelled), false},
		"an administrator":            {leaf(4), ids(admin), true},
		"a peer is no administrator":  {leaf(4), ids(a), false},
		"an administrator by name":    {leaf(4), ids(named), true}, // as Fabric has it: the config names him, that is enough
		"a client":                    {leaf(5), ids(client), true},
		"an orderer":                  {leaf(6), ids(a), false},
		"a unit":                      {leaf(7), ids(a), true},
		"a unit under another CA":     {leaf(8), ids(a), false},
		"a unit of an expelled":       {leaf(7), ids(expelled), false},
		"peer and member":             {leaf(9), ids(a), true},
		"peer and client":             {leaf(10), ids(a), false},
		"a combination of nothing":    {leaf(11), ids(a), false},
		"an unknown principal":        {leaf(12), ids(a), false},
		"and":                         {of(2, leaf(0), leaf(1)), ids(b, a), true},
		"and, one missing":            {of(2, leaf(0), leaf(1)), ids(a, c), false},
		"or":                          {of(1, leaf(0), leaf(1)), ids(b), true},
		"two of three":                {of(2, leaf(0), leaf(1), leaf(2)), ids(c, a), true},
		"none of three is enough":     {of(0, leaf(0)), nil, true},
		"more than there are":         {of(3, leaf(0), leaf(1)), ids(a, b), false},
		"one signer counts once":      {of(2, leaf(0), leaf(0)), ids(a), false},
		"two signers of one":          {of(2, leaf(0), leaf(0)), ids(a, a2), true},
		"nested":                      {of(2, leaf(0), of(1, leaf(1), leaf(2))), ids(c, a), true},
		"nested, the inner fails":     {of(2, leaf(0), of(2, leaf(1), leaf(2))), ids(c, a), false},
		"a failed branch uses nobody": {of(1, of(2, leaf(0), leaf(1)), leaf(0)), ids(a), true},
		// Greedy, as Fabric is: the member leaf takes the peer that the peer leaf would need.
		"greedy":              {of(2, leaf(3), leaf(0)), ids(a, client), false},
		"greedy, other order": {of(2, leaf(3), leaf(0)), ids(client, a), true},
	} {
		p, err := newSignaturePolicy(&common.SignaturePolicyEnvelope{Rule: c.rule, Identities: ps})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := p.satisfied(c.by); got != c.want {
			t.Errorf("%s: %s by %v: %v", name, p, names(c.by), got)
		}
	}
	deep := leaf(0)
	for range maxNesting {
		deep = of(1, deep)
	}
	for name, rule := range map[string]*common.SignaturePolicy{"nothing": nil, "an empty rule": {}, "an empty rule inside": of(1, leaf(0), nil), "principal -1": leaf(-1),
		"a principal too many": of(1, leaf(13)), "a nested one": deep} {
		if _, err := newSignaturePolicy(&common.SignaturePolicyEnvelope{Rule: rule, Identities: ps}); err == nil {
			t.Errorf("took %s for a policy", name)
		}
	}
	p, err := newSignaturePolicy(&common.SignaturePolicyEnvelope{Identities: ps, Rule: of(2, leaf(0), of(1, leaf(1), leaf(2)), of(2, leaf(3), leaf(4), leaf(5)))})
	if want := "2 OF (A.peer, OR(B.peer, C.peer), 2 OF (A.member, A.admin, A.client))"; err != nil || p.String() != want {
		t.Errorf("%v: %s", err, p)
	}
}

func signaturePolicyOf(t testing.TB, rule *common.SignaturePolicy, ps ...*msp.MSPPrincipal) *common.ConfigPolicy {
	return &common.ConfigPolicy{Policy: &common.Policy{Type: int32(common.Policy_SIGNATURE), Value: encoded(t, &common.SignaturePolicyEnvelope{Rule: rule, Identities: ps})}}
}

func metaPolicyOf(t testing.TB, rule common.ImplicitMetaPolicy_Rule, name string) *common.ConfigPolicy {
	return &common.ConfigPolicy{Policy: &common.Policy{Type: int32(common.Policy_IMPLICIT_META), Value: encoded(t, &common.ImplicitMetaPolicy{Rule: rule, SubPolicy: name})}}
}

func TestMetaPolicy(t *testing.T) {
	org := func(id string) *common.ConfigGroup {
		return &common.ConfigGroup{Policies: map[string]*common.ConfigPolicy{"Endorsement": signaturePolicyOf(t, leaf(0), role(t, id, msp.MSPRole_PEER))}}
	}
	application := &common.ConfigGroup{Groups: map[string]*common.ConfigGroup{"A": org("A"), "B": org("B"), "C": org("C"), "D": {}},
		Policies: map[string]*common.ConfigPolicy{"Any": metaPolicyOf(t, common.ImplicitMetaPolicy_ANY, "Endorsement"), "All": metaPolicyOf(t, common.ImplicitMetaPolicy_ALL, "Endorsement"),
			"Most": metaPolicyOf(t, common.ImplicitMetaPolicy_MAJORITY, "Endorsement")}}
	empty := &common.ConfigGroup{Policies: map[string]*common.ConfigPolicy{"Any": metaPolicyOf(t, common.ImplicitMetaPolicy_ANY, "Endorsement"), "All": metaPolicyOf(t, common.ImplicitMetaPolicy_ALL, "Endorsement"),
		"Most": metaPolicyOf(t, common.ImplicitMetaPolicy_MAJORITY, "Endorsement")}}
	root := &common.ConfigGroup{Groups: map[string]*common.ConfigGroup{"Application": application, "Empty": empty}, Policies: map[string]*common.ConfigPolicy{"Both": metaPolicyOf(t, common.ImplicitMetaPolicy_ALL, "Any")}}
	p, err := newPolicies(rootGroup, root, maxNesting)
	if err != nil {
		t.Fatal(err)
	}
	a, b, c := somebody("A", "peer", "1"), somebody("B", "peer", "1"), somebody("C", "peer", "1")
	for _, x := range []struct {
		name string
		by   []*identity
		want bool
	}{
		{"/Channel/Application/Any", []*identity{c}, true},
		{"/Channel/Application/Any", nil, false},
		{"Application/Any", []*identity{c}, true},
		{"/Channel/Application/Most", []*identity{a, b}, false}, // of four
		{"/Channel/Application/Most", []*identity{a, b, c}, true},
		{"/Channel/Application/All", []*identity{a, b, c}, false}, // D has no such policy, so it never agrees
		{"/Channel/Application/B/Endorsement", []*identity{b}, true},
		{"/Channel/Application/B/Endorsement", []*identity{a}, false},
		{"/Channel/Empty/Any", nil, true}, // no groups: as Fabric has it
		{"/Channel/Empty/All", nil, true},
		{"/Channel/Empty/Most", nil, true},
		{"/Channel/Both", []*identity{a}, true},
		{"/Channel/Both", nil, false},
		{"/Channel/Application/Nothing", []*identity{a, b, c}, false},
		{"/Channel/Nowhere/Any", []*identity{a, b, c}, false},
		{"/Application/Any", []*identity{a}, false},
		{"/Channel", []*identity{a}, false},
		{"", []*identity{a}, false},
	} {
		if got := p.get(x.name).satisfied(x.by); got != x.want {
			t.Errorf("%s by %s: %v", x.name, names(x.by), got)
		}
	}
	for name, g := range map[string]*common.ConfigGroup{
		"an unknown type": {Policies: map[string]*common.ConfigPolicy{"x": {Policy: &common.Policy{Type: 2}}}},
		"no policy":       {Policies: map[string]*common.ConfigPolicy{"x": nil}},
		"another version": {Policies: map[string]*common.ConfigPolicy{"x": {Policy: &common.Policy{Type: 1, Value: encoded(t, &common.SignaturePolicyEnvelope{Version: 1, Rule: of(0)})}}}},
		"garbage":         {Policies: map[string]*common.ConfigPolicy{"x": {Policy: &common.Policy{Type: 3, Value: []byte{0xff}}}}},
		"one below":       {Groups: map[string]*common.ConfigGroup{"g": {Policies: map[string]*common.ConfigPolicy{"x": {}}}}},
	} {
		if _, err := newPolicies(rootGroup, g, maxNesting); err == nil {
			t.Errorf("took policies with %s", name)
		}
	}
}

func TestApplicationPolicy(t *testing.T) {
	root := &common.ConfigGroup{Policies: map[string]*common.ConfigPolicy{"P": signaturePolicyOf(t, leaf(0), role(t, "A", msp.MSPRole_PEER))}}
	ps, err := newPolicies(rootGroup, root, maxNesting)
	if err != nil {
		t.Fatal(err)
	}
	c := &channel{policies: ps}
	a := somebody("A", "peer", "1")
	reference := func(name string) []byte {
		return encoded(t, &peer.ApplicationPolicy{Type: &peer.ApplicationPolicy_ChannelConfigPolicyReference{ChannelConfigPolicyReference: name}})
	}
	own := encoded(t, &peer.ApplicationPolicy{Type: &peer.ApplicationPolicy_SignaturePolicy{SignaturePolicy: &common.SignaturePolicyEnvelope{Rule: leaf(0), Identities: []*msp.MSPPrincipal{role(t, "A", msp.MSPRole_PEER)}}}})
	for _, b := range [][]byte{reference("/Channel/P"), own} {
		p, err := c.applicationPolicy(b)
		if err != nil || !p.satisfied([]*identity{a}) || p.satisfied(nil) {
			t.Errorf("%v %v", p, err)
		}
	}
	for _, b := range [][]byte{nil, {0xff}, reference("/Channel/Q"), reference("")} {
		if p, err := c.applicationPolicy(b); err == nil {
			t.Errorf("took %x for %s", b, p)
		}
	}
}
