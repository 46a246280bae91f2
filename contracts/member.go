package contracts

import (
	"errors"
	"fmt"
	"slices"
)

// Role is what a member may do in the market.
type Role string

const (
	RoleProvider        Role = "provider"
	RoleBuyer           Role = "buyer"
	RoleVenue           Role = "venue" // venue operator
	RoleRegulator       Role = "regulator"
	RoleCustodian       Role = "custodian"        // 存管银行
	RoleSourceAuthority Role = "source_authority" // authorises, never sells
	RoleConsentService  Role = "consent_service"
	RoleVerifier        Role = "identity_verifier"

	// The 数商 classes.
	RoleDelivery     Role = "delivery"
	RoleAssessment   Role = "assessment"   // quality assessors, appraisers
	RoleIntermediary Role = "intermediary" // law firms, brokers
	RoleConsulting   Role = "consulting"
)

var roles = []Role{RoleProvider, RoleBuyer, RoleVenue, RoleRegulator, RoleCustodian, RoleSourceAuthority, RoleConsentService,
	RoleVerifier, RoleDelivery, RoleAssessment, RoleIntermediary, RoleConsulting}

// Check reports a role that is not in the closed set.
func (r Role) Check() error { return oneOf(r, roles) }

func oneOf[T ~string](v T, set []T) error {
	if !slices.Contains(set, v) {
		return fmt.Errorf("want one of %s", join(set))
	}
	return nil
}

// exclusive roles stand alone: who supervises, holds money or authorises public data does not trade.
var exclusive = []Role{RoleVenue, RoleRegulator, RoleCustodian, RoleSourceAuthority}

// MemberState is applied → active ⇄ suspended → exited; an applicant may be turned away to exited.
type MemberState string

const (
	Applied   MemberState = "applied"
	Active    MemberState = "active"
	Suspended MemberState = "suspended"
	Exited    MemberState = "exited"
)

// Check reports an unknown state.
func (s MemberState) Check() error {
	return oneOf(s, []MemberState{Applied, Active, Suspended, Exited})
}

// FileKind is a document of an admission file.
type FileKind string

const (
	FileLicence             FileKind = "licence"
	FileAgentAuthority      FileKind = "agent_authority"
	FileControllerChain     FileKind = "controller_chain"
	FileSecurityCertificate FileKind = "security_certificate"
	FileUndertaking         FileKind = "undertaking"
)

// Check reports an unknown kind of document.
func (k FileKind) Check() error {
	return oneOf(k, []FileKind{FileLicence, FileAgentAuthority, FileControllerChain, FileSecurityCertificate, FileUndertaking})
}

// File is one document of an admission file, by digest.
type File struct {
	Kind    FileKind `json:"kind"`
	Digest  Hash     `json:"digest"`
	Expires Millis   `json:"expires,omitempty"` // zero: does not expire
}

// Application is a member's admission file.
type Application struct {
	Name        string       `json:"name"` // as registered
	NameEn      string       `json:"nameEn"`
	CreditCode  CreditCode   `json:"creditCode"`
	Roles       []Role       `json:"roles"`
	Controllers []Hash       `json:"controllers"` // HashOf("bund/controller/v1", registered number) of each ultimate controller; a body that nobody controls names itself
	Files       []File       `json:"files"`
	People      []PersonSpec `json:"people"`
	Keys        []KeySpec    `json:"keys"` // of machines
}

// Check reports an application that is no file of any member.
func (a Application) Check() error {
	if n := len([]rune(a.Name)); n == 0 || n > 120 {
		return errors.New("name has 1 to 120 characters")
	}
	if len(a.Roles) == 0 {
		return errors.New("roles is empty")
	}
	for i, r := range a.Roles {
		if slices.Contains(a.Roles[:i], r) {
			return errors.New("a role is there twice")
		}
		if slices.Contains(exclusive, r) && len(a.Roles) > 1 {
			return fmt.Errorf("the role %s stands alone", r)
		}
	}
	// Affiliates share a controller: a list that names none would be an affiliate of nobody.
	if n := len(a.Controllers); n == 0 || n > 32 {
		return errors.New("controllers has 1 to 32 entries")
	}
	for i, c := range a.Controllers {
		if c == "" || slices.Contains(a.Controllers[:i], c) {
			return errors.New("a controller is there twice or empty")
		}
	}
	if len(a.People) == 0 || len(a.People) > 32 {
		return errors.New("people has 1 to 32 entries")
	}
	return nil
}

