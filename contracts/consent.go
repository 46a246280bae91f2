package contracts

import (
	"errors"
	"slices"

	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/policy"
)

// Consent is a company's or person's authorisation. Its id is random; Subject is keyed with a key that only the bank
// and the one node named in it hold, so no stable pseudonym of a company is on the ledger.
type Consent struct {
	Buyer    ID             `json:"buyer"`
	Product  ID             `json:"product"`
	Node     ID             `json:"node"` // the provider's node that checks it and counts its calls
	Subject  Hash           `json:"subject"`
	Purpose  policy.Purpose `json:"purpose"`
	Fields   []string       `json:"fields"`
	From     Millis         `json:"from"`
	To       Millis         `json:"to"`
	MaxCalls int64          `json:"maxCalls"`
	Form     string         `json:"form"` // "own_key" or "channel": who vouches
	Revoked  Millis         `json:"revoked,omitempty"`

	// form channel: registered by the bank from its own channel
	Channel *ChannelEvidence `json:"channel,omitempty"`
	// form own_key: signed with a key made on the company's own phone
	Holder   PublicKey `json:"holder,omitempty"`
	Verifier ID        `json:"verifier,omitempty"`

	Sampled  Millis `json:"sampled,omitempty"`  // the source authority asked for the original
	Produced Hash   `json:"produced,omitempty"` // digest of the original that the bank then produced
}

// KeyConsent is where a consent stands.
func KeyConsent(id ID) string { return "consent/" + string(id) }

// ChannelEvidence says how the bank obtained the consent.
type ChannelEvidence struct {
	SignerRole  string `json:"signerRole"`  // "legal_representative", "finance_head"
	RealName    string `json:"realName"`    // method of the real-name check
	TextVersion string `json:"textVersion"` // of the consent text
	Original    Hash   `json:"original"`    // digest of the signed original, which the bank keeps
	CASignature Hash   `json:"caSignature"` // digest of the CA's signature over it
}

// Check refuses evidence of nothing.
func (c ChannelEvidence) Check() error {
	if c.SignerRole == "" || c.RealName == "" || c.TextVersion == "" {
		return errors.New("signerRole, realName and textVersion are stated")
	}
	return nil
}

// ConsentScope is what is consented to.
type ConsentScope struct {
	Product  ID             `json:"product"`
	Node     ID             `json:"node"`
	Subject  Hash           `json:"subject"`
	Purpose  policy.Purpose `json:"purpose"`
	Fields   []string       `json:"fields"`
	From     Millis         `json:"from"`
	To       Millis         `json:"to"`
	MaxCalls int64          `json:"maxCalls"`
}

// Check refuses a scope without fields, calls or term.
func (s ConsentScope) Check() error {
	switch {
	case len(s.Fields) == 0 || !unique(s.Fields):
		return errors.New("fields is empty or repeats one")
	case s.MaxCalls < 1:
		return errors.New("maxCalls is at least 1")
	case s.From == 0 || s.To <= s.From:
		return errors.New("want from < to")
	}
	return nil
}

// ConsentRegister registers consents from the bank's own channel, one or a batch. Their ids are ConsentID(command, i).
type ConsentRegister struct {
	Consents []ChannelConsent `json:"consents"`
}

// ChannelConsent is one of them.
type ChannelConsent struct {
	Scope    ConsentScope    `json:"scope"`
	Evidence ChannelEvidence `json:"evidence"`
}

// ConsentID is the id of the i-th consent of a command.
func ConsentID(command ID, i int) ID { return ObjectID(command, "consent/"+itoa(i)) }

// ConsentPresent puts a consent on the ledger that the company signed itself. The bank carries it; the company's key
// and the identity verifier vouch for it.
type ConsentPresent struct {
	Buyer     ID           `json:"buyer"`
	Scope     ConsentScope `json:"scope"`
	Holder    PublicKey    `json:"holder"`    // made on the company's own phone
	Signature Signed       `json:"signature"` // by Holder, over ConsentStatement
	Verifier  ID           `json:"verifier"`
	Attested  Signed       `json:"attested"` // by a command key of the verifier, over VerifierStatement
}

