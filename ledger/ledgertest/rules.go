package ledgertest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/bund-exchange/bund/contracts"
)

// A rule book that is small enough to test a ledger with: accounts with a balance that can't be overdrawn, objects that
// come and go, and a sealed value. A command is one line of text:
//
//	<id> open <account>
//	<id> transfer <from> <to> <amount>
//	<id> register <object>
//	<id> remove <object>
//	<id> put <key> <value>
//	<id> seal <value>
//	<id> panic
//
// Signatures are verified when there are some.

// Line builds a submission without signatures.
func Line(id contracts.ID, words ...string) contracts.Submission {
	return contracts.Submission{Raw: []byte(string(id) + " " + strings.Join(words, " "))}
}

// CommandID gives a command id of that time whose other bits come from name.
func CommandID(at contracts.Millis, name string) contracts.ID {
	h := sha256.Sum256([]byte(name))
	return contracts.ID(fmt.Sprintf("%012x%x", int64(at), h[:10]))
}

// Decode reads a command of the small rule book.
func Decode(sub contracts.Submission) (*contracts.Command, error) {
	words := strings.Split(string(sub.Raw), " ")
	id := contracts.ID(words[0])
	if id.Check() != nil || len(words) < 2 {
		return nil, no("command.malformed")
	}
	for _, s := range sub.Signatures {
		if !s.Key.Verify(sub.Raw, s.Sig) {
			return nil, no("signature.invalid")
		}
	}
	ms, _ := strconv.ParseInt(words[0][:12], 16, 64)
	c := &contracts.Command{Raw: sub.Raw, Signatures: sub.Signatures, Openings: sub.Openings}
	c.ID, c.Kind, c.NotBefore = id, words[1], contracts.Millis(ms)
	c.NotAfter = c.NotBefore.Add(600)
	c.Digest = contracts.HashOf("bund/digest/v1", sub.Raw)
	return c, nil
}

func no(code contracts.Code) *contracts.Refusal { return &contracts.Refusal{Code: code, Detail: "no"} }

// Apply decides about a command of the small rule book.
func Apply(st contracts.State, env contracts.Env, c *contracts.Command) (*contracts.Result, error) {
	v, err := st.Get(contracts.KeyCommand(c.ID))
	if err != nil {
		return nil, err
	}
	if v != nil {
		out, err := contracts.Read[contracts.Outcome](v)
		if err != nil {
			return nil, err
		}
		if out.Digest != c.Digest {
			return nil, no("command.id_reused")
		}
		return &contracts.Result{Repeated: true, Outcome: *out}, nil
	}
	if env.Now > c.NotAfter {
		return nil, no("command.expired")
	}
	r := &result{st: st, writes: map[string][]byte{}}
	if err := r.decide(c, strings.Split(string(c.Raw), " ")[2:]); err != nil {
		return nil, err
	}
	res := &contracts.Result{Rulebook: 1, Events: []contracts.Event{{Name: c.Kind + ".done"}}, Openings: r.openings}
	res.Outcome = contracts.Outcome{Digest: c.Digest, Kind: c.Kind}
	r.writes[contracts.KeyCommand(c.ID)] = fmt.Appendf(nil, `{"digest":"%s","events":[],"kind":"%s"}`, c.Digest, c.Kind)
	for _, k := range slices.Sorted(maps.Keys(r.writes)) {
		res.Writes = append(res.Writes, contracts.Write{Key: k, Value: r.writes[k]})
	}
	return res, r.err
}

type result struct {
	st       contracts.State
	writes   map[string][]byte
	openings []contracts.KeptOpening
	err      error
}

func (r *result) get(key string) []byte {
	v, err := r.st.Get(key)
	r.err = errors.Join(r.err, err)
	return v
}

func (r *result) balance(account string) (int64, bool) {
	v := r.get("account/" + account)
	n, _ := strconv.ParseInt(string(v), 10, 64)
	return n, v != nil
}

func (r *result) decide(c *contracts.Command, args []string) error {
	form := c.Kind + " " + strconv.Itoa(len(args))
	switch form {
	case "open 1":
		if _, there := r.balance(args[0]); there {
			return no("account.exists")
		}
		r.writes["account/"+args[0]] = []byte("1000")
	case "transfer 3":
		amount, err := strconv.ParseInt(args[2], 10, 64)
		from, ok1 := r.balance(args[0])
		to, ok2 := r.balance(args[1])
		switch {
		case err != nil || amount < 1 || args[0] == args[1] || !ok1 || !ok2:
			return no("transfer.malformed")
		case from < amount:
			return no("account.funds")
		}
		r.writes["account/"+args[0]] = strconv.AppendInt(nil, from-amount, 10)
		r.writes["account/"+args[1]] = strconv.AppendInt(nil, to+amount, 10)
	case "register 1":
		k := "object/" + args[0]
		if r.get(k) != nil {
			return no("object.exists")
		}
		r.writes[k] = []byte(c.ID)
	case "remove 1":
		k := "object/" + args[0]
		if r.get(k) == nil {
			return no("object.unknown")
		}
		r.writes[k] = nil
	case "put 2":
		r.writes["value/"+args[0]] = []byte(args[1])
	case "seal 1":
		o := contracts.Opening{Salt: sha256.Sum256([]byte(c.ID)), Value: []byte(args[0])}
		r.openings = append(r.openings, contracts.KeptOpening{Tag: "seal", Commitment: o.Commitment("seal"), Opening: o})
		r.writes["sealed/"+string(c.ID)] = []byte(o.Commitment("seal"))
	case "panic 0":
		panic("told to")
	default:
		return no("command.kind")
	}
	return r.err
}

// MapState is a contracts.State in memory, written by Put.
type MapState map[string][]byte

// Get gives the value of key, or nil.
func (m MapState) Get(key string) ([]byte, error) { return m[key], nil }

// Put takes over a write set.
func (m MapState) Put(ws []contracts.Write) {
	for _, w := range ws {
		if w.Value == nil {
			delete(m, w.Key)
		} else {
			m[w.Key] = w.Value
		}
	}
}
