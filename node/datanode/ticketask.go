package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/privacy/consent"
)

// ticketLife is how long a ticket that this node asks for is to live: the call follows at once.
const ticketLife = 2 * 60 * 1000 // ms

// ticket asks the consent service that the table names for a ticket.
func (l *lookups) ticket(ctx context.Context, a *question, use *lookupUse, held []consent.Held) ([]byte, error) {
	service, ok := use.product.nodes[use.product.table.ConsentNode]
	if !ok || service.url == "" {
		return nil, &contracts.Refusal{Code: "lookup.consent_service", Detail: "the table names no consent service in service"}
	}
	b := consent.Binding{Agreement: a.Agreement, Bank: l.n.cfg.Member, Epoch: a.Commitment.Epoch, Nonce: consent.NewNonce(),
		NotAfter: contracts.Millis(l.n.now().UnixMilli()) + ticketLife, Purpose: a.Purpose, Service: service.node, Version: use.version}
	application, err := consent.Apply(a.query, b, held)
	if err != nil {
		return nil, err
	}
	link, err := l.n.pins.Link(service.node)
	if err != nil {
		return nil, err
	}
	defer link.CloseIdleConnections()
	body := application.Bytes()
	raw, err := l.applyTo(ctx, link, service.url, body)
	if err != nil {
		return nil, err
	}
	t, err := consent.ParseTicket(raw)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the consent service's ticket: %w", err)
	}
	if t.Binding != application.Binding {
		return nil, fmt.Errorf("couldn't use the consent service's ticket: it is for something else")
	}
	return raw, nil
}

// applyTo sends the same application until there is an answer: the service counts it once.
func (l *lookups) applyTo(ctx context.Context, link http.RoundTripper, url string, body []byte) ([]byte, error) {
	for try := 1; ; try++ {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(url, "/")+"/tickets", bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		r.Header.Set("Content-Type", "application/json")
		raw, refusal, err := oneTicket(link, r)
		if refusal != nil {
			return nil, refusal
		}
		if err == nil {
			return raw, nil
		}
		rest(ctx, time.Duration(try)*50*time.Millisecond)
		if ctx.Err() != nil || try == 20 {
			return nil, fmt.Errorf("couldn't ask the consent service: %w", err)
		}
	}
}

func oneTicket(link http.RoundTripper, r *http.Request) (raw []byte, refusal, err error) {
	resp, err := link.RoundTrip(r)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		err := peerRefusal(resp)
		if _, no := err.(*contracts.Refusal); no {
			return nil, err, nil
		}
		return nil, nil, err
	}
	raw, err = io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	return raw, nil, err
}
