package contractstest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/contracts/signing"
)

// Executor is whatever applies submissions: the pure rules, an embedded ledger, a chaincode. It answers what the
// command's ledger answered; a refusal is a *contracts.Refusal.
type Executor interface {
	Submit(ctx context.Context, sub contracts.Submission) error
}

// Actor is a member with its people, machine and node keys.
type Actor struct {
	ID    contracts.ID
	App   contracts.Application
	Admin signing.Key // administrator
	Maker signing.Key // maker, finance
	Check signing.Key // checker
	Audit signing.Key // auditor
	// of machines
	Machine signing.Key // command key
	TLS     signing.Key
	Receipt signing.Key
	Node    contracts.ID // once registered
}

// Credit codes of members that Begin makes on a secret market, known before they are there.
var (
	CustodianCode = contracts.SyntheticCreditCode(secretCodes + 3)
	ProviderCode  = contracts.SyntheticCreditCode(secretCodes + 5)
	BuyerCode     = contracts.SyntheticCreditCode(secretCodes + 6)
)

const secretCodes = 1000

// Person gives the id of the actor's i-th person: 0 administrator, 1 maker, 2 checker, 3 auditor.
func (a *Actor) Person(i int) contracts.ID { return contracts.PersonID(a.ID, i) }

// Two gives maker and checker, whom most kinds need.
func (a *Actor) Two() []signing.Key { return []signing.Key{a.Maker, a.Check} }

// Market is a cast of members on a ledger with a scripted clock. All randomness comes from the seed: the same steps
// give the same bytes.
type Market struct {
	Ledger string
	Exec   Executor
	Now    contracts.Millis

	Venue, Regulator, Custodian, Authority *Actor
	Provider, Buyer                        *Actor
	LawFirm, Assessor, Appraiser, Verifier *Actor

	// NodeURL is where the provider's node will be reached.
	NodeURL string
	// Seeds gives back the seed of every key that the market made, for those who write keys to files.
	Seeds map[contracts.PublicKey][32]byte

	rng   *rand.Rand
	code  uint32
	last  contracts.ID // id of the last command
	rules contracts.Rulebook
}

// NewMarket prepares a market; nothing is submitted yet.
func NewMarket(ledger string, exec Executor, seed uint64) *Market {
	return newMarket(ledger, exec, rand.New(rand.NewPCG(seed, 1)), uint32(seed)*1000)
}

// NewSecretMarket is NewMarket with keys that nobody can guess who does not know the seed.
func NewSecretMarket(ledger string, exec Executor, seed [32]byte) *Market {
	return newMarket(ledger, exec, rand.New(rand.NewChaCha8(seed)), secretCodes)
}

func newMarket(ledger string, exec Executor, rng *rand.Rand, code uint32) *Market {
	return &Market{Ledger: ledger, Exec: exec, Now: Start, Seeds: map[contracts.PublicKey][32]byte{}, NodeURL: "https://127.0.0.1:7443", rng: rng, code: code, rules: Rules()}
}

// Start is when scripted markets begin: Monday 2026-03-02 09:00 in Shanghai.
const Start contracts.Millis = 1772413200000

// Random fills an array from the market's seed.
func (m *Market) Random() (b [32]byte) {
	for i := range b {
		b[i] = byte(m.rng.Uint32())
	}
	return b
}

// Key makes a key from the market's seed.
func (m *Market) Key() signing.Key {
	seed := m.Random()
	k := signing.Ed25519(seed)
	m.Seeds[k.Public] = seed
	return k
}

