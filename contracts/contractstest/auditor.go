package contractstest

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/bund-exchange/bund/contracts"
)

// Auditor watches a ledger from outside and keeps its own books: of money, of states, of who may sign, of what must stay
// private. It reads bodies, openings and write sets as plain JSON and calls none of the rules, so that a rule that is wrong
// in one place isn't wrong here in the same way.
type Auditor struct {
	ledger  string
	now     contracts.Millis
	raw     map[string]string // signed bytes by command id
	state   map[string]record // last written value by key
	ids     map[string]string // every id that was given out, and to which noun
	first   map[string][]contracts.ID
	secrets map[string]string // private words, and what they are
	open    map[string]record // private values by their commitment
	amounts bool              // amounts of six digits and more are recognisable: they stand for nothing else
	money   *books
}

// record is a JSON object or string.
type record struct{ v any }

func parse(b []byte) (r record, err error) {
	err = json.Unmarshal(b, &r.v)
	return r, err
}

// get follows a dotted path; what isn't there is the empty record.
func (r record) get(path string) record {
	v := r.v
	for _, name := range strings.Split(path, ".") {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return record{v}
}

func (r record) str() string { s, _ := r.v.(string); return s }
func (r record) yes() bool   { b, _ := r.v.(bool); return b }
func (r record) num() int64  { n, _ := atoi(r.str()); return n }
func (r record) list() (out []record) {
	l, _ := r.v.([]any)
	for _, v := range l {
		out = append(out, record{v})
	}
	return out
}

// NewAuditor begins the books of a ledger. Amounts is for ledgers whose private amounts of six digits and more are chosen
// to be equal to no public figure: then they are looked for, too.
func NewAuditor(ledger string, amounts bool) *Auditor {
	return &Auditor{ledger: ledger, amounts: amounts, raw: map[string]string{}, state: map[string]record{}, ids: map[string]string{}, first: map[string][]contracts.ID{},
		secrets: map[string]string{}, open: map[string]record{}, money: newBooks()}
}

// digest is SHA-256(tag ‖ 0 ‖ parts), written anew.
func digest(tag string, parts ...[]byte) string {
	h := sha256.New()
	h.Write(append([]byte(tag), 0))
	for _, p := range parts {
		h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func objectID(command, noun string) string {
	return digest("bund/object/v1", []byte(command), []byte(noun))[:32]
}

// Secret tells the auditor of a word that must never be on the ledger: a subject's credit code, a consent's key.
func (a *Auditor) Secret(word, what string) { a.secrets[word] = what }

// Refused checks what a refusal leaves: nothing.
func (a *Auditor) Refused(r *contracts.Refusal, before, after int) error {
	if _, ok := contracts.Lookup(r.Code); !ok {
		return fmt.Errorf("audit: the refusal %s is not documented", r.Code)
	}
	for _, word := range strings.FieldsFunc(r.Detail, func(c rune) bool { return strings.ContainsRune(` ",.:;()%`, c) }) {
		if what := a.secrets[word]; what != "" {
			return fmt.Errorf("audit: the refusal %s says %s", r.Code, what)
		}
	}
	if before != after {
		return fmt.Errorf("audit: %s left a trace: %d keys, then %d", r.Code, before, after)
	}
	return nil
}

// Accepted checks an accepted command against the books and enters it.
func (a *Auditor) Accepted(sub contracts.Submission, at contracts.Millis, res *contracts.Result) error {
	env, err := parse(sub.Raw)
	if err != nil {
		return err
	}
	c := &audited{a: a, env: env, kind: env.get("kind").str(), id: env.get("id").str(), member: env.get("member").str(), body: env.get("body"), at: at, sub: sub, res: res}
	for _, check := range []func() error{c.time, c.signatures, c.openings, c.writes, c.audience, c.privacy, c.edges, c.listing, c.quota, c.settle} {
		if err := check(); err != nil {
			return fmt.Errorf("audit: %s: %w", c.kind, err)
		}
	}
	for _, w := range res.Writes {
		if w.Value == nil {
			delete(a.state, w.Key)
			continue
		}
		a.state[w.Key], _ = parse(w.Value)
	}
	a.now = at
	a.raw[c.id] = string(sub.Raw)
	return nil
}

// Repeated checks that a recorded answer was given to the recorded bytes, and changed nothing.
func (a *Auditor) Repeated(sub contracts.Submission, before, after int) error {
	env, err := parse(sub.Raw)
	if err != nil || a.raw[env.get("id").str()] != string(sub.Raw) {
		return fmt.Errorf("audit: other bytes got a recorded answer")
	}
	if before != after {
		return fmt.Errorf("audit: a repeated command left a trace")
	}
	return nil
}

// audited is one accepted command under audit.
type audited struct {
	a                *Auditor
	env              record
	kind, id, member string
	body             record
	at               contracts.Millis
	sub              contracts.Submission
	res              *contracts.Result
}

func (c *audited) time() error {
	if c.env.get("ledger").str() != c.a.ledger {
		return fmt.Errorf("of another ledger")
	}
	if c.at < c.a.now {
		return fmt.Errorf("the ledger's time ran back from %d to %d", c.a.now, c.at)
	}
	if c.kind != "genesis" && int64(c.at) > c.env.get("notAfter").num() {
		return fmt.Errorf("accepted after its validity")
	}
	return nil
}

// twoPeople names the kinds that need two people of the acting member, by the market's promise.
var twoPeople = []string{"rulebook.adopt", "calendar.publish", "member.admit", "member.turn_away", "member.suspend", "member.reinstate", "member.exit",
	"person.appoint", "key.add", "authority.grant", "product.submit", "product.answer", "product.register", "product.list", "product.price", "product.suspend",
	"product.resume", "product.delist", "attestation.issue", "negotiation.request", "negotiation.counter", "negotiation.offer", "agreement.propose",
	"agreement.verify", "agreement.amend", "agreement.renew", "agreement.terminate", "acceptance.record", "grant.revoke", "movement.deposit", "movement.refund",
	"movement.payout", "movement.collection", "certificate.issue", "freeze.order", "freeze.lift", "dispute.decide", "export.decide", "loss.accept"}

// signatures verifies them, looks every signer up in the key records and counts people.
func (c *audited) signatures() error {
	for _, s := range c.sub.Signatures {
		suite, h, _ := strings.Cut(string(s.Key), ":")
		if key, err := hex.DecodeString(h); suite == "ed25519" && (err != nil || !ed25519.Verify(key, c.sub.Raw, s.Sig)) {
			return fmt.Errorf("a signature does not verify")
		}
	}
	if c.kind == "genesis" || c.kind == "member.apply" {
		return nil
	}
	people := map[string]map[string]bool{}
	for _, s := range c.sub.Signatures {
		k := c.a.state["key/"+digest("bund/key/v1", []byte(s.Key))[:32]]
		switch {
		case k.v == nil:
			return fmt.Errorf("signed by a key that is nowhere")
		case k.get("revoked").num() != 0:
			return fmt.Errorf("signed by a revoked key")
		case k.get("purpose").str() != "command":
			return fmt.Errorf("signed by a key for %s", k.get("purpose").str())
		case k.get("notAfter").num() != 0 && k.get("notAfter").num() < int64(c.at):
			return fmt.Errorf("signed by a key past its validity")
		}
		m := k.get("member").str()
		if people[m] == nil {
			people[m] = map[string]bool{}
		}
		if p := k.get("person").str(); p != "" {
			if c.a.state["person/"+m+"/"+p].get("dismissed").num() != 0 {
				return fmt.Errorf("signed by somebody who was dismissed")
			}
			people[m][p] = true
		}
	}
	if people[c.member] == nil {
		return fmt.Errorf("the member has not signed")
	}
	if slices.Contains(twoPeople, c.kind) && len(people[c.member]) < 2 {
		return fmt.Errorf("signed by %d people", len(people[c.member]))
	}
	if slices.Contains([]string{"agreement.amend", "agreement.renew", "rulebook.adopt"}, c.kind) {
		if len(people) != 2 {
			return fmt.Errorf("signed by %d members", len(people))
		}
		for m, ps := range people {
			if len(ps) < 2 {
				return fmt.Errorf("%s signed with %d people", m, len(ps))
			}
		}
	}
	st := c.a.state["member/"+c.member].get("state").str()
	if st != "active" && !slices.Contains([]string{"member.renew_file", "key.revoke", "person.dismiss", "node.retire"}, c.kind) {
		return fmt.Errorf("the member is %s", st)
	}
	return nil
}

// openings enters the private values of a command and its result, under commitments computed anew. What is in them is
// secret from then on: salts, references, and amounts long enough to be recognised.
func (c *audited) openings() error {
	enter := func(tag string, o contracts.Opening) string {
		h := digest(tag, o.Salt[:], o.Value)
		v, err := parse(o.Value)
		if err == nil {
			c.a.open[h] = v
			c.a.words(v, tag)
		}
		c.a.Secret(hex.EncodeToString(o.Salt[:]), "a salt")
		return h
	}
	for _, o := range c.sub.Openings {
		for _, tag := range []string{"bund/terms/v1", "bund/usage/v1", "bund/movement/v1", "bund/escrow/v1", "bund/settlement/v1"} {
			enter(tag, o)
		}
	}
	for _, k := range c.res.Openings {
		if h := enter(k.Tag, k.Opening); h != string(k.Commitment) {
			return fmt.Errorf("a kept opening is not that of its commitment")
		}
		if !c.res.Public && len(k.Audience) == 0 {
			return fmt.Errorf("an opening is kept for nobody")
		}
	}
	return nil
}

func (a *Auditor) words(v record, what string) {
	switch x := v.v.(type) {
	case map[string]any:
		for _, y := range x {
			a.words(record{y}, what)
		}
	case []any:
		for _, y := range x {
			a.words(record{y}, what)
		}
	case string:
		if _, err := atoi(x); err == nil && len(x) >= 6 && a.amounts || strings.HasPrefix(x, "JP-") {
			a.Secret(x, "a value of "+what)
		}
	}
}
