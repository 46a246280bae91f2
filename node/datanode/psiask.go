package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/node/gate"
	"github.com/bund-exchange/bund/node/meter"
	"github.com/bund-exchange/bund/node/session"
	"github.com/bund-exchange/bund/privacy/psi"
)

// asked is an intersection that this node's member asked for, in <dir>/psi/<session>/: what was asked and how far it is
// (this record), the list until it is done, and then what was found. The record is durable before the call is made, so
// that an intersection that was billed is never lost.
type asked struct {
	Agreement contracts.ID     `json:"agreement"`
	Code      contracts.Code   `json:"code,omitempty"` // the refusal that ended it
	Done      bool             `json:"done"`
	ExpiresAt contracts.Millis `json:"expiresAt,omitempty"` // of the session, once it is open
	IDs       int64            `json:"ids"`
	Leaf      []byte           `json:"leaf,omitempty"` // the receipt
	Matches   int64            `json:"matches"`
	Nonce     []byte           `json:"nonce"`
	Padding   string           `json:"padding"`
	Provider  contracts.ID     `json:"provider,omitempty"` // its node
	Purpose   policy.Purpose   `json:"purpose"`
	Session   contracts.ID     `json:"session"`
	Terms     *psiTerms        `json:"terms,omitempty"`
}

const (
	askedFile   = "asked"
	listFile    = "list"
	matchesFile = "matches"
)

// sessionOf makes the same session of the same nonce, so that a request that is sent again is the same request.
func sessionOf(agreement contracts.ID, nonce meter.Nonce) contracts.ID {
	return contracts.ID(contracts.HashOf("bund/psi/id/v1", []byte(agreement), nonce[:])[:32])
}

func (a *asked) over() bool { return a.Done || a.Code != "" }

// size is what is announced of the list.
func (a *asked) size() int64 {
	padding, _ := psi.ParsePadding(a.Padding)
	return int64(padding.Announced(uint64(a.IDs)))
}

func (a *asked) request() gate.Request {
	return gate.Request{Operation: policy.PSI, Purpose: a.Purpose, Units: a.size(),
		Payload: canon.Marshal(psiOpening{Padding: a.Padding, Session: a.Session, Size: a.size()})}
}

func (p *intersecting) folder(id contracts.ID) string { return filepath.Join(p.dir, string(id)) }