// Actor makes a member with its keys; it is on no ledger yet.
func (m *Market) Actor(name string, roles ...contracts.Role) *Actor {
	a := &Actor{Admin: m.Key(), Maker: m.Key(), Check: m.Key(), Audit: m.Key(), Machine: m.Key(), TLS: m.Key(), Receipt: m.Key()}
	m.code++
	person := func(k signing.Key, duties ...contracts.Duty) contracts.PersonSpec {
		return contracts.PersonSpec{Duties: duties, Evidence: contracts.HashOf("test/evidence", []byte(k.Public)),
			Keys: []contracts.KeySpec{{Key: k.Public, Purpose: contracts.PurposeCommand}}}
	}
	a.App = contracts.Application{
		Name: name + "（示例）", NameEn: name, CreditCode: contracts.SyntheticCreditCode(m.code), Roles: roles,
		Controllers: []contracts.Hash{contracts.HashOf("bund/controller/v1", []byte(name))},
		People: []contracts.PersonSpec{person(a.Admin, contracts.DutyAdministrator), person(a.Maker, contracts.DutyMaker, contracts.DutyFinance),
			person(a.Check, contracts.DutyChecker), person(a.Audit, contracts.DutyAuditor)},
		Keys: []contracts.KeySpec{{Key: a.Machine.Public, Purpose: contracts.PurposeCommand}, {Key: a.TLS.Public, Purpose: contracts.PurposeTLS},
			{Key: a.Receipt.Public, Purpose: contracts.PurposeReceipt}},
	}
	for _, k := range []contracts.FileKind{contracts.FileLicence, contracts.FileAgentAuthority, contracts.FileControllerChain,
		contracts.FileSecurityCertificate, contracts.FileUndertaking} {
		f := contracts.File{Kind: k, Digest: contracts.HashOf("test/file", []byte(name), []byte(k))}
		if k == contracts.FileSecurityCertificate {
			f.Expires = m.Now.Add(365 * 86400)
		}
		a.App.Files = append(a.App.Files, f)
	}
	return a
}

// Sign makes a submission; the first key leads.
func (m *Market) Sign(member contracts.ID, kind string, body any, openings []contracts.Opening, keys ...signing.Key) contracts.Submission {
	r := m.Random()
	sub, id := signing.Sign(contracts.Unsigned{Ledger: m.Ledger, Member: member, Kind: kind, Body: body, NotBefore: m.Now, Random: [10]byte(r[:10])}, openings, keys...)
	m.last = id
	return sub
}

// Do signs and submits.
func (m *Market) Do(member contracts.ID, kind string, body any, openings []contracts.Opening, keys ...signing.Key) error {
	if err := m.Exec.Submit(context.Background(), m.Sign(member, kind, body, openings, keys...)); err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	return nil
}

// Together tells stories none of which depends on another. They are told one after the other, so that ids and signed
// bytes are the same wherever they go; an executor with a Together of its own may submit what they submit afterwards, side
// by side, each story in its order.
func (m *Market) Together(stories ...func() error) error {
	if x, ok := m.Exec.(interface {
		Together(stories []func() error) error
	}); ok {
		return x.Together(stories)
	}
	for _, tell := range stories {
		if err := tell(); err != nil {
			return err
		}
	}
	return nil
}

// Last gives the id of the object that the last command made.
func (m *Market) Last(noun string) contracts.ID { return contracts.ObjectID(m.last, noun) }

// LastCommand gives the id of the last command.
func (m *Market) LastCommand() contracts.ID { return m.last }

// Advance moves the scripted clock.
func (m *Market) Advance(sec int64) error {
	to := m.Now.Add(sec)
	err := m.Do(m.Venue.ID, "clock.advance", contracts.ClockAdvance{To: to}, nil, m.Venue.Machine)
	m.Now = to
	return err
}

// Rules is the rulebook that test markets begin with.
func Rules() contracts.Rulebook {
	return contracts.Rulebook{
		Version: 1, TimeSkewSec: 60, PublicityWorkingDays: 3,
		AdmissionFiles: []contracts.FileKind{contracts.FileLicence, contracts.FileAgentAuthority, contracts.FileControllerChain,
			contracts.FileSecurityCertificate, contracts.FileUndertaking},
		AdmissionChecks: []string{"business_licence"},
		ListingRequires: []contracts.AttestationType{contracts.LegalOpinion, contracts.QualityReport, contracts.ValuationType},
		Scenarios: []contracts.Scenario{{Code: "sme-tax-loan-pre", Zh: "小微纳税信用贷贷前准入", En: "SME tax-credit loan, pre-loan"},
			{Code: "quota-review", Zh: "额度年审", En: "annual quota review"}},
		BuyerFeeBasisPoints: 100, ProviderFeeBasisPoint: 200, WarnPercents: []int64{50, 80, 95}, MaxGraceDays: 30,
		MaxUnitPrice: 1_000_000_000, MaxConsentDays: 730, MaxStaleSec: 600, WitnessKeys: []string{},
	}
}