// Signed is a signature inside a body.
type Signed struct {
	Key PublicKey `json:"key"`
	Sig []byte    `json:"sig"`
}

// ConsentStatement is what the company's key signs.
func ConsentStatement(ledger string, buyer ID, s ConsentScope) []byte {
	return append([]byte("bund/consent/v1\x00"), canon.Marshal(struct {
		Buyer  ID           `json:"buyer"`
		Ledger string       `json:"ledger"`
		Scope  ConsentScope `json:"scope"`
	}{buyer, ledger, s})...)
}

// VerifierStatement is what the identity verifier signs: this key is that of the company behind this subject.
func VerifierStatement(ledger string, subject Hash, holder PublicKey) []byte {
	return append([]byte("bund/consent-holder/v1\x00"), canon.Marshal(struct {
		Holder  PublicKey `json:"holder"`
		Ledger  string    `json:"ledger"`
		Subject Hash      `json:"subject"`
	}{holder, ledger, subject})...)
}

// ConsentRevoke ends a consent at once; what was used stays used. By the bank on the company's word, or carrying the
// company's own signature over RevokeStatement, by any member.
type ConsentRevoke struct {
	Consent   ID      `json:"consent"`
	Signature *Signed `json:"signature,omitempty"`
}

// RevokeStatement is what the company's key signs to revoke.
func RevokeStatement(ledger string, consent ID) []byte {
	return append([]byte("bund/consent-revoke/v1\x00"), canon.Marshal(struct {
		Consent ID     `json:"consent"`
		Ledger  string `json:"ledger"`
	}{consent, ledger})...)
}

// ConsentSample is the source authority's demand to see the original of a channel consent.
type ConsentSample struct {
	Consent ID `json:"consent"`
}

// ConsentProduce is the bank's answer: the digest of the original that it handed over.
type ConsentProduce struct {
	Consent  ID   `json:"consent"`
	Original Hash `json:"original"`
}

var consentKinds = []*spec{
	kind("consent.register", applyConsentRegister, by(RoleBuyer), personal),
	kind("consent.present", applyConsentPresent, by(RoleBuyer)),
	kind("consent.revoke", applyConsentRevoke, by("")),
	kind("consent.sample", applyConsentSample, by(RoleSourceAuthority, DutyMaker)),
	kind("consent.produce", applyConsentProduce, by(RoleBuyer, DutyMaker)),
}

// checkScope gives the member behind the node that checks the consent: the provider, or a consent service.
func (t *tx) checkScope(s *ConsentScope) (checks ID, r *Refusal) {
	p, ok := peek[Product](t, KeyProduct(s.Product))
	if !ok {
		return "", refuse("product.unknown", "no product has this id").at("scope.product")
	}
	t.ahead(KeyMember(p.Provider))
	if n, ok := get[Node](t, KeyNode(s.Node)); ok && n.Member != p.Provider && t.runsConsents(n.Member) {
		if checks, r = t.consentService(s.Node, p.Provider, "scope.node"); r != nil {
			return "", r
		}
		if _, r := t.consentService(s.Node, t.me(), "scope.node"); r != nil {
			return "", r
		}
	} else if _, r := t.servingNode(s.Node, p.Provider, "scope.node"); r != nil {
		return "", r
	} else {
		checks = p.Provider
	}
	if s.To > s.From.Add(t.rules.MaxConsentDays*86400) {
		return "", refuse("consent.term", "a consent lasts %d days at most", t.rules.MaxConsentDays).at("scope.to")
	}
	if s.To <= t.env.Now {
		return "", refuse("consent.term", "the consent has ended before it began").at("scope.to")
	}
	return checks, nil
}

