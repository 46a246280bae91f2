package contractstest

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/signing"
)

// Scene is a market that a script plays in: it knows by name everybody and everything the script has spoken of. Every
// command goes to the rules in memory, and to another executor when there is one, which must answer the same.
type Scene struct {
	M      *Market
	Oracle *Pure

	exec     Executor
	actors   map[string]*Actor
	keys     map[string]signing.Key
	names    map[string]contracts.ID
	versions map[string][]string // attestations by the name of their version, in order
	subjects map[string]subject  // by the name of the consent
	subject  *subject            // of the last consent that a command was about
	labels   map[string]*Step    // commands that the script gave a label
	last     *Step
	observe  func(*Step)
}

// Step is one command of a script and its answer.
type Step struct {
	Line       string
	Submission contracts.Submission
	Before     int               // keys of State before it
	Result     *contracts.Result // nil when refused
	Refusal    *contracts.Refusal
	Command    contracts.ID // as the signer made it
	Use        bool         // a question to MayUse, no command
}

type subject struct {
	key  [32]byte
	code contracts.CreditCode
}

// cast gives the roles of the actors whom every script knows.
var cast = []struct {
	name, called string
	roles        []contracts.Role
}{
	{"venue", "外滩数据交易所", []contracts.Role{contracts.RoleVenue}},
	{"regulator", "市数据局", []contracts.Role{contracts.RoleRegulator}},
	{"custodian", "江畔存管银行", []contracts.Role{contracts.RoleCustodian}},
	{"authority", "市税务局", []contracts.Role{contracts.RoleSourceAuthority}},
	{"provider", "浦江公共数据运营", []contracts.Role{contracts.RoleProvider}},
	{"bank", "江湾城市商业银行", []contracts.Role{contracts.RoleBuyer}},
	{"lawfirm", "锦衡律师事务所", []contracts.Role{contracts.RoleIntermediary}},
	{"assessor", "明衡质量评估", []contracts.Role{contracts.RoleAssessment}},
	{"appraiser", "申信资产评估", []contracts.Role{contracts.RoleAssessment}},
	{"verifier", "浦江身份核验", []contracts.Role{contracts.RoleVerifier}},
}

// NewScene begins an empty scene; exec may be nil. The seed decides every key and id.
func NewScene(ledger string, exec Executor, seed uint64) *Scene {
	s := &Scene{Oracle: NewPure(ledger), exec: exec, actors: map[string]*Actor{}, keys: map[string]signing.Key{}, names: map[string]contracts.ID{},
		versions: map[string][]string{}, subjects: map[string]subject{}, labels: map[string]*Step{}}
	s.M = NewMarket(ledger, s, seed)
	for _, c := range cast {
		s.actors[c.name] = s.M.Actor(c.called, c.roles...)
	}
	s.M.Venue, s.M.Regulator, s.M.Custodian, s.M.Authority = s.actors["venue"], s.actors["regulator"], s.actors["custodian"], s.actors["authority"]
	s.M.Provider, s.M.Buyer = s.actors["provider"], s.actors["bank"]
	s.M.LawFirm, s.M.Assessor, s.M.Appraiser, s.M.Verifier = s.actors["lawfirm"], s.actors["assessor"], s.actors["appraiser"], s.actors["verifier"]
	return s
}

// Submit implements Executor for the scene's market.
func (s *Scene) Submit(ctx context.Context, sub contracts.Submission) error {
	st := &Step{Submission: sub, Before: len(s.Oracle.m), Command: s.M.last}
	s.last = st
	var err error
	st.Result, err = s.Oracle.Apply(sub)
	if err != nil && !errors.As(err, &st.Refusal) {
		return err
	}
	if s.exec != nil {
		if err := sameAnswer(st.Refusal, s.exec.Submit(ctx, sub)); err != nil {
			return err
		}
	}
	if s.observe != nil {
		s.observe(st)
	}
	return nil
}

// Watch lets an auditor look at every step from now on; it returns a function that gives the first thing it objected to.
func (s *Scene) Watch(a *Auditor) (objection func() error) {
	var first error
	before := s.observe
	s.observe = func(st *Step) {
		if before != nil {
			before(st)
		}
		if first != nil || st.Use {
			return
		}
		if sub := s.subject; sub != nil {
			a.Secret(string(sub.code), "a subject's credit code")
			a.Secret(hex.EncodeToString(sub.key[:]), "a consent's key")
		}
		switch {
		case st.Refusal != nil:
			first = a.Refused(st.Refusal, st.Before, len(s.Oracle.m))
		case st.Result.Repeated:
			first = a.Repeated(st.Submission, st.Before, len(s.Oracle.m))
		default:
			first = a.Accepted(st.Submission, s.Oracle.time, st.Result)
		}
	}
	return func() error {
		if first != nil {
			return first
		}
		return a.Close()
	}
}

