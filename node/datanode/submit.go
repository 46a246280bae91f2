package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/signing"
)

// accepted is the market's answer to a command.
type accepted struct {
	Position int64            `json:"position"`
	Time     contracts.Millis `json:"time"`
	Repeated bool             `json:"repeated"`
}

// errUnknown says that a command may have been accepted. The same bytes again, or a look at its id, tell.
var errUnknown = errors.New("the outcome of the command is unknown")

// final reports whether err is the market's "no" to a command, as opposed to a failure of asking.
func final(err error) bool {
	var p *problem
	if !errors.As(err, &p) {
		return false
	}
	switch p.Status {
	case http.StatusTooManyRequests, http.StatusRequestTimeout, http.StatusTooEarly:
		return false
	case http.StatusConflict:
		return p.Code != "batch.dependent"
	}
	return p.Status < 500
}

// submit sends a submission until there is an answer, the same bytes each time, which is always safe. Its error is a
// refusal (see final) or wraps errUnknown: then ctx ended first.
func (m *market) submit(ctx context.Context, sub contracts.Submission) (*accepted, error) {
	body := wire(sub)
	pause := 200 * time.Millisecond
	for {
		a := new(accepted)
		err := m.call(ctx, http.MethodPost, "/commands", body, a)
		if err == nil {
			return a, nil
		}
		if final(err) {
			return nil, err
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, fmt.Errorf("%w: %w", errUnknown, err)
		case <-t.C:
		}
		pause = min(2*pause, 5*time.Second)
	}
}

type wireSignature struct {
	Key string `json:"key"`
	Sig string `json:"sig"`
}

type wireOpening struct {
	Salt  string `json:"salt"`
	Value string `json:"value"`
}

type wireSubmission struct {
	Raw        string          `json:"raw"`
	Signatures []wireSignature `json:"signatures"`
	Openings   []wireOpening   `json:"openings,omitempty"`
}

func wire(sub contracts.Submission) wireSubmission {
	w := wireSubmission{Raw: string(sub.Raw)}
	for _, s := range sub.Signatures {
		w.Signatures = append(w.Signatures, wireSignature{string(s.Key), hex.EncodeToString(s.Sig)})
	}
	for _, o := range sub.Openings {
		w.Openings = append(w.Openings, wireOpening{hex.EncodeToString(o.Salt[:]), string(o.Value)})
	}
	return w
}

// sign makes a command of the node's machine at the ledger's time: a scripted ledger's time is its own.
func (n *Node) sign(ctx context.Context, kind string, body any, openings ...contracts.Opening) (contracts.Submission, contracts.ID, error) {
	var info struct {
		Ledger string           `json:"ledger"`
		Now    contracts.Millis `json:"now"`
	}
	if err := n.market.call(ctx, http.MethodGet, "/ledger", nil, &info); err != nil {
		return contracts.Submission{}, "", fmt.Errorf("couldn't ask the ledger's time: %w", err)
	}
	if info.Ledger != n.trust.Ledger {
		return contracts.Submission{}, "", fmt.Errorf("couldn't sign %s: the market keeps the ledger %.80q, the trust root is of %q", kind, info.Ledger, n.trust.Ledger)
	}
	var random [10]byte
	rand.Read(random[:])
	sub, id := signing.Sign(contracts.Unsigned{Ledger: n.trust.Ledger, Member: n.cfg.Member, Kind: kind, Body: body, NotBefore: info.Now, Random: random}, openings, n.keys.Machine)
	return sub, id, nil
}

// command signs and submits.
func (n *Node) command(ctx context.Context, kind string, body any) (contracts.ID, *accepted, error) {
	sub, id, err := n.sign(ctx, kind, body)
	if err != nil {
		return "", nil, err
	}
	a, err := n.market.submit(ctx, sub)
	if err != nil {
		return id, nil, fmt.Errorf("%s: %w", kind, err)
	}
	return id, a, nil
}

func random32() (b [32]byte) { rand.Read(b[:]); return b }