func (t *tx) runsConsents(member ID) bool {
	m, ok := get[Member](t, KeyMember(member))
	return ok && m.Has(RoleConsentService)
}

func (s *ConsentScope) consent(buyer ID) Consent {
	return Consent{Buyer: buyer, Product: s.Product, Node: s.Node, Subject: s.Subject, Purpose: s.Purpose, Fields: s.Fields,
		From: s.From, To: s.To, MaxCalls: s.MaxCalls}
}

func applyConsentRegister(t *tx, b *ConsentRegister) *Refusal {
	if n := len(b.Consents); n == 0 || n > 200 {
		return refuse("consent.batch", "a batch has 1 to 200 consents").at("consents")
	}
	for i := range b.Consents {
		s := &b.Consents[i].Scope
		t.ahead(KeyProduct(s.Product), KeyNode(s.Node))
	}
	for i, cc := range b.Consents {
		checks, r := t.checkScope(&cc.Scope)
		if r != nil {
			r.Field = "consents." + itoa(i) + "." + r.Field
			return r
		}
		c := cc.Scope.consent(t.me())
		c.Form, c.Channel = "channel", &cc.Evidence
		id := ConsentID(t.cmd.ID, i)
		t.put(KeyConsent(id), c)
		t.audience(t.me(), checks)
		t.event("consent.registered", id)
	}
	return nil
}

func applyConsentPresent(t *tx, b *ConsentPresent) *Refusal {
	if b.Buyer != t.me() {
		return refuse("consent.foreign", "the consent names another bank").at("buyer")
	}
	checks, r := t.checkScope(&b.Scope)
	if r != nil {
		return r
	}
	if b.Signature.Key != b.Holder || !b.Holder.Verify(ConsentStatement(t.env.Ledger, b.Buyer, b.Scope), b.Signature.Sig) {
		return refuse("consent.signature", "the company's signature does not verify").at("signature")
	}
	verifier, r := t.activeMember(b.Verifier)
	if r != nil {
		return r.at("verifier")
	}
	if !verifier.Has(RoleVerifier) {
		return refuse("member.role", "a key's holder is attested by an identity verifier").at("verifier")
	}
	if b.Verifier == t.me() {
		return refuse("consent.verifier", "the bank does not attest its own customer's key").at("verifier")
	}
	k, ok := get[Key](t, KeyKey(b.Attested.Key.ID()))
	if !ok || k.Member != b.Verifier {
		return refuse("key.foreign", "the attesting key is not the verifier's").at("attested.key")
	}
	if r := k.usable(PurposeCommand, t.env.Now); r != nil {
		return r.at("attested.key")
	}
	if !b.Attested.Key.Verify(VerifierStatement(t.env.Ledger, b.Scope.Subject, b.Holder), b.Attested.Sig) {
		return refuse("consent.signature", "the verifier's signature does not verify").at("attested")
	}
	c := b.Scope.consent(t.me())
	c.Form, c.Holder, c.Verifier = "own_key", b.Holder, b.Verifier
	id := ConsentID(t.cmd.ID, 0)
	t.put(KeyConsent(id), c)
	t.audience(t.me(), checks)
	t.event("consent.registered", id)
	return nil
}

func (t *tx) consent(id ID) (*Consent, *Refusal) {
	c, ok := get[Consent](t, KeyConsent(id))
	if !ok {
		return nil, refuse("consent.unknown", "no consent of this member has this id").at("consent")
	}
	return c, nil
}

// authorityOf gives the source authority that the listed version of a product rests on, or "".
func (t *tx) authorityOf(product ID) ID {
	p, ok := get[Product](t, KeyProduct(product))
	if !ok || p.Listed == "" {
		return ""
	}
	v, ok := get[Version](t, KeyVersion(p.Listed))
	if !ok || v.Facts.Authorization == "" {
		return ""
	}
	a, ok := get[SourceAuthorization](t, KeyAuthorization(v.Facts.Authorization))
	if !ok {
		return ""
	}
	return a.Authority
}