func sameAnswer(want *contracts.Refusal, got error) error {
	var r *contracts.Refusal
	switch {
	case got != nil && !errors.As(got, &r):
		return fmt.Errorf("the executor failed: %w", got)
	case (want == nil) != (r == nil):
		return fmt.Errorf("the executor answers %v, the rules %v", got, want)
	case want != nil && *want != *r:
		return fmt.Errorf("the executor refuses with %v, the rules with %v", r, want)
	}
	return nil
}

// Run does one line of a script that is no expectation: a macro, a question to the gate, or a command. What the market
// answered is in Last; the error is the script's own, or a failure.
func (s *Scene) Run(text string) error {
	l, err := parseLine(text)
	if err != nil {
		return err
	}
	if len(l.words) == 0 {
		return errors.New("a line without words")
	}
	if m, ok := macros[l.words[0]]; ok {
		return s.macro(m, l, text)
	}
	switch l.words[0] {
	case "actor":
		return s.newActor(l)
	case "newkey":
		return s.newKey(l)
	case "time", "wait":
		return s.advance(l)
	case "again":
		return s.again(l)
	case "use", "ticket", "part":
		return s.question(l)
	case "positions":
		if _, ok := s.exec.(Positionless); ok {
			return errNoPositions
		}
		return nil
	case "wall":
		if len(l.words) != 2 {
			return errors.New("want wall TIME")
		}
		return s.wall(l.words[1])
	}
	if len(l.words) < 2 {
		return errors.New("want MEMBER KIND …")
	}
	return s.command(l, text)
}

// Last is the last command or question.
func (s *Scene) Last() *Step { return s.last }

func (s *Scene) actor(name string) (*Actor, error) {
	if a := s.actors[name]; a != nil {
		return a, nil
	}
	return nil, fmt.Errorf("no actor is called %s", name)
}

// newActor declares a member that is not in the cast: "actor lender roles=buyer controller=bank".
func (s *Scene) newActor(l *line) error {
	if len(l.words) != 2 || s.actors[l.words[1]] != nil {
		return errors.New("want actor NAME, and a new name")
	}
	var roles []contracts.Role
	for _, r := range strings.Split(l.take("roles", "buyer"), ",") {
		roles = append(roles, contracts.Role(r))
	}
	a := s.M.Actor(l.words[1], roles...)
	if c := l.take("controller", ""); c != "" {
		other, err := s.actor(c)
		if err != nil {
			return err
		}
		a.App.Controllers = other.App.Controllers
	}
	s.actors[l.words[1]] = a
	return nil
}

// newKey makes a key that is on no ledger: "newkey K1", or of suite es256.
func (s *Scene) newKey(l *line) error {
	if len(l.words) < 2 {
		return errors.New("want newkey NAME [SUITE]")
	}
	suite, name := "ed25519", l.words[1]
	if len(l.words) > 2 {
		suite = l.words[2]
	}
	k := s.M.Key()
	switch suite {
	case "ed25519":
	case "es256":
		var err error
		if k, err = signing.ES256(s.M.Random()); err != nil {
			return err
		}
	case "x25519", "sm2-sm3", "webauthn-es256":
		_, hex, _ := strings.Cut(string(k.Public), ":")
		k.Public = contracts.PublicKey(suite + ":" + hex)
	default:
		return fmt.Errorf("there is no suite %s", suite)
	}
	s.keys[name] = k
	return nil
}

// key gives a key by name: one of newkey, "bank.maker", or, with an actor at hand, "maker".
func (s *Scene) key(a *Actor, name string) (signing.Key, error) {
	if k, ok := s.keys[name]; ok {
		return k, nil
	}
	if actor, rest, ok := strings.Cut(name, "."); ok {
		a, name = s.actors[actor], rest
	}
	if a != nil {
		for _, k := range []struct {
			name string
			key  signing.Key
		}{{"admin", a.Admin}, {"maker", a.Maker}, {"checker", a.Check}, {"auditor", a.Audit}, {"machine", a.Machine}, {"tls", a.TLS}, {"receipt", a.Receipt}} {
			if k.name == name {
				return k.key, nil
			}
		}
	}
	return signing.Key{}, fmt.Errorf("no key is called %s", name)
}

