package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/proposal"
)

// scene is a market on a channel, told by lines of a script.
type scene struct {
	*contractstest.Scene
	t  testing.TB
	ch *fakeChannel
	x  *executor
}

func newScene(t testing.TB, lines ...string) *scene {
	t.Helper()
	return newSceneOn(t, newExecutor(newChannel(t, "bund.test/"+strings.ToLower(t.Name()))), lines...)
}

// newSceneOn begins from nothing on a channel that may have been in use.
func newSceneOn(t testing.TB, x *executor, lines ...string) *scene {
	t.Helper()
	s := &scene{contractstest.NewScene(x.ch.ledger, x, 1), t, x.ch, x}
	s.play(lines...)
	return s
}

func (s *scene) play(lines ...string) {
	s.t.Helper()
	for _, l := range lines {
		if err := s.Run(l); err != nil {
			s.t.Fatalf("%s: %v", l, err)
		}
		if last := s.Last(); last != nil && last.Refusal != nil {
			r := last.Refusal
			s.t.Fatalf("%s: %v", l, r)
		}
	}
}

// hold gives what the lines would submit. The rules in memory have taken it, the channel has not.
func (s *scene) hold(lines ...string) []contracts.Submission {
	s.t.Helper()
	s.x.holding = true
	s.play(lines...)
	held := s.x.held
	s.x.holding, s.x.held = false, nil
	return held
}

func (s *scene) renewFile(a *contractstest.Actor, note string) contracts.Submission {
	return s.M.Sign(a.ID, "member.renew_file", contracts.MemberRenewFile{File: contracts.File{Kind: contracts.FileLicence,
		Digest: contracts.HashOf("test/file", []byte(note))}}, nil, a.Admin)
}

// badFile is refused: the file has expired.
func (s *scene) badFile(a *contractstest.Actor) contracts.Submission {
	return s.M.Sign(a.ID, "member.renew_file", contracts.MemberRenewFile{File: contracts.File{Kind: contracts.FileLicence,
		Digest: contracts.HashOf("test/file"), Expires: s.M.Now.Add(-1)}}, nil, a.Admin)
}

func (s *scene) appoint(a *contractstest.Actor) contracts.Submission {
	return s.M.Sign(a.ID, "person.appoint", contracts.PersonAppoint{Person: contracts.PersonSpec{Duties: []contracts.Duty{contracts.DutyMaker},
		Evidence: contracts.HashOf("test/evidence"), Keys: []contracts.KeySpec{{Key: s.M.Key().Public, Purpose: contracts.PurposeCommand}}}}, nil, a.Admin, a.Check)
}

// codes writes the answers of a reply: a code, "ok" or "repeated".
func codes(r proposal.Reply) string {
	var out []string
	for _, a := range r.Answers {
		switch {
		case a.Refused != nil:
			out = append(out, string(a.Refused.Code))
		case a.Repeated:
			out = append(out, "repeated")
		default:
			out = append(out, "ok")
		}
	}
	return strings.Join(out, " ")
}

func (s *scene) want(r proposal.Reply, answers string) {
	s.t.Helper()
	if got := codes(r); got != answers {
		s.t.Fatalf("the answers are %q, want %q", got, answers)
	}
}

// failure endorses what must be a failure, and gives its message.
func (ch *fakeChannel) failure(definition, mspID string, args ...string) string {
	ch.t.Helper()
	var b [][]byte
	for _, a := range args {
		b = append(b, []byte(a))
	}
	tx := ch.endorse(definition, mspID, b, nil)
	if tx.response.Status != 500 || tx.response.Message == "" || len(tx.response.Payload) > 0 {
		ch.t.Fatalf("%q: %d %q %q", args, tx.response.Status, tx.response.Message, tx.response.Payload)
	}
	return tx.response.Message
}

func args(c proposal.Call) (out []string) {
	for _, a := range c.Args() {
		out = append(out, string(a))
	}
	return out
}

func epochArgs(n uint64) [][]byte { return [][]byte{[]byte(proposal.Epoch), fmt.Append(nil, n)} }