func (a *Application) affiliated(controllers []Hash) bool {
	return slices.ContainsFunc(a.Controllers, func(h Hash) bool { return slices.Contains(controllers, h) })
}

// Member is an organisation on the ledger.
type Member struct {
	Name        string      `json:"name"`
	NameEn      string      `json:"nameEn"`
	CreditCode  CreditCode  `json:"creditCode"`
	Roles       []Role      `json:"roles"`
	Controllers []Hash      `json:"controllers"`
	Files       []File      `json:"files"`
	State       MemberState `json:"state"`
	Since       Millis      `json:"since"`
	Reason      string      `json:"reason,omitempty"` // of the last suspension, refusal or exit
}

// KeyMember is where a member stands.
func KeyMember(id ID) string { return "member/" + string(id) }

// keyCreditCode makes a credit code unique among members.
func keyCreditCode(c CreditCode) string { return "member-code/" + string(c) }

// Has reports whether the member holds a role.
func (m *Member) Has(r Role) bool { return slices.Contains(m.Roles, r) }

func (m *Member) affiliateOf(o *Member) bool {
	return slices.ContainsFunc(m.Controllers, func(h Hash) bool { return slices.Contains(o.Controllers, h) })
}

// IdentityCheck is one check of an applicant's or member's identity: method, result, time, operator.
type IdentityCheck struct {
	Member   ID     `json:"member"`
	Method   string `json:"method"` // "business_licence", "agent_face_to_face", "bank_account", …
	Passed   bool   `json:"passed"`
	Checked  Millis `json:"checked"`
	Evidence Hash   `json:"evidence"`
	Operator ID     `json:"operator"` // the person who checked, of the member that signs
}

// checkRecord is an IdentityCheck with who recorded it.
type checkRecord struct {
	IdentityCheck
}

// MemberApply files an application. It is signed by an administrator and a checker of the applicant, with keys that
// stand in it.
type MemberApply struct {
	Application Application `json:"application"`
}

// MemberAdmit activates an applicant whose file and checks are complete. A further regulator is admitted by an active one
// beside the venue, named here: whoever is supervised doesn't choose its supervisors alone.
type MemberAdmit struct {
	Applicant ID `json:"applicant"`
	Regulator ID `json:"regulator,omitempty"` // only for an applicant that is to be a regulator
}

// MemberTurn is a change of a member's state by the venue, with its reason. Of a regulator's it takes an active regulator, too,
// which may be the same: the venue alone can't silence one.
type MemberTurn struct {
	Subject   ID     `json:"subject"`
	Regulator ID     `json:"regulator,omitempty"` // only for a subject that is a regulator
	Reason    string `json:"reason"`
}

// MemberRenewFile replaces a document of one's own file.
type MemberRenewFile struct {
	File File `json:"file"`
}

var memberKinds = []*spec{
	kind("member.apply", applyMemberApply, public, outsider),
	kind("member.check", applyMemberCheck, by("", DutyMaker), public),
	kind("member.admit", applyMemberAdmit, twoPeople(RoleVenue), public, personal),
	kind("member.turn_away", turn("member.turned_away", []MemberState{Applied}, Exited), twoPeople(RoleVenue), public, personal),
	kind("member.suspend", turn("member.suspended", []MemberState{Active}, Suspended), twoPeople(RoleVenue), public, personal),
	kind("member.reinstate", applyMemberReinstate, twoPeople(RoleVenue), public, personal),
	kind("member.exit", turn("member.exited", []MemberState{Active, Suspended}, Exited), twoPeople(RoleVenue), public, personal),
	kind("member.renew_file", applyMemberRenewFile, by("", DutyAdministrator), public, suspended),
}

