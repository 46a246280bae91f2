package contractstest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bund-exchange/bund/contracts"
)

// introduces lists the nouns whose records give out a new id, and which part of the key it is.
var introduces = map[string]int{"member": 1, "person": 2, "key": 1, "node": 1, "authorization": 1, "product": 1, "version": 1, "attestation": 1, "negotiation": 1,
	"agreement": 1, "consent": 1, "correction": 1, "export": 1, "objection": 2, "clr/movement": 3, "model": 1, "statistics": 1}

// partyNouns are those whose objects are known to their parties alone: the ids that a leaf must show.
var partyNouns = []string{"attestation", "negotiation", "agreement", "grant", "consent", "usage", "period", "certificate", "dispute", "correction",
	"export", "model", "statistics", "clr/escrow", "clr/settlement", "clr/movement", "clr/settled", "clr/debt"}

// plumbing nouns are no objects: indexes and bookkeeping that hold no more than ids.
var plumbing = []string{"cmd", "serial", "clr/serial", "clr/ref", "member-code", "commitment", "clr/commitment"}

func nounOf(key string) (string, []string) {
	parts := strings.Split(key, "/")
	if parts[0] == "clr" {
		return parts[0] + "/" + parts[1], parts
	}
	return parts[0], parts
}

// writes checks the write set's form, and that every id is given out once.
func (c *audited) writes() error {
	if n := len(c.res.Writes); n == 0 || !slices.ContainsFunc(c.res.Writes, func(w contracts.Write) bool { return w.Key == "cmd/"+c.id }) {
		return fmt.Errorf("no record of the command itself")
	}
	if _, twice := c.a.state["cmd/"+c.id]; twice {
		return fmt.Errorf("a command id accepted twice")
	}
	clearing := strings.HasPrefix(c.kind, "movement.") || strings.HasPrefix(c.kind, "settlement.")
	for i, w := range c.res.Writes {
		if i > 0 && w.Key <= c.res.Writes[i-1].Key {
			return fmt.Errorf("the write set is not in order at %s", w.Key)
		}
		if w.Value == nil {
			return fmt.Errorf("%s is deleted: history is not", w.Key)
		}
		if _, err := parse(w.Value); err != nil {
			return fmt.Errorf("%s: %w", w.Key, err)
		}
		noun, parts := nounOf(w.Key)
		if noun != "cmd" && strings.HasPrefix(w.Key, "clr/") != clearing {
			return fmt.Errorf("%s belongs to the other definition", w.Key)
		}
		if at, ok := introduces[noun]; ok {
			if _, old := c.a.state[w.Key]; !old {
				id := parts[at]
				if was := c.a.ids[id]; was != "" {
					return fmt.Errorf("the id of the new %s was given to a %s", noun, was)
				}
				c.a.ids[id] = noun
			}
		}
	}
	return nil
}

// audience checks who may see what: a public entry is everybody's; another goes to somebody, shows the ids of what it
// touched, and goes at least to those who saw these objects begin.
func (c *audited) audience() error {
	touched := map[string]bool{}
	for _, w := range c.res.Writes {
		noun, parts := nounOf(w.Key)
		if slices.Contains(partyNouns, noun) {
			i := 1
			if parts[0] == "clr" {
				i = 2
			}
			touched[parts[i]] = true
		} else if !c.res.Public && !slices.Contains(plumbing, noun) {
			return fmt.Errorf("%s is written by an entry that is not public", noun)
		}
	}
	if len(touched) != len(c.res.Objects) {
		return fmt.Errorf("%d objects touched, %d in the leaf", len(touched), len(c.res.Objects))
	}
	for _, id := range c.res.Objects {
		if !touched[string(id)] {
			return fmt.Errorf("the leaf shows an id that was not touched")
		}
	}
	if c.res.Public {
		if len(c.res.Audience) != 0 || len(touched) != 0 {
			return fmt.Errorf("a public entry about a private object, or with an audience")
		}
		return nil
	}
	if len(c.res.Audience) == 0 {
		return fmt.Errorf("nobody may see it")
	}
	for i, m := range c.res.Audience {
		if c.a.state["member/"+string(m)].v == nil || i > 0 && m <= c.res.Audience[i-1] {
			return fmt.Errorf("the audience is no list of members")
		}
	}
	for id := range touched {
		if c.a.first[id] == nil {
			c.a.first[id] = c.res.Audience
		}
		for _, m := range c.a.first[id] {
			if !slices.Contains(c.res.Audience, m) {
				return fmt.Errorf("a party that saw the object begin may not see this")
			}
		}
	}
	return nil
}

