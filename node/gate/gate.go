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

// Follower is what the gate asks of the followed ledger.
type Follower interface {
	// Read calls fn with the state at one position; fn is short and keeps nothing of it.
	Read(fn func(st contracts.State) error) error

	// Fresh answers nil when a quorum of witnesses has seen the followed state no longer ago than maxStale; 0 fetches a
	// newly cosigned checkpoint first. Otherwise the error says LEDGER_STALE or why the follower stopped.
	Fresh(ctx context.Context, maxStale time.Duration) error
}

// Gate decides for one node.
type Gate struct {
	Node     contracts.ID
	Follower Follower
	Early    *Early // stop orders seen ahead of a checkpoint
	Consents *Counter
	Now      func() time.Time
}

// Pass is an admitted call.
type Pass struct {
	Request *Request
	Grant   *contracts.Grant
	limit   int64 // calls that the consent allows; 0 without a consent
	gate    *Gate
}

// Use counts one use of the consent, when the call is about to be executed: what is refused before is not counted. The
// returned func waits until the count is on disk; the answer must not leave before.
func (p *Pass) Use() (settled func() error, err error) {
	if p.limit == 0 {
		return func() error { return nil }, nil
	}
	settled, err = p.gate.Consents.Use(p.Request.Consent, p.limit)
	if errors.Is(err, errUsedUp) {
		return nil, &contracts.Refusal{Code: "consent.used_up", Detail: fmt.Sprintf("the consent allows %d calls", p.limit)}
	}
	return settled, err
}

// Admit decides one call. Its error is a *contracts.Refusal, or a failure: then nothing was decided.
//
// LEDGER_STALE is a refusal too: this node knows too little to allow anything, and says so.
func (g *Gate) Admit(ctx context.Context, agreement contracts.ID, from peer.Identity, calls int64, body []byte) (*Pass, error) {
	req, err := ParseRequest(body)
	if err != nil {
		return nil, &contracts.Refusal{Code: "request.malformed", Detail: err.Error()}
	}
	u := contracts.Use{Agreement: agreement, Peer: from.Member, Node: g.Node, Operation: req.Operation, Purpose: req.Purpose, Fields: req.Fields,
		Region: policy.Region(from.Region), Calls: calls, Consent: req.Consent}
	if req.Consent != "" {
		u.Subject = contracts.Subject([32]byte(req.ConsentKey), req.Subject)
	}
	now := contracts.Millis(g.Now().UnixMilli())
	grant, consent, err := g.mayUse(now, u)
	if err != nil {
		return nil, err
	}
	if err := g.Follower.Fresh(ctx, time.Duration(grant.MaxStaleSec)*time.Second); err != nil {
		return nil, err
	}
	if grant.MaxStaleSec == 0 {
		// The state moved on while a fresh checkpoint was fetched: decide by what is known now.
		if grant, consent, err = g.mayUse(now, u); err != nil {
			return nil, err
		}
	}
	p := &Pass{Request: req, Grant: grant, gate: g}
	if consent != nil {
		p.limit = consent.MaxCalls
	}
	return p, nil
}

// mayUse asks the rules twice: on the verified state, and on it with what the ledger has announced since. A stop acts at
// once; a start needs the verified state.
func (g *Gate) mayUse(now contracts.Millis, u contracts.Use) (grant *contracts.Grant, consent *contracts.Consent, err error) {
	err = g.Follower.Read(func(st contracts.State) error {
		if grant, consent, err = contracts.MayUse(st, now, u); err != nil || g.Early.empty() {
			return err
		}
		_, _, err := contracts.MayUse(g.Early.over(st), now, u)
		return err
	})
	return grant, consent, err
}