// Begin submits the genesis and admits the cast.
func (m *Market) Begin() error { return m.BeginWith(Rules()) }

// BeginWith is Begin under another first rulebook.
func (m *Market) BeginWith(rules contracts.Rulebook) error {
	m.Venue, m.Regulator = m.Actor("外滩数据交易所", contracts.RoleVenue), m.Actor("市数据局", contracts.RoleRegulator)
	m.rules = rules
	cal := contracts.Calendar2026()
	err := m.Do("", "genesis", contracts.Genesis{Clock: "scripted", Sample: true, Start: m.Now, Rulebook: rules, Calendars: []contracts.Calendar{cal},
		Venue: m.Venue.App, Regulator: m.Regulator.App}, nil, m.Venue.Maker, m.Venue.Check, m.Regulator.Maker, m.Regulator.Check)
	if err != nil {
		return err
	}
	m.Venue.ID, m.Regulator.ID = m.Last("venue"), m.Last("regulator")
	var admissions, nodes []func() error
	for _, c := range []struct {
		to    **Actor
		name  string
		roles []contracts.Role
	}{
		{&m.Custodian, "江畔存管银行", []contracts.Role{contracts.RoleCustodian}},
		{&m.Authority, "市税务局", []contracts.Role{contracts.RoleSourceAuthority}},
		{&m.Provider, "浦江公共数据运营", []contracts.Role{contracts.RoleProvider}},
		{&m.Buyer, "江湾城市商业银行", []contracts.Role{contracts.RoleBuyer}},
		{&m.LawFirm, "锦衡律师事务所", []contracts.Role{contracts.RoleIntermediary}},
		{&m.Assessor, "明衡质量评估", []contracts.Role{contracts.RoleAssessment}},
		{&m.Appraiser, "申信资产评估", []contracts.Role{contracts.RoleAssessment}},
		{&m.Verifier, "浦江身份核验", []contracts.Role{contracts.RoleVerifier}},
	} {
		admissions = append(admissions, func() error {
			*c.to = m.Actor(c.name, c.roles...)
			return m.Admit(*c.to)
		})
	}
	if err := m.Together(admissions...); err != nil {
		return err
	}
	for _, a := range []*Actor{m.Provider, m.Buyer} {
		nodes = append(nodes, func() error {
			url := ""
			if a == m.Provider {
				url = m.NodeURL
			}
			err := m.Do(a.ID, "node.register", contracts.NodeRegister{TLSKey: a.TLS.Public.ID(), ReceiptKey: a.Receipt.Public.ID(), URL: url, Region: "CN-31"}, nil, a.Admin)
			a.Node = m.Last("node")
			return err
		})
	}
	return m.Together(nodes...)
}

// Admit files an actor's application, records its checks and admits it.
func (m *Market) Admit(a *Actor) error {
	if err := m.Do("", "member.apply", contracts.MemberApply{Application: a.App}, nil, a.Admin, a.Check); err != nil {
		return err
	}
	a.ID = m.Last("member")
	err := m.Do(m.Venue.ID, "member.check", contracts.IdentityCheck{Member: a.ID, Method: "business_licence", Passed: true, Checked: m.Now,
		Evidence: contracts.HashOf("test/check", []byte(a.ID)), Operator: m.Venue.Person(1)}, nil, m.Venue.Maker)
	if err != nil {
		return err
	}
	return m.Do(m.Venue.ID, "member.admit", contracts.MemberAdmit{Applicant: a.ID}, nil, m.Venue.Two()...)
}

// Fields are those of the test product.
var Fields = []string{"invoiced_12m", "red_ratio", "tax_score"}

