package proposal_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/proposal"
)

func sample() proposal.Call {
	return proposal.Call{Function: proposal.Submit, Epoch: 12, Commands: []contracts.Submission{
		{Raw: []byte(`{"a":"1"}`), Signatures: []contracts.Signature{{Key: "ed25519:00", Sig: bytes.Repeat([]byte{1}, 64)}, {Key: "es256:11", Sig: []byte{}}},
			Openings: []contracts.Opening{{Salt: [32]byte{7}, Value: []byte("terms")}, {Salt: [32]byte{8}}}},
		{Raw: []byte("x"), Signatures: []contracts.Signature{{Key: "k", Sig: []byte{2}}}},
	}}
}

func TestCall(t *testing.T) {
	c := sample()
	got, err := proposal.ParseCall(c.Args())
	if err != nil {
		t.Fatal(err)
	}
	if err := proposal.SetOpenings(got.Commands, proposal.Openings(c.Commands)); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, c) {
		t.Fatalf("%+v", got)
	}
	args := c.Args()
	for name, bad := range map[string][][]byte{
		"no command":        args[:2],
		"another function":  append([][]byte{[]byte("gets")}, args[1:]...),
		"an epoch of zero":  append([][]byte{args[0], []byte("0")}, args[2:]...),
		"a padded epoch":    append([][]byte{args[0], []byte("012")}, args[2:]...),
		"a negative epoch":  append([][]byte{args[0], []byte("-1")}, args[2:]...),
		"no signature":      {args[0], args[1], {0, 'x'}},
		"a cut signature":   {args[0], args[1], args[2][:20]},
		"no signed bytes":   {args[0], args[1], {1, 0, 1, 'k', 0, 1, 's'}},
		"too many commands": append(append([][]byte{}, args[:2]...), make([][]byte, proposal.MaxBatch+1)...),
	} {
		if _, err := proposal.ParseCall(bad); err == nil {
			t.Errorf("took %s", name)
		}
	}
}

func TestOpenings(t *testing.T) {
	c := sample()
	if proposal.Openings(c.Commands[1:]) != nil {
		t.Error("openings of nothing")
	}
	good := proposal.Openings(c.Commands)
	for i := range good {
		fresh := []contracts.Submission{{}, {}}
		if err := proposal.SetOpenings(fresh, good[:i]); err == nil && i > 0 {
			t.Errorf("took %d of %d bytes", i, len(good))
		} else if err != nil && strings.Contains(err.Error(), "terms") {
			t.Error("the error says what it read")
		}
	}
	if err := proposal.SetOpenings([]contracts.Submission{{}}, []byte{0}); err == nil {
		t.Error("took an encoding of nothing")
	}
}

func TestReply(t *testing.T) {
	res := &contracts.Result{Rulebook: 3, Events: []contracts.Event{{Name: "product.listed", Object: "0102030405060708090a0b0c0d0e0f10"}},
		Writes: []contracts.Write{{Key: "a", Value: []byte("1")}, {Key: "usage/0102030405060708090a0b0c0d0e0f10/202601"}}, Public: true}
	res.Objects = contracts.Objects(res.Writes)
	r := proposal.Reply{Answers: []proposal.Answer{proposal.Accept(res, 1_800_000_000_000, false), proposal.Refuse(&contracts.Refusal{Code: "x.y", Detail: "no"}),
		proposal.Accept(&contracts.Result{Repeated: true}, 1, true)}}
	got, err := proposal.ParseReply(r.Encode(), 3)
	if err != nil || !reflect.DeepEqual(got, r) {
		t.Fatalf("%v %+v", err, got)
	}
	again, err := got.Answers[0].Accepted.Result(func(k string) ([]byte, bool) {
		if k == "a" {
			return []byte("1"), true
		}
		return nil, true
	})
	if err != nil || !reflect.DeepEqual(again, res) {
		t.Fatalf("%v\n%+v\n%+v", err, again, res)
	}
	if _, err := got.Answers[0].Accepted.Result(func(string) ([]byte, bool) { return nil, false }); err == nil {
		t.Error("took a key that wasn't written")
	}
	if _, err := proposal.ParseReply(r.Encode(), 2); err == nil {
		t.Error("took three answers to two commands")
	}
	both := proposal.Reply{Answers: []proposal.Answer{{Repeated: true, Refused: &proposal.Refused{Code: "x.y"}}}}
	if _, err := proposal.ParseReply(both.Encode(), 1); err == nil {
		t.Error("took an answer that is two")
	}
	if refusal := got.Answers[1].Refused.Refusal(); refusal.Code != "x.y" || refusal.Detail != "no" {
		t.Errorf("%+v", refusal)
	}
}

func TestValues(t *testing.T) {
	in := [][]byte{[]byte("a"), nil, []byte("bc")}
	b := proposal.Values(in)
	got, err := proposal.ParseValues(b, 3)
	if err != nil || !reflect.DeepEqual(got, in) {
		t.Fatalf("%v %q", err, got)
	}
	for i := range b {
		if _, err := proposal.ParseValues(b[:i], 3); err == nil {
			t.Errorf("took %d of %d bytes", i, len(b))
		}
	}
	if _, err := proposal.ParseValues(b, 2); err == nil {
		t.Error("took three values for two keys")
	}
}

func FuzzParse(f *testing.F) {
	c := sample()
	f.Add(c.Args()[2], proposal.Openings(c.Commands))
	f.Fuzz(func(t *testing.T, command, openings []byte) {
		got, err := proposal.ParseCall([][]byte{[]byte("submit"), []byte("1"), command})
		if err != nil {
			return
		}
		again, err := proposal.ParseCall(got.Args())
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Fatalf("%x decodes to %+v and, encoded again, to %+v, %v", command, got, again, err)
		}
		if err := proposal.SetOpenings(got.Commands, openings); err == nil && len(openings) > 0 {
			if again := proposal.Openings(got.Commands); !bytes.Equal(again, openings) {
				t.Fatalf("%x decodes and encodes as %x", openings, again)
			}
		}
	})
}
