package contracts

import (
	"errors"
	"slices"

	"github.com/bund-exchange/bund/contracts/policy"
)

// LookupSuite is the one suite of private lookups: the VOPRF of RFC 9497 over ristretto255 with SHA-512.
const LookupSuite = "ristretto255-SHA512"

// LookupTable is what a provider has promised of one key epoch of private lookup, before anybody asked: the key that
// evaluates, and the published table of sealed records. A consumer that checks both against this entry can't be served
// by a key or a table of its own.
type LookupTable struct {
	Node      ID     `json:"node"`
	Epoch     int64  `json:"epoch"` // 1, 2, 3 …: each ends the one before
	Suite     string `json:"suite"`
	PublicKey []byte `json:"publicKey"` // 32 bytes, an element in its canonical encoding
	Root      Hash   `json:"root"`      // RFC 6962 root of the table's head and then its sealed records in order of tag
	Rows      int64  `json:"rows"`
	Dataset   Hash   `json:"dataset"` // digest of the dataset snapshot that it was made of
	Since     Millis `json:"since"`

	// Cohort is k: how many records a bucket has at least that a consumer may fetch alone. 0: the whole table only.
	Cohort int64 `json:"cohort,omitempty"`

	// ConsentNode is the node of the consent service whose tickets open this table, for consent_lookup.
	ConsentNode ID `json:"consentNode,omitempty"`
}

// KeyLookup is where a version's current lookup table stands.
func KeyLookup(version ID) string { return "lookup/" + string(version) }

// LookupCommit begins a key epoch. It is sent by the node's machine, before the table is served.
type LookupCommit struct {
	Version     ID     `json:"version"`
	Node        ID     `json:"node"`
	Epoch       int64  `json:"epoch"`
	Suite       string `json:"suite"`
	PublicKey   []byte `json:"publicKey"`
	Root        Hash   `json:"root"`
	Rows        int64  `json:"rows"`
	Dataset     Hash   `json:"dataset"`
	Cohort      int64  `json:"cohort,omitempty"`
	ConsentNode ID     `json:"consentNode,omitempty"`
}

// Check reports a table that nobody could use.
func (b LookupCommit) Check() error {
	switch {
	case b.Suite != LookupSuite:
		return errors.New("suite is " + LookupSuite)
	case len(b.PublicKey) != 32:
		return errors.New("publicKey has 32 bytes")
	case b.Epoch < 1 || b.Rows < 1 || b.Cohort < 0 || b.Cohort > b.Rows:
		return errors.New("want epoch and rows from 1, and a cohort of at most rows")
	}
	return nil
}

var lookupKinds = []*spec{
	kind("lookup.commit", applyLookupCommit, by(RoleProvider), public),
}

func applyLookupCommit(t *tx, b *LookupCommit) *Refusal {
	v, _, r := t.ownVersion(b.Version)
	if r != nil {
		return r
	}
	if r := v.want(Registered, Listed, ListingSuspended, Delisted); r != nil {
		return r
	}
	bound := slices.Contains(v.Facts.Modes, policy.ConsentLookup)
	if !bound && !slices.Contains(v.Facts.Modes, policy.PrivateLookup) {
		return refuse("lookup.mode", "the product is not delivered by private lookup").at("version")
	}
	if _, r := t.servingNode(b.Node, t.me(), "node"); r != nil {
		return r
	}
	d, ok := get[Dataset](t, KeyDataset(b.Version))
	if !ok || d.Digest != b.Dataset {
		return refuse("lookup.dataset", "the table is not of the dataset snapshot that was reported last").at("dataset")
	}
	if b.Cohort != 0 && b.Cohort < v.Facts.Policy.MinimumCohort {
		return refuse("lookup.cohort", "a bucket holds at least the policy's minimum of %d records", v.Facts.Policy.MinimumCohort).at("cohort")
	}
	old, ok := get[LookupTable](t, KeyLookup(b.Version))
	if !ok {
		old = &LookupTable{}
	}
	if b.Epoch != old.Epoch+1 {
		return refuse("lookup.epoch", "the next key epoch is %d, and it has one key", old.Epoch+1).at("epoch")
	}
	if slices.Equal(b.PublicKey, old.PublicKey) {
		return refuse("lookup.key", "a new epoch has a new key").at("publicKey")
	}
	if (b.ConsentNode != "") != bound {
		return refuse("lookup.consent_service", "tables of consent_lookup name the consent service's node, and only those").at("consentNode")
	}
	if bound {
		if _, r := t.consentService(b.ConsentNode, t.me(), "consentNode"); r != nil {
			return r
		}
	}
	t.put(KeyLookup(b.Version), LookupTable{Node: b.Node, Epoch: b.Epoch, Suite: b.Suite, PublicKey: b.PublicKey, Root: b.Root, Rows: b.Rows,
		Dataset: b.Dataset, Since: t.env.Now, Cohort: b.Cohort, ConsentNode: b.ConsentNode})
	t.event("lookup.committed", b.Version)
	return nil
}

// consentService gives the member behind the node of a consent service that is neutral to other: no affiliate of it or
// of the venue, and neither of them.
func (t *tx) consentService(node, other ID, field string) (ID, *Refusal) {
	n, ok := get[Node](t, KeyNode(node))
	if !ok {
		return "", refuse("node.unknown", "there is no such node").at(field)
	}
	if n.Retired != 0 {
		return "", refuse("node.retired", "the node is retired").at(field)
	}
	s, r := t.activeMember(n.Member)
	if r != nil {
		return "", r.at(field)
	}
	if !s.Has(RoleConsentService) {
		return "", refuse("lookup.consent_service", "this is no node of a consent service").at(field)
	}
	o, r := t.member(other)
	if r != nil {
		return "", r.at(field)
	}
	if n.Member == other || s.affiliateOf(o) || s.Has(RoleVenue) {
		return "", refuse("lookup.neutral", "a consent service is neither party, nor an affiliate of one, nor the venue").at(field)
	}
	return n.Member, nil
}

// openTable gives the table that a private lookup asks, when the epoch is the present one and this node serves it.
func (t *tx) openTable(version, node ID, epoch int64) (*LookupTable, *Refusal) {
	l, ok := get[LookupTable](t, KeyLookup(version))
	if !ok || l.Node != node {
		return nil, refuse("lookup.none", "this node has committed no table for the product")
	}
	if l.Epoch != epoch {
		return nil, refuse("lookup.epoch", "the present key epoch is %d", l.Epoch)
	}
	return l, nil
}
