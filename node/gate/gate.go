// Package gate asks before every call: may this peer do this now? It asks only followed state, by the rules' own
// MayUse, and keeps one thing of its own: how often each consent was used.
package gate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/node/peer"
)

// Refusals of a node's own, beside those of contracts.MayUse.
const (
	Malformed contracts.Code = "request.malformed" // the body is not the one form of a request
	Stale     contracts.Code = "LEDGER_STALE"      // this node's state is older than the grant allows
	Stopped   contracts.Code = "LEDGER_STOPPED"    // this node has seen two histories, or an entry is withheld from it
	UsedUp    contracts.Code = "consent.used_up"   // the consent's calls are used up
)

// Follower is what the gate asks of the followed ledger.
type Follower interface {
	// Read calls fn with the state at one position and gives that position. fn is short and keeps nothing of the state.
	Read(fn func(st contracts.State) error) (position uint64, err error)

	// Position gives that of the state now. It never goes back.
	Position() uint64

	// Fresh answers nil when a quorum of witnesses has seen the followed state no longer ago than maxStale; 0 fetches a
	// newly cosigned checkpoint first. A *contracts.Refusal says Stale or Stopped, any other error is a failure.
	Fresh(ctx context.Context, maxStale time.Duration) error
}

// Gate decides for one node. It is safe for concurrent use.
type Gate struct {
	Node     contracts.ID
	Follower Follower
	Early    *Early   // stop orders seen ahead of a checkpoint
	Records  *Records // optional
	Consents *Counter
	Now      func() time.Time

	// Model gives the digest of the bytes that this node holds of a registered model, for joint scores. Optional.
	Model func(id contracts.ID) (contracts.Hash, bool)
}

// Pass is an admitted call.
type Pass struct {
	Agreement contracts.ID
	Request   *Request
	Grant     *contracts.Grant
	bounds    []bound
	gate      *Gate
}

// bound is how many calls a consent allows.
type bound struct {
	consent contracts.ID
	calls   int64
}

// Hold takes one use of each consent when the call is about to be executed: what is refused before takes none. There
// are none when no consent is needed.
func (p *Pass) Hold() (Uses, error) {
	us := make(Uses, 0, len(p.bounds))
	for _, b := range p.bounds {
		u, err := p.gate.Consents.Hold(b.consent, b.calls)
		if err != nil {
			us.Release()
			if errors.Is(err, errUsedUp) {
				return nil, &contracts.Refusal{Code: UsedUp, Detail: fmt.Sprintf("the consent allows %d calls", b.calls)}
			}
			return nil, err
		}
		us = append(us, u)
	}
	return us, nil
}

// Uses are those of the consents of one call.
type Uses []*Use

// Count counts them all and gives what puts the counts on disk, as Use.Count does; nil without a use. After an error
// some may be counted: a consent then allows fewer calls, never more.
func (us Uses) Count() (durable func() error) {
	if len(us) == 0 {
		return nil
	}
	waits := make([]func() error, len(us))
	for i, u := range us {
		waits[i] = u.Count()
	}
	return func() error {
		for _, wait := range waits { // the first writes for those behind it
			if err := wait(); err != nil {
				return err
			}
		}
		return nil
	}
}

// Keep counts them all and waits until the counts are on disk.
func (us Uses) Keep() error {
	if wait := us.Count(); wait != nil {
		return wait()
	}
	return nil
}

// Release gives them all back.
func (us Uses) Release() {
	for _, u := range us {
		u.Release()
	}
}

