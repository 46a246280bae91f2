package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/signing"
	"github.com/bund-exchange/bund/deploy/cast"
	"github.com/bund-exchange/bund/deploy/market"
)

// step is a row of the table: what is done, and the code that it must get ("" when it must be accepted).
type step struct {
	name string
	want string
	run  func(w *walk) error
}

// walk is the state of one run.
type walk struct {
	*cast.Stack
	ctx     context.Context
	calls   int
	clients map[string]*market.Client

	schema  contracts.Hash
	dataset struct {
		Digest  contracts.Hash            `json:"digest"`
		Rows    int64                     `json:"rows"`
		Quality []contracts.QualityFigure `json:"quality"`
		AsOf    contracts.Millis          `json:"asOf"`
	}
	companies []contracts.CreditCode
	facts     contracts.Facts
	listing   *contractstest.Listing
	trade     *contractstest.Deal // the real one
	test      *contractstest.Deal // test agreement with a quota of 5
	small     *contractstest.Deal // little money: warnings, grace, hold
	fresh     *contractstest.Deal // maxStaleSec 0
	consents  map[contracts.CreditCode]consent

	billed      int64 // calls that the walk counts as billed under the trade
	certificate int64 // position
}

type consent struct {
	ID  contracts.ID `json:"consent"`
	Key string       `json:"consentKey"`
}

// got is a step's outcome.
type got struct{ code, detail string }

// coded is an error that has a code but came not from an API: a TLS handshake that was refused, say.
type coded struct {
	code string
	err  error
}

func (c *coded) Error() string { return c.err.Error() }

func codeOf(err error) got {
	var p *market.Problem
	var c *coded
	switch {
	case err == nil:
		return got{}
	case errors.As(err, &p):
		return got{p.Code, p.Error()}
	case errors.As(err, &c):
		return got{c.code, c.Error()}
	}
	return got{"error", err.Error()}
}

// all demands that every one of n tries gets the same code, and gives the first error.
func all(n int, try func(i int) error) error {
	var first error
	for i := range n {
		err := try(i)
		if i == 0 {
			first = err
		} else if a, b := codeOf(first), codeOf(err); a.code != b.code {
			return fmt.Errorf("try 0 got %q, try %d got %q: %v", a.code, i, b.code, err)
		}
	}
	return first
}

// do submits a command of an actor and waits for nothing.
func (w *walk) do(a *contractstest.Actor, kind string, body any, opens []contracts.Opening, keys ...signing.Key) error {
	return w.Cast.Do(a.ID, kind, body, opens, keys...)
}

// now puts the cast on wall time, after the scripted clock was released.
func (w *walk) now() { w.Cast.Now = contracts.Millis(time.Now().UnixMilli()) }

// client gives an API client of an actor.
func (w *walk) client(name string, a *contractstest.Actor) (*market.Client, error) {
	if c := w.clients[name]; c != nil {
		return c, nil
	}
	c, err := w.NewClient(w.ctx, a.ID, name)
	w.clients[name] = c
	return c, err
}

// local calls a node's local API.
func (w *walk) local(node, method, path string, body, answer any) error {
	addr := w.BuyerLocal
	if node == "provider" {
		addr = w.ProviderLocal
	}
	token, err := os.ReadFile(filepath.Join(w.Dir, node, "local.token"))
	if err != nil {
		return err
	}
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(w.ctx, method, "http://"+addr+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		p := &market.Problem{Status: resp.StatusCode}
		if json.Unmarshal(out, p) != nil || p.Code == "" {
			return fmt.Errorf("the node answered %d: %.200s", resp.StatusCode, out)
		}
		return p
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(out, answer)
}

// answered is what a bank's system gets for a call.
type answered struct {
	Outcome string            `json:"outcome"`
	Values  map[string]string `json:"values"`
	Nonce   string            `json:"nonce"`
	AsOf    int64             `json:"asOf"`
	Receipt struct {
		Seq   int64  `json:"seq"`
		Units int64  `json:"units"`
		Leaf  string `json:"leaf"`
	} `json:"receipt"`
}

// query is a call through the bank's node.
type query map[string]any

// call makes a call under an agreement about the i-th company with its consent, changed by edit.
func (w *walk) call(d *contractstest.Deal, i int, edit func(query)) (*answered, error) {
	code := w.companies[i%len(w.companies)]
	c := w.consents[code]
	q := query{"agreement": d.Agreement, "subject": code, "fields": contractstest.Fields, "purpose": "pre_loan", "consent": c.ID, "consentKey": c.Key}
	if edit != nil {
		edit(q)
	}
	a := new(answered)
	return a, w.local("buyer", http.MethodPost, "/v1/calls", q, a)
}

// until polls try until it gives nil.
func (w *walk) until(within time.Duration, try func() error) error {
	end := time.Now().Add(within)
	for {
		err := try()
		if err == nil || time.Now().After(end) || w.ctx.Err() != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// many makes n calls from 8 callers; each must be FOUND and billed.
func (w *walk) many(d *contractstest.Deal, n int, edit func(i int, q query)) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var first error
	next := 0
	for range 8 {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				stop := first != nil
				mu.Unlock()
				if i >= n || stop {
					return
				}
				who := i
				if who%len(w.companies) == 2 {
					who = 1 // company 2 has revoked
				}
				a, err := w.call(d, who, func(q query) {
					if edit != nil {
						edit(i, q)
					}
				})
				if err == nil && (a.Outcome != "FOUND" || a.Receipt.Units != 1) {
					err = fmt.Errorf("call %d: outcome %s, %d units", i, a.Outcome, a.Receipt.Units)
				}
				mu.Lock()
				if err != nil && first == nil {
					first = err
				}
				if err == nil {
					w.billed++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return first
}

// receipts is what a node says of an agreement's log.
type receipts struct {
	Agreement contracts.ID `json:"agreement"`
	Grant     string       `json:"grant"`
	Provider  *struct {
		Size   int64            `json:"size"`
		Acked  int64            `json:"acked"`
		Totals contracts.Totals `json:"totals"`
	} `json:"provider"`
	Consumer *struct {
		Size  int64
		Acked int64
	} `json:"consumer"`
	Breach string `json:"breach"`
}

func (w *walk) receipts(node string, d *contractstest.Deal) (*receipts, error) {
	var a struct {
		Agreements []*receipts `json:"agreements"`
	}
	if err := w.local(node, http.MethodGet, "/v1/agreements", nil, &a); err != nil {
		return nil, err
	}
	for _, r := range a.Agreements {
		if r.Agreement == d.Agreement {
			return r, nil
		}
	}
	return nil, fmt.Errorf("the %s's node does not know the agreement", node)
}

// record reads a ledger record by the API, as the venue.
func record[T any](w *walk, path string) (*T, *market.Record, error) {
	r := new(market.Record)
	if _, err := w.Venue.JSON(w.ctx, http.MethodGet, path, nil, r); err != nil {
		return nil, nil, err
	}
	v, err := contracts.Read[T](r.Record)
	return v, r, err
}

// salt16 makes a nonce of wall time for a repeated call.
func (w *walk) nonce() string {
	b := w.Cast.Random()
	ms := time.Now().UnixMilli()
	for i := range 6 {
		b[i] = byte(ms >> (40 - 8*i))
	}
	return hex.EncodeToString(b[:16])
}