// privacy looks for private words in all that the entry shows.
func (c *audited) privacy() error {
	for _, w := range c.res.Writes {
		for _, word := range words(w.Key + "\"" + string(w.Value)) {
			if what := c.a.secrets[word]; what != "" {
				return fmt.Errorf("%s shows %s", w.Key, what)
			}
		}
	}
	for _, word := range words(string(c.sub.Raw)) {
		if what := c.a.secrets[word]; what != "" {
			return fmt.Errorf("the signed body shows %s", what)
		}
	}
	return nil
}

// words cuts canonical JSON into its strings and key parts.
func words(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(`"/:,{}[]`, r) })
}

// ways lists, for each noun with a state, the steps it may take and the kinds that take them. Staying where it is is
// always allowed; "" is not there yet.
var ways = map[string]map[string][]string{
	"member": {
		">applied": {"member.apply"}, ">active": {"genesis"}, "applied>active": {"member.admit"}, "applied>exited": {"member.turn_away"},
		"active>suspended": {"member.suspend"}, "suspended>active": {"member.reinstate"}, "active>exited": {"member.exit"}, "suspended>exited": {"member.exit"},
	},
	"version": {
		">draft": {"product.draft"}, "draft>submitted": {"product.submit"}, "submitted>compliance_review": {"product.review"},
		"compliance_review>quality_review": {"product.review"}, "quality_review>publicity": {"product.review"}, "publicity>registered": {"product.register"},
		"registered>listed": {"product.list"}, "listed>suspended": {"product.suspend"}, "suspended>listed": {"product.resume"},
		"listed>delisted": {"product.delist", "product.list"}, "suspended>delisted": {"product.delist", "product.list"}, "registered>delisted": {"product.delist"},
		"submitted>draft": {"product.review"}, "compliance_review>draft": {"product.review"}, "quality_review>draft": {"product.review"}, "publicity>draft": {"product.review"},
		"submitted>rejected": {"product.review"}, "compliance_review>rejected": {"product.review"}, "quality_review>rejected": {"product.review"},
		"publicity>rejected": {"product.review", "product.answer"},
	},
	"negotiation": {
		">REQUESTED": {"negotiation.request"}, "REQUESTED>OFFERED": {"negotiation.offer"}, "OFFERED>REQUESTED": {"negotiation.counter"},
		"OFFERED>ACCEPTED": {"negotiation.accept"}, "ACCEPTED>AGREED": {"agreement.propose"}, "AGREED>VERIFIED": {"agreement.verify"},
		"VERIFIED>FINALIZED": {"agreement.finalize"}, "REQUESTED>TERMINATED": {"negotiation.terminate"}, "OFFERED>TERMINATED": {"negotiation.terminate"},
		"ACCEPTED>TERMINATED": {"negotiation.terminate"}, "AGREED>TERMINATED": {"negotiation.terminate"}, "VERIFIED>TERMINATED": {"negotiation.terminate"},
	},
	"agreement": {
		">active": {"agreement.finalize"}, "active>expired": {"agreement.expire"}, "active>terminated": {"agreement.terminate"},
	},
	"grant": {
		">pending": {"agreement.finalize"}, ">active": {"agreement.finalize"}, "pending>active": {"grant.activate"}, "active>payment_hold": {"grant.hold"},
		"payment_hold>active": {"grant.release"}, "active>suspended": {"grant.suspend"}, "suspended>active": {"grant.resume"},
		"pending>revoked": {"grant.revoke", "agreement.expire", "agreement.terminate"}, "active>revoked": {"grant.revoke", "agreement.expire", "agreement.terminate"},
		"payment_hold>revoked": {"grant.revoke", "agreement.expire", "agreement.terminate"}, "suspended>revoked": {"grant.revoke", "agreement.expire", "agreement.terminate"},
	},
}