// Admit decides one call; calls is how many were billed under the agreement so far. Its error is a *contracts.Refusal,
// or a failure: then nothing was decided.
//
// What is refused for another reason is refused for that one, however stale the state is; what is admitted was decided
// on a state that is no older than the grant allows.
func (g *Gate) Admit(ctx context.Context, agreement contracts.ID, from peer.Identity, calls int64, body []byte) (*Pass, error) {
	req, err := ParseRequest(body)
	if err != nil {
		return nil, &contracts.Refusal{Code: Malformed, Detail: err.Error()}
	}
	us := g.uses(agreement, from, calls, req)
	var d decision
	err = g.fresh(ctx, func() (position uint64, maxStaleSec int64, err error) {
		d, err = g.decide(us)
		if err != nil {
			return 0, 0, err
		}
		return d.position, d.grant.MaxStaleSec, nil
	})
	if err != nil {
		return nil, err
	}
	return &Pass{Agreement: agreement, Request: req, Grant: d.grant, bounds: d.bounds, gate: g}, nil
}

// fresh decides until that was on a state found fresh.
func (g *Gate) fresh(ctx context.Context, decide func() (position uint64, maxStaleSec int64, err error)) error {
	for known := int64(-1); ; { // seconds within which the present state was found fresh
		position, stale, err := decide()
		if err != nil || known >= 0 && known <= stale {
			return err
		}
		if err := g.Follower.Fresh(ctx, time.Duration(stale)*time.Second); err != nil {
			return err
		}
		if g.Follower.Position() == position {
			return nil
		}
		known = stale // a newer state than the one decided on was found fresh: decide again, on that
	}
}

// GoesOn asks between the calls of one use, while what an admitted call opened is fetched: has the grant ended or been
// stopped since? It asks the state as it is, stops that were announced included, and not how old it is.
func (g *Gate) GoesOn(agreement contracts.ID, from peer.Identity) (grant *contracts.Grant, err error) {
	now := contracts.Millis(g.Now().UnixMilli())
	_, err = g.Follower.Read(func(st contracts.State) error {
		return g.Early.Both(st, func(st contracts.State) (err error) {
			grant, err = contracts.MayGoOn(g.Records.Over(st), now, contracts.Use{Agreement: agreement, Peer: from.Member, Node: g.Node})
			return err
		})
	})
	return grant, err
}

// decision is what the rules said of a state.
type decision struct {
	grant    *contracts.Grant
	bounds   []bound
	position uint64
}

// decide asks the rules twice: of the verified state, and of it with what the ledger has announced since. A stop acts
// at once; a start needs the verified state.
func (g *Gate) decide(us []contracts.Use) (d decision, err error) {
	now := contracts.Millis(g.Now().UnixMilli())
	d.position, err = g.Follower.Read(func(st contracts.State) error {
		return g.Early.Both(st, func(st contracts.State) error {
			first := d.grant == nil
			for _, u := range us {
				grant, consent, err := contracts.MayUse(g.Records.Over(st), now, u)
				if err != nil {
					return err
				}
				if d.grant = grant; first && consent != nil {
					d.bounds = append(d.bounds, bound{u.Consent, consent.MaxCalls})
				}
			}
			return nil
		})
	})
	return d, err
}

// uses are the questions of one request: one, or one for each of its subjects.
func (g *Gate) uses(agreement contracts.ID, from peer.Identity, calls int64, req *Request) []contracts.Use {
	u := contracts.Use{Agreement: agreement, Peer: from.Member, Node: g.Node, Operation: req.Operation, Purpose: req.Purpose, Fields: req.Fields,
		Region: policy.Region(from.Region), Calls: calls, Consent: req.Consent, Epoch: req.Epoch, Model: req.Model}
	if req.Consent != "" {
		u.Subject = contracts.Subject([32]byte(req.ConsentKey), req.Subject)
	}
	if len(req.Subjects) == 0 {
		return []contracts.Use{u}
	}
	if g.Model != nil {
		u.ModelDigest, _ = g.Model(req.Model) // one that isn't here equals no registered digest
	}
	us := make([]contracts.Use, len(req.Subjects))
	for i, s := range req.Subjects {
		us[i] = u
		us[i].Consent = s.Consent
		if s.Consent != "" {
			us[i].Subject = contracts.Subject([32]byte(s.ConsentKey), s.Code)
		}
	}
	return us
}
