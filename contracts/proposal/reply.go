package proposal

import (
	"errors"
	"fmt"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/packed"
)

// Reply is what chaincode answers to a batch: one answer for each command, in order. Endorsers must agree on its bytes.
// That of a Submit stands in the block and holds nothing private.
type Reply struct {
	Answers []Answer `json:"answers"`
}

// Answer is the answer to one command: exactly one of the three.
type Answer struct {
	Accepted *Accepted `json:"accepted,omitempty"`
	Refused  *Refused  `json:"refused,omitempty"`
	Repeated bool      `json:"repeated,omitempty"` // the same bytes were accepted before; nothing is written
}

// Accepted is what makes an entry of an accepted command, together with the transaction's write set.
type Accepted struct {
	Audience    []contracts.ID   `json:"audience,omitempty"`
	Commitments []contracts.Hash `json:"commitments,omitempty"` // of the openings that must be kept
	Events      []Event          `json:"events"`
	Keys        []string         `json:"keys"`               // written, ascending; the values are in the write set
	Openings    []Opening        `json:"openings,omitempty"` // of an Open only
	Public      bool             `json:"public,omitempty"`
	Rulebook    int64            `json:"rulebook"`
	Time        contracts.Millis `json:"time"` // that the rules were given
}

// Event is a contracts.Event.
type Event struct {
	Name   string       `json:"name"`
	Object contracts.ID `json:"object,omitempty"`
}

// Refused is a contracts.Refusal.
type Refused struct {
	Code   contracts.Code `json:"code"`
	Detail string         `json:"detail"`
	Field  string         `json:"field,omitempty"`
}

// Opening is a contracts.KeptOpening.
type Opening struct {
	Audience   []contracts.ID `json:"audience,omitempty"`
	Commitment contracts.Hash `json:"commitment"`
	Salt       [32]byte       `json:"salt"`
	Tag        string         `json:"tag"`
	Value      []byte         `json:"value,omitempty"`
}

// maxReplyBytes is far above what answers to a batch have: a key that is written is in them, its value is not.
const maxReplyBytes = 64 << 20

// Encode gives the payload.
func (r Reply) Encode() []byte { return packed.Pack(canon.Marshal(r)) }

// ParseReply accepts what Encode writes for a batch of so many commands, with words of packed written out or not.
func ParseReply(b []byte, commands int) (Reply, error) {
	var r Reply
	b, err := packed.Unpack(b, maxReplyBytes)
	if err != nil {
		return Reply{}, fmt.Errorf("proposal: the reply is malformed: %w", err)
	}
	if err := canon.Unmarshal(b, &r); err != nil {
		return Reply{}, fmt.Errorf("proposal: the reply is malformed: %w", err)
	}
	if len(r.Answers) != commands {
		return Reply{}, fmt.Errorf("proposal: %d answers to %d commands", len(r.Answers), commands)
	}
	for _, a := range r.Answers {
		n := 0
		for _, is := range []bool{a.Accepted != nil, a.Refused != nil, a.Repeated} {
			if is {
				n++
			}
		}
		if n != 1 {
			return Reply{}, errors.New("proposal: an answer must be one of three")
		}
	}
	return r, nil
}

// Accept gives the answer for a result of the rules; open adds the openings.
func Accept(res *contracts.Result, time contracts.Millis, open bool) Answer {
	if res.Repeated {
		return Answer{Repeated: true}
	}
	a := &Accepted{Audience: res.Audience, Public: res.Public, Rulebook: res.Rulebook, Time: time}
	for _, e := range res.Events {
		a.Events = append(a.Events, Event(e))
	}
	for _, w := range res.Writes {
		a.Keys = append(a.Keys, w.Key)
	}
	for _, o := range res.Openings {
		a.Commitments = append(a.Commitments, o.Commitment)
		if open {
			a.Openings = append(a.Openings, Opening{o.Audience, o.Commitment, o.Opening.Salt, o.Tag, o.Opening.Value})
		}
	}
	return Answer{Accepted: a}
}

// Refuse gives the answer for a refusal.
func Refuse(r *contracts.Refusal) Answer {
	return Answer{Refused: &Refused{Code: r.Code, Detail: r.Detail, Field: r.Field}}
}

// Refusal gives the refusal back.
func (r *Refused) Refusal() *contracts.Refusal {
	return &contracts.Refusal{Code: r.Code, Field: r.Field, Detail: r.Detail}
}

// Kept gives the openings of an Open back.
func (a *Accepted) Kept() (ks []contracts.KeptOpening) {
	for _, o := range a.Openings {
		ks = append(ks, contracts.KeptOpening{Tag: o.Tag, Commitment: o.Commitment, Opening: contracts.Opening{Salt: o.Salt, Value: o.Value}, Audience: o.Audience})
	}
	return ks
}

// Result makes the contracts.Result that an entry is made of. value gives what the transaction wrote under a key, nil for
// a deletion, and whether it wrote it.
func (a *Accepted) Result(value func(key string) ([]byte, bool)) (*contracts.Result, error) {
	res := &contracts.Result{Rulebook: a.Rulebook, Public: a.Public, Audience: a.Audience}
	for _, e := range a.Events {
		res.Events = append(res.Events, contracts.Event(e))
	}
	for i, k := range a.Keys {
		if i > 0 && k <= a.Keys[i-1] {
			return nil, errors.New("proposal: keys are not in order")
		}
		v, ok := value(k)
		if !ok {
			return nil, fmt.Errorf("proposal: the transaction did not write %s", k)
		}
		res.Writes = append(res.Writes, contracts.Write{Key: k, Value: v})
	}
	res.Objects = contracts.Objects(res.Writes)
	return res, nil
}