func (c *audited) edges() error {
	for _, w := range c.res.Writes {
		noun, _ := nounOf(w.Key)
		if ways[noun] == nil {
			continue
		}
		v, _ := parse(w.Value)
		from, to := c.a.state[w.Key].get("state").str(), v.get("state").str()
		if from != to && !slices.Contains(ways[noun][from+">"+to], c.kind) {
			return fmt.Errorf("a %s goes from %q to %q", noun, from, to)
		}
		if noun == "agreement" && to != "active" {
			g := c.a.state["grant/"+strings.TrimPrefix(w.Key, "agreement/")].get("state").str()
			for _, o := range c.res.Writes {
				if o.Key == "grant/"+strings.TrimPrefix(w.Key, "agreement/") {
					v, _ := parse(o.Value)
					g = v.get("state").str()
				}
			}
			if g != "revoked" {
				return fmt.Errorf("the agreement is %s and its grant %s", to, g)
			}
		}
	}
	return nil
}

// listing checks 不合规不挂牌 anew: what is listed has been public long enough, without open objections, and rests on valid
// attestations of every required type by members who share no controller with the provider.
func (c *audited) listing() error {
	if c.kind == "product.register" {
		v := c.a.state["version/"+c.body.get("version").str()]
		if int64(c.at) < v.get("publicityEnd").num() || v.get("objections").num() != 0 {
			return fmt.Errorf("registered while its publicity ran or objections were open")
		}
	}
	if c.kind != "product.list" {
		return nil
	}
	version := c.body.get("version").str()
	provider := c.a.state["product/"+c.a.state["version/"+version].get("product").str()].get("provider").str()
	have := map[string]bool{}
	for _, id := range c.body.get("attestations").list() {
		t := c.a.state["attestation/"+id.str()]
		by := t.get("by").str()
		if t.get("version").str() != version || t.get("withdrawn").num() != 0 || t.get("expires").num() <= int64(c.at) || t.get("verdict").str() == "not_tradable" {
			return fmt.Errorf("listed on an attestation that is foreign, withdrawn, expired or negative")
		}
		for _, x := range c.a.state["member/"+by].get("controllers").list() {
			for _, y := range c.a.state["member/"+provider].get("controllers").list() {
				if x.str() == y.str() {
					return fmt.Errorf("listed on the attestation of an affiliate")
				}
			}
		}
		have[t.get("type").str()] = true
	}
	for _, want := range c.a.state["rulebook"].get("listingRequires").list() {
		if !have[want.str()] {
			return fmt.Errorf("listed without a %s", want.str())
		}
	}
	return nil
}

// quota checks that nodes never get more calls than the grant has.
func (c *audited) quota() error {
	for _, w := range c.res.Writes {
		if !strings.HasPrefix(w.Key, "grant/") {
			continue
		}
		g, _ := parse(w.Value)
		var sum int64
		seen := map[string]bool{}
		for _, n := range g.get("nodes").list() {
			q := n.get("quotaCalls").num()
			if q < 1 || seen[n.get("node").str()] {
				return fmt.Errorf("a node has no quota, or stands there twice")
			}
			seen[n.get("node").str()] = true
			sum += q
		}
		if sum > g.get("quotaCalls").num() {
			return fmt.Errorf("nodes have %d calls of %d", sum, g.get("quotaCalls").num())
		}
	}
	return nil
}