// Policy is a policy over the test product's fields.
func Policy(purposes ...policy.Purpose) policy.Policy {
	return policy.Policy{Purposes: purposes, Operations: []policy.Operation{policy.Query}, Fields: Fields, Regions: []policy.Region{"CN-31"},
		RetentionDays: 180, ConsentRequired: true, Prohibitions: []policy.Prohibition{policy.Distribute, policy.TransferAbroad},
		Duties: []policy.Duty{policy.Delete}}.Ordered()
}

// Facts are those of the test product.
func (m *Market) Facts(authorization contracts.ID) contracts.Facts {
	return contracts.Facts{
		Title: "纳税经营指标（12 月）", TitleEn: "Tax and business indicators, 12 months", Manual: contracts.HashOf("test/manual"), Dictionary: contracts.HashOf("test/dictionary"),
		Fields: Fields, Grade: "L3", Source: contracts.SourceAuthorized, Authorization: authorization, DataGroups: []string{"tax.vat_returns"},
		CreditInfo: true, Licence: "企业征信备案 示例-001", Routing: "市融资信用服务平台 示例-R1", SubjectVisibility: "identified",
		Modes: []policy.Operation{policy.Query}, Scenarios: []string{"quota-review", "sme-tax-loan-pre"},
		Policy: Policy(policy.PreLoan, policy.QuotaReview, policy.Evaluation), UnitPrice: 800_000, Sample: contracts.HashOf("test/sample"), SampleKind: "synthetic",
		ServiceLevel: contracts.ServiceLevel{AvailabilityBasisPoints: 9990, P99Ms: 300, FreshnessHours: 48, ChangeNoticeDays: 30},
	}
}

// Authorize lets the provider operate the authority's data.
func (m *Market) Authorize() (contracts.ID, error) {
	err := m.Do(m.Authority.ID, "authority.grant", contracts.AuthorityGrant{Operator: m.Provider.ID, Scope: []string{"tax.vat_returns"},
		Scenarios: []string{"quota-review", "sme-tax-loan-pre"}, From: m.Now, To: m.Now.Add(3 * 365 * 86400), Ceiling: 2_000_000,
		Basis: contracts.HashOf("test/basis")}, nil, m.Authority.Two()...)
	return m.Last("authorization"), err
}

// Listing is a product version on its way to the shelf.
type Listing struct {
	Product, Version contracts.ID
	Facts            contracts.Facts
	Attestations     []contracts.ID
}

// Draft drafts a product and reports its dataset.
func (m *Market) Draft(f contracts.Facts) (*Listing, error) {
	p := m.Provider
	if err := m.Do(p.ID, "product.draft", contracts.ProductDraft{Facts: f}, nil, p.Maker); err != nil {
		return nil, err
	}
	l := &Listing{Product: m.Last("product"), Version: m.Last("version"), Facts: f}
	err := m.Do(p.ID, "dataset.report", contracts.DatasetReport{Version: l.Version, Node: p.Node, Digest: contracts.HashOf("test/dataset"), Schema: f.Dictionary,
		Rows: 5850, AsOf: m.Now, Quality: []contracts.QualityFigure{{Dimension: "completeness", Rule: "not empty", Satisfying: 99, Tested: 100}}}, nil, p.Machine)
	return l, err
}

// Attest issues the three attestations that listing requires.
func (m *Market) Attest(l *Listing) error {
	v := contracts.Version{Facts: l.Facts}
	for _, x := range []struct {
		by  *Actor
		typ contracts.AttestationType
	}{{m.LawFirm, contracts.LegalOpinion}, {m.Assessor, contracts.QualityReport}, {m.Appraiser, contracts.ValuationType}} {
		err := m.Do(x.by.ID, "attestation.issue", contracts.AttestationIssue{Version: l.Version, Subject: v.Digest(l.Version), Type: x.typ, Verdict: "tradable",
			Document: contracts.HashOf("test/document", []byte(x.typ)), Expires: m.Now.Add(300 * 86400)}, nil, x.by.Two()...)
		if err != nil {
			return err
		}
		l.Attestations = append(l.Attestations, m.Last("attestation"))
	}
	return nil
}

