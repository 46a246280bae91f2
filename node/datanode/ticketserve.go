package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/node/gate"
	"github.com/bund-exchange/bund/node/peer"
	"github.com/bund-exchange/bund/privacy/consent"
	"github.com/bund-exchange/bund/privacy/lookup"
)

// serveTicket is the consent service: POST /tickets, by a bank's node. The body is the application, the answer the ticket.
// It counts each consent's use and writes each company's history before the ticket leaves.
func (l *lookups) serveTicket(w http.ResponseWriter, r *http.Request) {
	who, ok := l.n.caller(w, r)
	if !ok {
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, canon.MaxBytes))
	if err != nil {
		refusePeer(w, consent.Malformed, "the application is too long, or broke off")
		return
	}
	ticket, err := l.issue(r.Context(), who, body)
	var no *contracts.Refusal
	switch {
	case errors.As(err, &no):
		detail := no.Detail
		if no.Field != "" {
			detail = no.Field + ": " + detail
		}
		refusePeer(w, no.Code, detail)
	case err != nil:
		l.n.log.ErrorContext(r.Context(), "couldn't issue a ticket", "peer", who.Node, "err", err)
		refuse(w, http.StatusServiceUnavailable, "failure", "this node failed, try again")
	default:
		w.Header().Set("Content-Type", "application/json")
		w.Write(ticket)
	}
}

// issue gives a ticket. The same application again, while its ticket lives, gets the same one and is counted once.
func (l *lookups) issue(ctx context.Context, who peer.Identity, body []byte) ([]byte, error) {
	a, err := consent.ParseApplication(body)
	if err != nil {
		return nil, err
	}
	b := &a.Binding
	if b.Bank != who.Member {
		return nil, &contracts.Refusal{Code: consent.TicketForeign, Detail: "the application is another bank's"}
	}
	defer l.oneAtATime(sha256.Sum256(body))()
	now := contracts.Millis(l.n.now().UnixMilli())
	if old, err := l.asked.issued(body, now); err != nil || old != nil {
		return old, err
	}
	var uses gate.Uses
	var entries []historyEntry
	service := consent.Service{Node: l.n.cfg.Node, Key: l.n.keys.Receipt}
	t, err := service.Issue(ctx, a, now, func(i int, c *consent.Claim) error {
		if i > 0 {
			return nil // all were decided with the first
		}
		us := make([]contracts.Use, len(a.Claims))
		for i, c := range a.Claims {
			us[i] = contracts.Use{Agreement: b.Agreement, Peer: who.Member, Node: l.n.cfg.Node, Operation: policy.ConsentLookup, Purpose: b.Purpose,
				Region: policy.Region(who.Region), Version: b.Version, Epoch: b.Epoch, Consent: c.Consent, Subject: contracts.Subject(c.ConsentKey, c.Code)}
		}
		pass, table, at, err := l.n.gate.AdmitTickets(ctx, us)
		if err != nil {
			return ofClaim(at, err)
		}
		k, err := lookup.ReadCommitment(b.Version, table)
		if err != nil {
			return err
		}
		if b.Table != k.Digest() {
			return &contracts.Refusal{Code: consent.TicketForeign, Detail: "the application is for another table than the ledger's"}
		}
		uses, err = pass.Hold()
		return err
	})
	if err != nil {
		uses.Release()
		return nil, err
	}
	for _, c := range a.Claims {
		entries = append(entries, historyEntry{Agreement: b.Agreement, Bank: b.Bank, Code: c.Code, Consent: c.Consent, Purpose: b.Purpose, Time: now, Version: b.Version})
	}
	if err := uses.Keep(); err != nil {
		return nil, fmt.Errorf("couldn't count consents: %w", err)
	}
	raw := t.Bytes()
	return raw, l.asked.add(body, raw, b.NotAfter, entries)
}

// oneAtATime waits until nobody else answers the same application: a bank that gave up waiting sends it again. What it
// gives lets the next one go on.
func (l *lookups) oneAtATime(application [32]byte) (end func()) {
	for {
		l.mu.Lock()
		busy, there := l.issuing[application]
		if !there {
			done := make(chan struct{})
			l.issuing[application] = done
			l.mu.Unlock()
			return func() {
				l.mu.Lock()
				defer l.mu.Unlock()
				delete(l.issuing, application)
				close(done)
			}
		}
		l.mu.Unlock()
		<-busy
	}
}

// ofClaim says which claim is refused.
func ofClaim(i int, err error) error {
	var r *contracts.Refusal
	if !errors.As(err, &r) {
		return err
	}
	of := *r
	of.Field = fmt.Sprintf("claims.%d", i)
	return &of
}
