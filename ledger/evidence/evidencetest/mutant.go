package evidencetest

import (
	"bytes"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
)

// Mutate makes rules that decide as the rule book does and then let edit change what a kind of command does: what a
// venue would run that changes the program.
func Mutate(kind string, edit func(cmd *contracts.Command, res *contracts.Result)) func(contracts.State, contracts.Env, *contracts.Command) (*contracts.Result, error) {
	return func(st contracts.State, env contracts.Env, cmd *contracts.Command) (*contracts.Result, error) {
		res, err := contracts.Apply(st, env, cmd)
		if err == nil && !res.Repeated && cmd.Kind == kind {
			edit(cmd, res)
		}
		return res, err
	}
}

// Reseal changes the last private value of a tag that a result makes, under a commitment that fits.
func Reseal[T any](res *contracts.Result, tag string, edit func(*T)) {
	for i := len(res.Openings) - 1; i >= 0; i-- {
		k := &res.Openings[i]
		if k.Tag != tag {
			continue
		}
		v := new(T)
		if err := canon.Unmarshal(k.Opening.Value, v); err != nil {
			panic(err)
		}
		edit(v)
		old := k.Commitment
		k.Opening.Value = canon.Marshal(v)
		k.Commitment = k.Opening.Commitment(tag)
		for j, w := range res.Writes {
			res.Writes[j].Value = bytes.ReplaceAll(w.Value, []byte(old), []byte(k.Commitment))
		}
		return
	}
	panic("no value of " + tag)
}

// Rewrite changes a record in a write set.
func Rewrite[T any](ws []contracts.Write, key string, edit func(*T)) {
	for i, w := range ws {
		if w.Key == key {
			v := new(T)
			if err := canon.Unmarshal(w.Value, v); err != nil {
				panic(err)
			}
			edit(v)
			ws[i].Value = canon.Marshal(v)
			return
		}
	}
	panic("no write of " + key)
}