// Review takes a draft through submission and both reviews into publicity.
func (m *Market) Review(l *Listing) error {
	if err := m.Do(m.Provider.ID, "product.submit", contracts.VersionSubmit{Version: l.Version}, nil, m.Provider.Two()...); err != nil {
		return err
	}
	for _, decision := range []string{"accept", "pass", "pass"} {
		err := m.Do(m.Venue.ID, "product.review", contracts.VersionReview{Version: l.Version, Decision: decision, Checklist: contracts.HashOf("test/checklist")}, nil, m.Venue.Check)
		if err != nil {
			return err
		}
	}
	return nil
}

// List takes a product from draft to the shelf, past its publicity.
func (m *Market) List(f contracts.Facts) (*Listing, error) {
	l, err := m.Draft(f)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(m.Attest(l), m.Review(l), m.Advance(8*86400)); err != nil {
		return nil, err
	}
	if err := m.Do(m.Venue.ID, "product.register", contracts.VersionRegister{Version: l.Version, Region: "310115"}, nil, m.Venue.Two()...); err != nil {
		return nil, err
	}
	return l, m.Do(m.Venue.ID, "product.list", contracts.VersionList{Version: l.Version, Attestations: l.Attestations}, nil, m.Venue.Two()...)
}

// Terms are prepaid terms for the test product.
func Terms() contracts.Terms {
	return contracts.Terms{Billing: contracts.Prepaid, UnitPrice: 800_000, BillOn: "found", FlatFee: 300_000, Escrow: 1_000_000, GraceAmount: 10_000, GraceDays: 3,
		WindowAmount: 20_000, WindowCalls: 200, AcceptanceDays: 7, NoticeDays: 30}
}

// Deal is an agreement with the openings that its commands need.
type Deal struct {
	Negotiation, Agreement contracts.ID
	Offer                  contracts.Offer
	Terms                  contracts.Terms
	Opening                contracts.Opening // of the terms
	Salt                   [32]byte
	Escrow                 *contracts.Opening
	Debt                   *contracts.Opening // postpaid
	Totals                 *contracts.Opening // of the last report
	Settled                *contracts.Opening
}

// Offer makes an offer and the opening of its terms.
func (m *Market) Offer(p policy.Policy, terms contracts.Terms) (contracts.Offer, contracts.Opening) {
	c, o := signing.Commit(contracts.TagTerms, m.Random(), terms)
	return contracts.Offer{Policy: p, QuotaCalls: 10_000, MaxStaleSec: 60, From: m.Now, To: m.Now.Add(180 * 86400), Billing: terms.Billing, Terms: c}, o
}

// Agree negotiates (request, counter-offer, acceptance), signs on both sides and finalizes.
func (m *Market) Agree(l *Listing, kind contracts.AgreementKind, p policy.Policy, terms contracts.Terms) (*Deal, error) {
	offer, o := m.Offer(p, terms)
	return m.AgreeOn(l, kind, offer, terms, o)
}

// AgreeOn is Agree on an offer at hand.
func (m *Market) AgreeOn(l *Listing, kind contracts.AgreementKind, offer contracts.Offer, terms contracts.Terms, o contracts.Opening) (*Deal, error) {
	d := &Deal{Offer: offer, Terms: terms, Opening: o, Salt: o.Salt}
	open := []contracts.Opening{o}
	err := m.Do(m.Buyer.ID, "negotiation.request", contracts.NegotiationRequest{Version: l.Version, Scenario: "sme-tax-loan-pre", Kind: kind, Offer: offer}, open, m.Buyer.Two()...)
	if err != nil {
		return nil, err
	}
	d.Negotiation = m.Last("negotiation")
	if err := m.Do(m.Provider.ID, "negotiation.offer", contracts.NegotiationOffer{Negotiation: d.Negotiation, Offer: offer}, open, m.Provider.Two()...); err != nil {
		return nil, err
	}
	if err := m.Do(m.Buyer.ID, "negotiation.accept", contracts.NegotiationStep{Negotiation: d.Negotiation}, nil, m.Buyer.Maker); err != nil {
		return nil, err
	}
	text := m.Text(l, kind, d)
	if err := m.Do(m.Provider.ID, "agreement.propose", contracts.AgreementPropose{Negotiation: d.Negotiation, Text: text}, open, m.Provider.Two()...); err != nil {
		return nil, err
	}
	digest := contracts.AgreementDigest(offer.Terms, text)
	if err := m.Do(m.Buyer.ID, "agreement.verify", contracts.AgreementVerify{Negotiation: d.Negotiation, Digest: digest}, nil, m.Buyer.Two()...); err != nil {
		return nil, err
	}
	err = m.Do(m.Provider.ID, "agreement.finalize", contracts.AgreementFinalize{Negotiation: d.Negotiation,
		Nodes: []contracts.NodeShare{{Node: m.Provider.Node, QuotaCalls: offer.QuotaCalls}}}, open, m.Provider.Maker)
	d.Agreement = m.Last("agreement")
	return d, err
}