// consentAudience names who is to see that the consent changed: the bank and the member whose node checks it.
func (t *tx) consentAudience(c *Consent) {
	t.audience(c.Buyer)
	if n, ok := get[Node](t, KeyNode(c.Node)); ok {
		t.audience(n.Member)
	}
}

func applyConsentRevoke(t *tx, b *ConsentRevoke) *Refusal {
	c, r := t.consent(b.Consent)
	if r != nil {
		return r
	}
	switch {
	case b.Signature != nil:
		if c.Holder == "" || b.Signature.Key != c.Holder || !c.Holder.Verify(RevokeStatement(t.env.Ledger, b.Consent), b.Signature.Sig) {
			return refuse("consent.signature", "the signature is not of the key that consented").at("signature")
		}
	case c.Buyer != t.me():
		return refuse("consent.unknown", "no consent of this member has this id").at("consent")
	}
	if c.Revoked != 0 {
		return refuse("consent.revoked", "the consent was revoked").at("consent")
	}
	c.Revoked = t.env.Now
	t.put(KeyConsent(b.Consent), c)
	t.consentAudience(c)
	t.event("consent.revoked", b.Consent)
	return nil
}

func applyConsentSample(t *tx, b *ConsentSample) *Refusal {
	c, r := t.consent(b.Consent)
	if r != nil {
		return r
	}
	if c.Form != "channel" {
		return refuse("consent.form", "samples are drawn of consents that a bank registered").at("consent")
	}
	if c.Sampled != 0 {
		return refuse("consent.sampled", "the original was asked for").at("consent")
	}
	if t.authorityOf(c.Product) != t.me() {
		return refuse("consent.foreign", "the product rests on no authorisation of this authority").at("consent")
	}
	c.Sampled = t.env.Now
	t.put(KeyConsent(b.Consent), c)
	t.consentAudience(c)
	t.audience(t.me())
	t.event("consent.sampled", b.Consent)
	return nil
}

func applyConsentProduce(t *tx, b *ConsentProduce) *Refusal {
	c, r := t.consent(b.Consent)
	if r != nil || c.Buyer != t.me() {
		return refuse("consent.unknown", "no consent of this member has this id").at("consent")
	}
	if c.Sampled == 0 {
		return refuse("consent.not_sampled", "nobody asked for the original").at("consent")
	}
	if c.Channel == nil || b.Original != c.Channel.Original {
		return refuse("consent.original", "this is not the original that was registered").at("original")
	}
	c.Produced = b.Original
	t.put(KeyConsent(b.Consent), c)
	t.consentAudience(c)
	t.audience(t.authorityOf(c.Product))
	t.event("consent.produced", b.Consent)
	return nil
}

// covers refuses a use beyond the consent.
func (c *Consent) covers(buyer, product, node ID, subject Hash, purpose policy.Purpose, fields []string, now Millis) *Refusal {
	switch {
	case c.Buyer != buyer:
		return refuse("consent.foreign", "the consent is for another bank")
	case c.Product != product:
		return refuse("consent.foreign", "the consent is for another product")
	case c.Node != node:
		return refuse("consent.node", "the consent names another node to check it")
	case c.Subject != subject:
		return refuse("consent.subject", "the consent is another subject's")
	case c.Revoked != 0:
		return refuse("consent.revoked", "the consent was revoked")
	case now < c.From || now >= c.To:
		return refuse("consent.term", "the consent is not in force now")
	case c.Purpose != purpose:
		return refuse("consent.purpose", "the consent is for another purpose")
	}
	for i, f := range fields {
		if i < len(c.Fields) && c.Fields[i] == f { // mostly all of them, in their order
			continue
		}
		if !slices.Contains(c.Fields, f) {
			return refuse("consent.field", "the consent does not cover every field")
		}
	}
	return nil
}