// signers gives the keys that sign a kind when the script names none: one for each duty, else the machine's.
func (s *Scene) signers(a *Actor, kind string) ([]signing.Key, error) {
	pair := func(name string) []signing.Key { return s.actors[name].Two() }
	switch kind {
	case "genesis":
		return append(pair("venue"), pair("regulator")...), nil
	case "member.apply":
		return []signing.Key{a.Admin, a.Check}, nil
	case "rulebook.adopt":
		return append(a.Two(), pair("regulator")...), nil
	case "agreement.amend", "agreement.renew":
		return append(a.Two(), pair("bank")...), nil
	}
	kinds := contracts.Kinds()
	i := slices.IndexFunc(kinds, func(k contracts.KindDoc) bool { return k.Name == kind })
	if i < 0 {
		return nil, fmt.Errorf("there is no kind %s", kind)
	}
	var keys []signing.Key
	for _, d := range kinds[i].Duties {
		keys = append(keys, map[contracts.Duty]signing.Key{contracts.DutyAdministrator: a.Admin, contracts.DutyMaker: a.Maker,
			contracts.DutyFinance: a.Maker, contracts.DutyChecker: a.Check, contracts.DutyAuditor: a.Audit}[d])
	}
	if keys == nil {
		keys = []signing.Key{a.Machine}
	}
	return keys, nil
}

// act is a command about to be signed.
type act struct {
	body  any // a pointer
	opens []contracts.Opening
	after func() // when it was accepted: give what it made its names
}

// command does "MEMBER KIND [NAME] [option=value …]".
func (s *Scene) command(l *line, text string) error {
	a, err := s.actor(l.words[0])
	if err != nil {
		return err
	}
	kind := l.words[1]
	build := bodies[kind]
	if build == nil {
		return fmt.Errorf("there is no kind %s", kind)
	}
	x, err := build(s, a, l)
	if err != nil {
		return err
	}
	env, err := s.envelope(a, kind, l)
	if err != nil {
		return err
	}
	tamper := l.take("sig", "")
	edit, padding, open := l.take("edit", ""), l.take("pad", ""), l.take("open", "")
	label := l.take("label", "")
	for _, o := range l.options {
		if o.used {
			continue
		}
		if err := s.override(reflect.ValueOf(x.body), o.key, o.value); err != nil {
			return fmt.Errorf("%s: %w", o.key, err)
		}
	}
	env.unsigned.Body = x.body
	raw, id := env.unsigned.Bytes()
	s.M.last = id
	if edit != "" {
		parts := strings.Split(edit[1:], edit[:1])
		if len(parts) < 2 || !strings.Contains(string(raw), parts[0]) {
			return fmt.Errorf("edit: %q is not in %s", parts[0], raw)
		}
		raw = []byte(strings.Replace(string(raw), parts[0], strings.ReplaceAll(parts[1], `\n`, "\n"), 1))
	}
	if padding != "" {
		n, err := strconv.Atoi(padding)
		if err != nil {
			return err
		}
		raw = append(raw, make([]byte, n)...)
	}
	sub := contracts.Submission{Raw: raw, Openings: x.opens}
	for _, k := range env.keys {
		sig := contracts.Signature{Key: k.Public}
		if strings.HasPrefix(string(k.Public), "ed25519:") || strings.HasPrefix(string(k.Public), "es256:") {
			sig.Sig = k.Sign(raw)
		} else {
			sig.Sig = make([]byte, 64)
		}
		sub.Signatures = append(sub.Signatures, sig)
	}
	switch tamper {
	case "flip":
		sub.Signatures[0].Sig[3] ^= 1
	case "none":
		sub.Signatures = nil
	case "short":
		sub.Signatures[0].Sig = sub.Signatures[0].Sig[:63]
	}
	if err := s.tamperOpenings(&sub, open); err != nil {
		return err
	}
	if err := s.Submit(context.Background(), sub); err != nil {
		return err
	}
	s.last.Line = text
	if label != "" {
		s.labels[label] = s.last
	}
	if s.last.Refusal == nil && x.after != nil {
		x.after()
	}
	return nil
}

func (s *Scene) tamperOpenings(sub *contracts.Submission, how string) error {
	junk := contracts.Opening{Salt: s.M.Random(), Value: []byte(`{}`)}
	switch how {
	case "":
	case "none":
		sub.Openings = nil
	case "unneeded":
		sub.Openings = append(sub.Openings, junk)
	case "many":
		for range contracts.MaxOpenings + 1 {
			sub.Openings = append(sub.Openings, junk)
		}
	case "huge":
		junk.Value = make([]byte, contracts.MaxOpeningBytes+1)
		sub.Openings = append(sub.Openings, junk)
	case "altered":
		if len(sub.Openings) == 0 {
			return errors.New("there is no opening to alter")
		}
		o := sub.Openings[0]
		o.Salt[0] ^= 1
		sub.Openings[0] = o
	default:
		return fmt.Errorf("open: want none, unneeded, many, huge or altered")
	}
	return nil
}