// Text is the digest of the contract's text, which both sign.
func (m *Market) Text(l *Listing, kind contracts.AgreementKind, d *Deal) contracts.Hash {
	text := contracts.RenderContract(contracts.ContractInput{Rules: &m.rules, Provider: &contracts.Member{Name: m.Provider.App.Name, CreditCode: m.Provider.App.CreditCode},
		Buyer:   &contracts.Member{Name: m.Buyer.App.Name, CreditCode: m.Buyer.App.CreditCode},
		Version: &contracts.Version{Facts: l.Facts, Number: 1, Certificate: m.certificate(l)}, Scenario: "sme-tax-loan-pre", Kind: kind, Offer: &d.Offer, Terms: &d.Terms})
	return contracts.TextDigest(d.Salt, text)
}

func (m *Market) certificate(l *Listing) string {
	if r, ok := m.Exec.(interface {
		Get(string) ([]byte, error)
	}); ok {
		if b, err := r.Get(contracts.KeyVersion(l.Version)); err == nil && b != nil {
			if v, err := contracts.Read[contracts.Version](b); err == nil {
				return v.Certificate
			}
		}
	}
	return ""
}

// Deposit records the custodian's deposit for a deal. It keeps the opening of the escrow's new balance.
func (m *Market) Deposit(d *Deal, amount contracts.Fen) error {
	return m.move("movement.deposit", d, 0, amount, amount)
}

// Move records a payout, refund or collection.
func (m *Market) Move(kind string, d *Deal, period int64, amount contracts.Fen, more ...contracts.Opening) error {
	delta := contracts.Fen(0)
	if kind == "movement.refund" {
		delta = -amount
	}
	return m.move(kind, d, period, amount, delta, more...)
}

func (m *Market) move(kind string, d *Deal, period int64, amount, delta contracts.Fen, more ...contracts.Opening) error {
	salt := m.Random()
	ref := fmt.Sprintf("JP%x", salt[:6])
	c, o := signing.Commit(contracts.TagMovement, salt, contracts.MovementValue{Amount: amount, Reference: ref, ValueDate: "2026-03-10"})
	opens := append([]contracts.Opening{o}, more...)
	if d.Escrow != nil && delta != 0 {
		opens = append(opens, *d.Escrow)
	}
	if kind == "movement.collection" {
		opens = append(opens, m.opens(d.Debt)...)
	}
	err := m.Do(m.Custodian.ID, kind, contracts.MovementRecord{Agreement: d.Agreement, Period: period, Value: c, RefTag: contracts.HashOf("test/ref", []byte(ref))},
		opens, m.Custodian.Maker, m.Custodian.Check)
	if err == nil && delta != 0 {
		m.escrow(d, &o, delta)
	}
	if err == nil && kind == "movement.collection" {
		m.debt(d, &o, -amount)
	}
	return err
}

// debt follows what a postpaid buyer owes.
func (m *Market) debt(d *Deal, from *contracts.Opening, delta contracts.Fen) {
	var v contracts.DebtValue
	if d.Debt != nil && canon.Unmarshal(d.Debt.Value, &v) != nil {
		v.Owed = 0
	}
	o := contracts.DerivedOpening(from, m.last, contracts.TagDebt, contracts.DebtValue{Owed: v.Owed + delta})
	d.Debt = &o
}

