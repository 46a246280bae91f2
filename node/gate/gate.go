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
}

// Pass is an admitted call.
type Pass struct {
	Request *Request
	Product contracts.ID
	limit   int64 // calls that the consent allows; 0 without a consent
	gate    *Gate
}

// Hold takes one use of the consent when the call is about to be executed: what is refused before takes none. The use
// is nil when no consent is needed; its methods then do nothing.
func (p *Pass) Hold() (*Use, error) {
	if p.limit == 0 {
		return nil, nil
	}
	u, err := p.gate.Consents.Hold(p.Request.Consent, p.limit)
	if errors.Is(err, errUsedUp) {
		return nil, &contracts.Refusal{Code: UsedUp, Detail: fmt.Sprintf("the consent allows %d calls", p.limit)}
	}
	return u, err
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
	u := contracts.Use{Agreement: agreement, Peer: from.Member, Node: g.Node, Operation: req.Operation, Purpose: req.Purpose, Fields: req.Fields,
		Region: policy.Region(from.Region), Calls: calls, Consent: req.Consent}
	if req.Consent != "" {
		u.Subject = contracts.Subject([32]byte(req.ConsentKey), req.Subject)
	}
	for known := int64(-1); ; { // seconds within which the present state was found fresh
		d, err := g.decide(u)
		if err != nil {
			return nil, err
		}
		p := &Pass{Request: req, Product: d.grant.Product, gate: g}
		if d.consent != nil {
			p.limit = d.consent.MaxCalls
		}
		stale := d.grant.MaxStaleSec
		if known >= 0 && known <= stale {
			return p, nil
		}
		if err := g.Follower.Fresh(ctx, time.Duration(stale)*time.Second); err != nil {
			return nil, err
		}
		if g.Follower.Position() == d.position {
			return p, nil
		}
		known = stale // a newer state than the one decided on was found fresh: decide again, on that
	}
}

// decision is what the rules said of a state.
type decision struct {
	grant    *contracts.Grant
	consent  *contracts.Consent
	position uint64
}

// decide asks the rules twice: of the verified state, and of it with what the ledger has announced since. A stop acts
// at once; a start needs the verified state.
func (g *Gate) decide(u contracts.Use) (d decision, err error) {
	now := contracts.Millis(g.Now().UnixMilli())
	d.position, err = g.Follower.Read(func(st contracts.State) error {
		return g.Early.Both(st, func(st contracts.State) error {
			grant, consent, err := contracts.MayUse(g.Records.Over(st), now, u)
			if err == nil && d.grant == nil {
				d.grant, d.consent = grant, consent
			}
			return err
		})
	})
	return d, err
}