func applyMemberApply(t *tx, b *MemberApply) *Refusal {
	if t.cmd.Member != "" {
		return refuse("member.missing", "an applicant has no member id yet").at("member")
	}
	if slices.Contains(b.Application.Roles, RoleVenue) {
		return refuse("member.role", "a ledger has one venue, named in its genesis").at("application.roles")
	}
	id := t.newID("member")
	if r := t.enrol(id, &b.Application, Applied); r != nil {
		return r
	}
	if r := t.selfSigned(id, &b.Application, DutyAdministrator, DutyChecker); r != nil {
		return r
	}
	t.event("member.applied", id)
	return nil
}

// enrol writes a member with its people and keys. Ids of people and keys follow from their places in the file.
func (t *tx) enrol(id ID, a *Application, state MemberState) *Refusal {
	code := keyCreditCode(a.CreditCode)
	if t.has(code) {
		return refuse("member.credit_code", "this credit code belongs to another member or applicant").at("application.creditCode")
	}
	for _, kind := range t.rules.AdmissionFiles {
		if !slices.ContainsFunc(a.Files, func(f File) bool { return f.Kind == kind }) {
			return refuse("member.file", "the file lacks %s", kind).at("application.files")
		}
	}
	for _, f := range a.Files {
		if f.Expires != 0 && f.Expires <= t.env.Now {
			return refuse("member.file_expired", "%s has expired", f.Kind).at("application.files")
		}
	}
	for i, p := range a.People {
		if r := t.addPerson(id, PersonID(id, i), p); r != nil {
			return r
		}
	}
	for _, k := range a.Keys {
		if r := t.addKey(id, "", k); r != nil {
			return r
		}
	}
	t.write(code, []byte(`"`+string(id)+`"`))
	t.put(KeyMember(id), Member{Name: a.Name, NameEn: a.NameEn, CreditCode: a.CreditCode, Roles: a.Roles, Controllers: a.Controllers,
		Files: a.Files, State: state, Since: t.env.Now})
	return nil
}

// selfSigned demands signatures of distinct people of the application, with keys that it names.
func (t *tx) selfSigned(id ID, a *Application, duties ...Duty) *Refusal {
	var from []signer
	for _, s := range t.cmd.Signatures {
		for i, p := range a.People {
			k := slices.IndexFunc(p.Keys, func(k KeySpec) bool { return k.Key == s.Key && k.Purpose == PurposeCommand })
			if k >= 0 {
				from = append(from, signer{member: id, person: PersonID(id, i), duties: p.Duties, custody: p.Keys[k].Custody})
			}
		}
	}
	if !fill(duties, from, nil) {
		return refuse("signature.people", "want signatures of %d different people of the application with the duties %s", len(duties), join(duties))
	}
	t.signers = append(t.signers, from...)
	t.covered = append(t.covered, id)
	return nil
}

func (t *tx) member(id ID) (*Member, *Refusal) {
	m, ok := get[Member](t, KeyMember(id))
	if !ok {
		return nil, refuse("member.unknown", "no member has this id")
	}
	return m, nil
}

func (t *tx) activeMember(id ID) (*Member, *Refusal) {
	m, r := t.member(id)
	if r != nil {
		return nil, r
	}
	if m.State != Active {
		return nil, refuse("member.not_active", "the member is %s", m.State)
	}
	return m, nil
}

func applyMemberCheck(t *tx, b *IdentityCheck) *Refusal {
	me, r := t.activeMember(t.me())
	if r != nil {
		return r
	}
	if !me.Has(RoleVenue) && !me.Has(RoleVerifier) {
		return refuse("member.role", "identity is checked by the venue or an identity verifier")
	}
	m, r := t.member(b.Member)
	if r != nil {
		return r.at("member")
	}
	if m.State == Exited {
		return refuse("member.not_active", "the member is %s", m.State).at("member")
	}
	if !slices.ContainsFunc(t.signers, func(s signer) bool { return s.member == t.me() && s.person == b.Operator && b.Operator != "" }) {
		return refuse("check.operator", "the operator named is not a person who signed").at("operator")
	}
	if b.Checked > t.env.Now {
		return refuse("check.time", "the check lies in the future").at("checked")
	}
	t.put(keyCheck(b.Member, b.Method), checkRecord{*b})
	t.event("member.checked", b.Member)
	return nil
}

func keyCheck(member ID, method string) string {
	return "check/" + string(member) + "/" + string(HashOf("bund/method/v1", []byte(method))[:16])
}

