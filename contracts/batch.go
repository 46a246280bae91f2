package contracts

import "errors"

// A batch is what one Submit carries: several commands with their own signatures and results, one transaction on
// Fabric. (The embedded ledger's group commit is not a batch: there later commands see earlier ones.) Both ledgers run
// this code.

// Answer is a batch's answer to one command: a result or a refusal.
type Answer struct {
	Result  *Result
	Refusal *Refusal
}

// ApplyBatch applies commands one by one to the state before the batch. A refused one writes nothing; one that reads
// or writes what an earlier one wrote gets batch.dependent, which a client retries in a later batch. A failure
// fails the whole batch.
func ApplyBatch(st State, env Env, cmds []*Command) ([]Answer, error) {
	written := map[string]bool{}
	before := batchState{st, written}
	var view State = before
	if d, ok := st.(Decoded); ok {
		view = decodedBatch{before, d}
	}
	out := make([]Answer, len(cmds))
	for i, c := range cmds {
		res, err := Apply(view, env, c)
		var r *Refusal
		switch {
		case errors.Is(err, errDependent):
			out[i].Refusal = refuse("batch.dependent", "this depends on an earlier command of the same batch")
		case errors.As(err, &r):
			out[i].Refusal = r
		case err != nil:
			return nil, err
		case dependent(res.Writes, written):
			out[i].Refusal = refuse("batch.dependent", "this depends on an earlier command of the same batch")
		default:
			for _, w := range res.Writes {
				written[w.Key] = true
			}
			out[i].Result = res
		}
	}
	return out, nil
}

var errDependent = errors.New("contracts: depends on an earlier command of the batch")

func dependent(ws []Write, written map[string]bool) bool {
	for _, w := range ws {
		if written[w.Key] {
			return true
		}
	}
	return false
}

// batchState is the state before a batch, without what the batch has written.
type batchState struct {
	st      State
	written map[string]bool
}

func (b batchState) Get(key string) ([]byte, error) {
	if b.written[key] {
		return nil, errDependent
	}
	return b.st.Get(key)
}

func (b batchState) Ahead(keys ...string) {
	if a, ok := b.st.(Ahead); ok {
		a.Ahead(keys...)
	}
}

type decodedBatch struct {
	batchState
	kept Decoded
}

func (b decodedBatch) Record(key string, read func([]byte) (any, error)) (any, error) {
	if b.written[key] {
		return nil, errDependent
	}
	return b.kept.Record(key, read)
}