// keep writes a record down and makes it the present one.
func (p *intersecting) keep(a *asked) error {
	if err := replaceWith(filepath.Join(p.folder(a.Session), askedFile), func(w *bufio.Writer) error {
		_, err := w.Write(canon.Marshal(*a))
		return err
	}); err != nil {
		return fmt.Errorf("couldn't keep an intersection: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked[a.Session] = a
	return nil
}

// replaceWith puts a file in its place whole, durably, or not at all.
func replaceWith(path string, write func(*bufio.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "tmp-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	w := bufio.NewWriter(f)
	err = write(w)
	if err == nil {
		err = errors.Join(w.Flush(), f.Sync())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return errors.Join(os.Rename(f.Name(), path), syncDir(filepath.Dir(path)))
}

// resumeAsked reads what was asked and goes on with what isn't over. A folder without a record is one of a request that
// had not come to its call.
func (p *intersecting) resumeAsked() error {
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return fmt.Errorf("couldn't read intersections: %w", err)
	}
	var open []contracts.ID
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(p.dir, e.Name(), askedFile))
		if errors.Is(err, os.ErrNotExist) {
			if err = os.RemoveAll(filepath.Join(p.dir, e.Name())); err == nil {
				continue
			}
		}
		a := new(asked)
		if err == nil {
			err = canon.Unmarshal(b, a)
		}
		if err != nil {
			return fmt.Errorf("couldn't read intersection %s: %w", e.Name(), err)
		}
		p.asked[a.Session] = a
		if !a.over() {
			open = append(open, a.Session)
		}
	}
	for _, id := range open {
		p.pursue(id)
	}
	return nil
}

func (p *intersecting) askedFor(id contracts.ID) (asked, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a, ok := p.asked[id]
	if !ok {
		return asked{}, false
	}
	return *a, true
}

// open makes the metered call, once: it is the same call whenever it is made again.
func (p *intersecting) open(ctx context.Context, id contracts.ID) error {
	a, _ := p.askedFor(id)
	if a.Terms != nil {
		return nil
	}
	c := p.n.consumer(a.Agreement)
	u, err := p.n.use(ctx, a.Agreement, meter.Nonce(a.Nonce), a.request())
	if err != nil {
		return err
	}
	var opened psiOpened
	if err := canon.Unmarshal(u.Payload, &opened); err != nil {
		return fmt.Errorf("couldn't read the provider's terms: %w", err)
	}
	if opened.Terms.ReceiverMax != a.size() || opened.Terms.Padding != a.Padding {
		return errors.New("the provider's terms are of another request")
	}
	a.Terms, a.Provider, a.Leaf = &opened.Terms, c.server.node, u.raw
	a.ExpiresAt = min(opened.ExpiresAt, contracts.Millis(p.n.now().Add(psiLife).UnixMilli()))
	return p.keep(&a)
}

// pursue runs an asked intersection to its end, through whatever breaks.
func (p *intersecting) pursue(id contracts.ID) {
	p.runs.Go(func() {
		for fails := 0; ; fails++ {
			err := p.pursueOnce(id)
			a, ok := p.askedFor(id)
			if !ok || a.over() || p.ctx.Err() != nil {
				return
			}
			why := "failure"
			var cr *contracts.Refusal
			var mr *meter.Refusal
			switch {
			case errors.As(err, &cr):
				why = string(cr.Code)
			case errors.As(err, &mr):
				why = string(mr.Code)
			}
			p.n.log.Warn("an intersection stands still, going on with it later", "session", id, "err", err)
			if !p.wait(id, fails, why) {
				return
			}
		}
	})
}

// pursueOnce goes on as far as it gets.
func (p *intersecting) pursueOnce(id contracts.ID) error {
	ctx, cancel := context.WithTimeout(p.ctx, psiOpenWithin)
	err := p.open(ctx, id)
	cancel()
	var no *meter.Refusal
	if errors.As(err, &no) && no.Code == meter.RequestExpired {
		return p.ended(id, no.Code) // the call was never answered, and can't be made any more
	}
	if err != nil {
		return err
	}
	a, _ := p.askedFor(id)
	params := a.Terms.params(a.Agreement, id, a.Provider, p.n.cfg.Node)
	peers, own := params.Bytes(params.SenderMax, params.ReceiverMax)
	x, err := p.shelf.Create(session.Terms{Agreement: a.Agreement, ID: id, Peer: a.Provider, Protocol: psiProtocol, MaxSent: own, MaxReceived: peers, ExpiresAt: a.ExpiresAt})
	var r *contracts.Refusal
	if errors.As(err, &r) && r.Code == session.Expired {
		return p.ended(id, r.Code)
	}
	if err != nil {
		return err
	}
	if o, ended := x.Outcome(); ended {
		return p.ended(id, o.Code)
	}
	c := p.n.consumer(a.Agreement)
	if c == nil {
		return errors.New("the agreement has not been followed yet")
	}
	err = (&session.Client{Session: x, HTTP: &http.Client{Transport: c.link}, Log: p.n.log,
		URL: strings.TrimSuffix(c.server.url, "/") + "/agreements/" + string(a.Agreement) + "/sessions/" + string(id)}).Run(p.ctx, func(ctx context.Context) error {
		_, err := p.side(x, params).Receive(ctx, p.list(id), func(m *psi.Matches) error { return p.found(id, m) })
		return err
	})
	if o, ended := x.Outcome(); ended {
		return errors.Join(err, p.ended(id, o.Code))
	}
	return err
}

// ended notes how an intersection ended; without a code what was found is there.
func (p *intersecting) ended(id contracts.ID, code contracts.Code) error {
	a, _ := p.askedFor(id)
	a.Code, a.Done = code, code == ""
	if err := p.keep(&a); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(p.folder(id), listFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("couldn't remove the list: %w", err)
	}
	return nil
}

// list yields the bank's ids, in the order in which it gave them.
func (p *intersecting) list(id contracts.ID) psi.IDs {
	return func(yield func([]byte, error) bool) {
		f, err := os.Open(filepath.Join(p.folder(id), listFile))
		if err != nil {
			yield(nil, err)
			return
		}
		defer f.Close()
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			if !yield(lines.Bytes(), nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(nil, err)
		}
	}
}

// found keeps the matches.
func (p *intersecting) found(id contracts.ID, m *psi.Matches) error {
	err := replaceWith(filepath.Join(p.folder(id), matchesFile), func(w *bufio.Writer) error {
		place := uint64(0)
		for line, err := range p.list(id) {
			if err != nil {
				return err
			}
			if m.Has(place) {
				w.Write(line)
				w.WriteByte('\n') // the writer keeps its first error
			}
			place++
		}
		if place != m.IDs() {
			return errors.New("the list has changed")
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("couldn't keep matches: %w", err)
	}
	a, _ := p.askedFor(id)
	a.Matches = int64(m.Len())
	return p.keep(&a)
}

func (a *asked) nonceHex() string { return hex.EncodeToString(a.Nonce) }