// supervised demands the signatures of an active regulator where the venue acts on a regulator, and none elsewhere.
func (t *tx) supervised(subject *Member, regulator ID) *Refusal {
	switch {
	case !subject.Has(RoleRegulator) && regulator != "":
		return refuse("member.regulator", "this member is no regulator: the venue acts alone").at("regulator")
	case !subject.Has(RoleRegulator):
		return nil
	case regulator == "":
		return refuse("member.regulator", "a regulator is admitted, suspended, reinstated and dismissed together with an active one").at("regulator")
	}
	return t.signedBy(regulator, RoleRegulator, DutyMaker, DutyChecker)
}

func applyMemberAdmit(t *tx, b *MemberAdmit) *Refusal {
	m, r := t.member(b.Applicant)
	if r != nil {
		return r.at("applicant")
	}
	if m.State != Applied {
		return refuse("member.state", "the member is %s, not applied", m.State).at("applicant")
	}
	if r := t.supervised(m, b.Regulator); r != nil {
		return r
	}
	for _, method := range t.rules.AdmissionChecks {
		c, ok := get[checkRecord](t, keyCheck(b.Applicant, method))
		if !ok || !c.Passed {
			return refuse("member.check", "the check %s is missing or was not passed", clip(method)).at("applicant")
		}
	}
	for _, f := range m.Files {
		if f.Expires != 0 && f.Expires <= t.env.Now {
			return refuse("member.file_expired", "%s has expired", f.Kind).at("applicant")
		}
	}
	m.State, m.Since = Active, t.env.Now
	t.put(KeyMember(b.Applicant), m)
	t.event("member.admitted", b.Applicant)
	return nil
}

func turn(event string, from []MemberState, to MemberState) func(*tx, *MemberTurn) *Refusal {
	return func(t *tx, b *MemberTurn) *Refusal {
		m, r := t.member(b.Subject)
		if r != nil {
			return r.at("subject")
		}
		if !slices.Contains(from, m.State) {
			return refuse("member.state", "the member is %s", m.State).at("subject")
		}
		if b.Subject == t.gen.Venue || b.Subject == t.gen.Regulator {
			return refuse("member.state", "venue and first regulator don't leave their ledger").at("subject")
		}
		if m.State != Applied { // turning an applicant away takes nobody's seat
			if r := t.supervised(m, b.Regulator); r != nil {
				return r
			}
		} else if b.Regulator != "" {
			return refuse("member.regulator", "an applicant is turned away by the venue alone").at("regulator")
		}
		m.State, m.Since, m.Reason = to, t.env.Now, b.Reason
		t.put(KeyMember(b.Subject), m)
		t.event(event, b.Subject)
		return nil
	}
}

func applyMemberReinstate(t *tx, b *MemberTurn) *Refusal {
	m, r := t.member(b.Subject)
	if r != nil {
		return r.at("subject")
	}
	if m.State != Suspended {
		return refuse("member.state", "the member is %s, not suspended", m.State).at("subject")
	}
	if r := t.supervised(m, b.Regulator); r != nil {
		return r
	}
	for _, f := range m.Files {
		if f.Expires != 0 && f.Expires <= t.env.Now {
			return refuse("member.file_expired", "%s has expired", f.Kind).at("subject")
		}
	}
	m.State, m.Since, m.Reason = Active, t.env.Now, b.Reason
	t.put(KeyMember(b.Subject), m)
	t.event("member.reinstated", b.Subject)
	return nil
}

func applyMemberRenewFile(t *tx, b *MemberRenewFile) *Refusal {
	m, r := t.member(t.me())
	if r != nil {
		return r
	}
	if b.File.Expires != 0 && b.File.Expires <= t.env.Now {
		return refuse("member.file_expired", "%s has expired", b.File.Kind).at("file.expires")
	}
	i := slices.IndexFunc(m.Files, func(f File) bool { return f.Kind == b.File.Kind })
	if i < 0 {
		m.Files = append(m.Files, b.File)
	} else {
		m.Files[i] = b.File
	}
	t.put(KeyMember(t.me()), m)
	t.event("member.file_renewed", t.me())
	return nil
}