type envelope struct {
	unsigned contracts.Unsigned
	keys     []signing.Key
}

// envelope takes the options that begin with @, and by=.
func (s *Scene) envelope(a *Actor, kind string, l *line) (*envelope, error) {
	e := &envelope{unsigned: contracts.Unsigned{Ledger: s.M.Ledger, Member: a.ID, Kind: kind, NotBefore: s.M.Now}}
	if kind == "genesis" || kind == "member.apply" {
		e.unsigned.Member = ""
	}
	var err error
	if by := l.take("by", ""); by == "" {
		e.keys, err = s.signers(a, kind)
	} else {
		for _, name := range strings.Split(by, ",") {
			k, err := s.key(a, name)
			if err != nil {
				return nil, err
			}
			e.keys = append(e.keys, k)
		}
	}
	if err != nil {
		return nil, err
	}
	e.unsigned.Lead = e.keys[0].Public
	r := s.M.Random()
	e.unsigned.Random = [10]byte(r[:10])
	u := &e.unsigned
	u.Ledger = l.take("@ledger", u.Ledger)
	if w := l.take("@member", "-"); w != "-" {
		if u.Member, err = s.id(w); err != nil {
			return nil, err
		}
	}
	if w := l.take("@lead", ""); w != "" {
		k, err := s.key(a, w)
		if err != nil {
			return nil, err
		}
		u.Lead = k.Public
	}
	for _, t := range []struct {
		key string
		to  *contracts.Millis
	}{{"@notBefore", &u.NotBefore}, {"@notAfter", &u.NotAfter}} {
		if w := l.take(t.key, ""); w != "" {
			if *t.to, err = s.time(w); err != nil {
				return nil, err
			}
		}
	}
	if w := l.take("@id", ""); w != "" {
		st := s.labels[w]
		if st == nil {
			return nil, fmt.Errorf("no command has the label %s", w)
		}
		b := st.Command.Bytes()
		copy(u.Random[:], b[6:])
		u.NotBefore = 0
		for _, x := range b[:6] {
			u.NotBefore = u.NotBefore<<8 | contracts.Millis(x)
		}
	}
	return e, nil
}

// again submits the very bytes of a labelled command: "again C1", "again C1 sig=flip".
func (s *Scene) again(l *line) error {
	if len(l.words) != 2 || s.labels[l.words[1]] == nil {
		return errors.New("want again LABEL")
	}
	old := s.labels[l.words[1]]
	s.M.last = old.Command
	return s.Submit(context.Background(), old.Submission)
}

// advance moves the scripted clock: "time 2026-05-01T10:00", "wait 3d".
func (s *Scene) advance(l *line) error {
	if len(l.words) != 2 {
		return errors.New("want time DAY[THH:MM], or wait 3d")
	}
	word := l.words[1]
	if l.words[0] == "wait" {
		word = "+" + word
	}
	to, err := s.time(word)
	if err != nil {
		return err
	}
	if err := s.M.Do(s.M.Venue.ID, "clock.advance", contracts.ClockAdvance{To: to}, nil, s.M.Venue.Machine); err != nil {
		return err
	}
	if s.last.Refusal != nil {
		return s.last.Refusal
	}
	s.M.Now = to
	return nil
}

// WallClock is an executor whose wall clock a script may set.
type WallClock interface{ SetWall(contracts.Millis) }

// wall sets the wall clock of the executors and of the signers.
func (s *Scene) wall(word string) error {
	to, err := s.time(word)
	if err != nil {
		return err
	}
	if s.exec != nil {
		w, ok := s.exec.(WallClock)
		if !ok {
			return errNoWall
		}
		w.SetWall(to)
	}
	s.Oracle.SetWall(to)
	s.M.Now = to
	return nil
}

// Positionless is an executor that learns an entry's position only after the rules have decided.
type Positionless interface{ Positionless() }

var errNoPositions = errors.New("this executor can't tell positions")

var errNoWall = errors.New("this executor's wall clock can't be set")

// Signers gives the keys that the script's actor signs a kind with when nothing else is said, for a test that signs
// bodies of its own.
func (s *Scene) Signers(actor, kind string) (*Actor, []signing.Key, error) {
	a, err := s.actor(actor)
	if err != nil {
		return nil, nil, err
	}
	keys, err := s.signers(a, kind)
	return a, keys, err
}