// escrow follows the derivation of the contract: the new balance's salt is HMAC(salt in hand, command id).
func (m *Market) escrow(d *Deal, from *contracts.Opening, delta contracts.Fen) {
	var balance contracts.Fen
	if d.Escrow != nil {
		var v contracts.EscrowValue
		if canon.Unmarshal(d.Escrow.Value, &v) == nil {
			balance = v.Balance
		}
	}
	o := contracts.DerivedOpening(from, m.last, contracts.TagEscrow, contracts.EscrowValue{Balance: balance + delta})
	d.Escrow = &o
}

// Activate starts a prepaid deal's grant.
func (m *Market) Activate(d *Deal) error {
	return m.Do(m.Venue.ID, "grant.activate", contracts.GrantActivate{Agreement: d.Agreement}, m.opens(&d.Opening, d.Escrow), m.Venue.Machine)
}

func (m *Market) opens(os ...*contracts.Opening) (out []contracts.Opening) {
	for _, o := range os {
		if o != nil {
			out = append(out, *o)
		}
	}
	return out
}

// Consent registers a channel consent of a subject for the deal's node and returns its id and key.
func (m *Market) Consent(l *Listing, code contracts.CreditCode, purpose policy.Purpose) (contracts.ID, [32]byte, error) {
	key := m.Random()
	err := m.Do(m.Buyer.ID, "consent.register", contracts.ConsentRegister{Consents: []contracts.ChannelConsent{{
		Scope: contracts.ConsentScope{Product: l.Product, Node: m.Provider.Node, Subject: contracts.Subject(key, code), Purpose: purpose, Fields: Fields,
			From: m.Now, To: m.Now.Add(90 * 86400), MaxCalls: 10},
		Evidence: contracts.ChannelEvidence{SignerRole: "legal_representative", RealName: "bank_face_to_face", TextVersion: "v3",
			Original: contracts.HashOf("test/original", key[:]), CASignature: contracts.HashOf("test/ca", key[:])}}}}, nil, m.Buyer.Machine)
	return contracts.ConsentID(m.last, 0), key, err
}

// Report submits a usage report over totals, signed by both receipt keys.
func (m *Market) Report(d *Deal, period int64, final bool, size int64, totals contracts.Totals) error {
	c, o := signing.Commit(contracts.TagUsage, m.Random(), totals)
	st := contracts.Statement{Agreement: d.Agreement, Epoch: 1, Size: size, Root: contracts.HashOf("test/root", []byte(fmt.Sprint(size))), Totals: totals}
	err := m.Do(m.Provider.ID, "usage.report", contracts.UsageReport{Agreement: d.Agreement, Period: period, Final: final, Epoch: 1, Size: size, Root: st.Root, Totals: c,
		Ack: m.Buyer.Receipt.Signed(st.SignedBytes(contracts.TagAck)), Report: m.Provider.Receipt.Signed(st.SignedBytes(contracts.TagReport))},
		m.opens(&o, d.Totals), m.Provider.Machine)
	if err == nil {
		d.Totals = &o
	}
	return err
}

// Settle settles a reported period of a prepaid or postpaid deal; charged is what the buyer pays.
func (m *Market) Settle(d *Deal, period int64, charged contracts.Fen) error {
	opens := m.opens(&d.Opening, d.Totals, d.Settled)
	if d.Terms.Billing == contracts.Prepaid {
		opens = append(opens, m.opens(d.Escrow)...)
	} else if charged > 0 {
		opens = append(opens, m.opens(d.Debt)...)
	}
	err := m.Do(m.Venue.ID, "settlement.settle", contracts.SettlementSettle{Agreement: d.Agreement, Period: period}, opens, m.Venue.Machine)
	if err == nil {
		d.Settled = d.Totals
		if d.Terms.Billing == contracts.Prepaid {
			m.escrow(d, &d.Opening, -charged)
		} else if charged > 0 {
			m.debt(d, &d.Opening, charged)
		}
	}
	return err
}
