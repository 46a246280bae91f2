package evidence

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bund-exchange/bund/contracts"
)

// replay runs the rules on an entry over the state before it and compares. It changes nothing but it.
func (a *audit) replay(it *item, before view) {
	it.cmd.Find = func(tag string, c contracts.Hash) (contracts.Opening, bool) {
		o, ok := a.find(tag, c)
		if !ok {
			it.missing = append(it.missing, c)
		}
		return o, ok
	}
	if now, err := contracts.NextTime(before, 0, it.e.Time); err != nil || now != it.e.Time {
		it.late = now
	}
	it.res, it.refused = a.rules(before, contracts.Env{Ledger: a.trust.Ledger, Now: it.e.Time, Position: int64(it.e.Position)}, it.cmd)
	if it.refused != nil {
		it.res = nil
		return
	}
	if !it.res.Repeated {
		it.differs = differing(it.res, it.e)
	}
}

// rules runs the rule book. It was written for a state that it made itself: over one that somebody forged it may panic,
// and that is an answer about the export.
func (a *audit) rules(st contracts.State, env contracts.Env, cmd *contracts.Command) (res *contracts.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			res, err = nil, fmt.Errorf("over a state that no rules make: %v", p)
		}
	}()
	return a.cfg.apply(st, env, cmd)
}

// judge enters what was found about an entry, in order.
func (a *audit) judge(it *item, before view) {
	a.link(it)
	if it.e == nil {
		a.fail(CheckEntries, it.where(field(it.err)), say{"%v", "%v"}, it.err)
		return
	}
	a.count(CheckEntries, 1)
	a.loss(it)
	if it.cmd == nil {
		a.fail(CheckSignatures, it.where(signedField(it.sig)), say{"%v", "%v"}, it.sig)
		a.skip(CheckRules, say{"a command's signature does not verify", "有命令签名无效"})
		return
	}
	a.count(CheckSignatures, len(it.e.Signatures))
	var r *contracts.Refusal
	switch {
	case it.late != 0:
		a.fail(CheckRules, it.where("time"), say{"the ledger's clock gives %d", "账本时钟应为 %d"}, it.late)
	case it.refused == nil && it.res.Repeated:
		a.fail(CheckRules, it.where("command.id"), say{"the command was accepted before", "命令此前已被接受"})
	case it.refused == nil && it.differs != "":
		a.fail(CheckRules, it.where(it.differs), say{"the rules give something else", "规则给出的结果不同"})
	case it.refused == nil:
		a.count(CheckRules, 1)
	case errors.As(it.refused, &r) && r.Code == "opening.missing" && len(it.missing) > 0:
		if f := formed(it, before); f != "" {
			a.fail(CheckRules, it.where(f), say{"no rule writes this, whatever the missing opening says", "无论缺失的私密值为何，规则都不会如此写入"})
			break
		}
		a.skip(CheckRules, unopened)
		for _, w := range it.e.Writes {
			for _, c := range commitments(w) {
				a.use(c, it.where("writes."+w.Key))
			}
		}
	default:
		a.fail(CheckRules, it.where(signedField(it.refused)), say{"the rules don't accept it: %v", "规则不接受：%v"}, it.refused)
	}
	for _, c := range it.missing {
		a.use(c, it.where(signedField(it.refused)))
	}
	if it.res != nil {
		for _, k := range it.res.Openings {
			a.use(k.Commitment, it.where("writes"))
		}
	}
	a.money.entry(a, it, before)
}

// signedField names the part of the signed command that a refusal is about.
func signedField(err error) string {
	var r *contracts.Refusal
	switch {
	case !errors.As(err, &r):
		return "command"
	case strings.HasPrefix(string(r.Code), "signature.") || strings.HasPrefix(string(r.Code), "key."):
		return "signatures"
	case r.Field != "":
		return "command." + r.Field
	}
	return "command"
}

var publicKinds = func() map[string]bool {
	m := map[string]bool{}
	for _, k := range contracts.Kinds() {
		m[k.Name] = k.Public
	}
	return m
}()

// formed checks what can be checked of an entry whose rules need an opening that isn't there. Signers, time and id were
// checked before the rules asked for it. It names the wrong field.
func formed(it *item, before view) string {
	e := it.e
	rules, err := contracts.RulesOf(before)
	if err != nil || rules == nil || rules.Version != e.Rulebook {
		return "rulebook"
	}
	out := written[contracts.Outcome](it, contracts.KeyCommand(it.cmd.ID))
	recorded := out != nil && out.Digest == it.cmd.Digest && out.Kind == it.cmd.Kind && len(out.Events) == len(e.Events)
	for i := 0; recorded && i < len(e.Events); i++ {
		recorded = out.Events[i].Name == e.Events[i].Name && out.Events[i].Object == e.Events[i].Object
	}
	switch {
	case !recorded:
		return "writes." + contracts.KeyCommand(it.cmd.ID)
	case e.Public != publicKinds[it.cmd.Kind]:
		return "public"
	case !slices.Equal(contracts.Objects(e.Writes), e.Objects):
		return "objects"
	case e.Public != (len(e.Audience) == 0):
		return "audience"
	}
	return ""
}
