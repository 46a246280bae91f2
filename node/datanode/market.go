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
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/signing"
)

// market is the node's client of the market: it signs in as a machine, submits commands, and fetches openings. What it
// fetches is checked against commitments; the market is not trusted.
type market struct {
	base   string
	id     string
	secret string
	http   *http.Client

	mu      sync.Mutex
	token   string
	expires time.Time
}

func newMarket(base, credentials string) (*market, error) {
	st, err := os.Stat(credentials)
	if err != nil {
		return nil, fmt.Errorf("couldn't read credentials: %w", err)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("couldn't read credentials: others may read %s, chmod 600 it", credentials)
	}
	b, err := os.ReadFile(credentials)
	if err != nil {
		return nil, fmt.Errorf("couldn't read credentials: %w", err)
	}
	id, secret, ok := strings.Cut(strings.TrimSpace(string(b)), ":")
	if !ok {
		return nil, errors.New("couldn't read credentials: want client-id:secret")
	}
	return &market{base: strings.TrimSuffix(base, "/"), id: id, secret: secret, http: &http.Client{Timeout: 60 * time.Second}}, nil
}

// bearer gives a token that is good for a while yet.
func (m *market) bearer(ctx context.Context) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Now().Before(m.expires) {
		return m.token, nil
	}
	body := strings.NewReader(url.Values{"grant_type": {"client_credentials"}}.Encode())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, m.base+"/oauth/token", body)
	if err != nil {
		return "", err
	}
	r.SetBasicAuth(m.id, m.secret)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var t struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
	}
	if err := m.send(r, &t); err != nil {
		return "", fmt.Errorf("couldn't sign in to the market: %w", err)
	}
	m.token, m.expires = t.AccessToken, time.Now().Add(time.Duration(t.ExpiresIn)*time.Second*3/4)
	return m.token, nil
}

// RoundTrip adds the bearer token, so that a follower's client is this member's.
func (m *market) RoundTrip(r *http.Request) (*http.Response, error) {
	t, err := m.bearer(r.Context())
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+t)
	return http.DefaultTransport.RoundTrip(r)
}

// problem is the market's refusal or failure.
type problem struct {
	Code   string `json:"code"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Status int    `json:"status"`
}

func (p *problem) Error() string { return fmt.Sprintf("%s: %s", p.Code, p.Detail) }

func (m *market) send(r *http.Request, answer any) error {
	resp, err := m.http.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		p := &problem{Status: resp.StatusCode}
		if json.Unmarshal(b, p) != nil || p.Code == "" {
			return fmt.Errorf("the market answered %d", resp.StatusCode)
		}
		return p
	}
	return json.Unmarshal(b, answer)
}

func (m *market) call(ctx context.Context, method, path string, body, answer any) error {
	var send io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		send = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, m.base+path, send)
	if err != nil {
		return err
	}
	t, err := m.bearer(ctx)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+t)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	return m.send(r, answer)
}

// accepted is the market's answer to a command.
type accepted struct {
	Position int64            `json:"position"`
	Time     contracts.Millis `json:"time"`
	Repeated bool             `json:"repeated"`
}

// submit sends a submission. An unknown outcome is resolved here: the same bytes go again until their notAfter, which
// is always safe. What remains is an answer or a failure after which nothing was accepted.
func (m *market) submit(ctx context.Context, sub contracts.Submission) (*accepted, error) {
	type sig struct {
		Key string `json:"key"`
		Sig string `json:"sig"`
	}
	type opening struct {
		Salt  string `json:"salt"`
		Value string `json:"value"`
	}
	var body struct {
		Raw        string    `json:"raw"`
		Signatures []sig     `json:"signatures"`
		Openings   []opening `json:"openings,omitempty"`
	}
	body.Raw = string(sub.Raw)
	for _, s := range sub.Signatures {
		body.Signatures = append(body.Signatures, sig{string(s.Key), hex.EncodeToString(s.Sig)})
	}
	for _, o := range sub.Openings {
		body.Openings = append(body.Openings, opening{hex.EncodeToString(o.Salt[:]), string(o.Value)})
	}
	pause := 200 * time.Millisecond
	for {
		a := new(accepted)
		err := m.call(ctx, http.MethodPost, "/commands", body, a)
		var p *problem
		if err == nil {
			return a, nil
		}
		if errors.As(err, &p) && p.Status < 500 && p.Status != http.StatusTooManyRequests {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w (last: %w)", ctx.Err(), err)
		case <-time.After(pause):
		}
		pause = min(2*pause, 5*time.Second)
	}
}

// opening fetches a kept opening and checks it.
func (m *market) opening(ctx context.Context, tag string, c contracts.Hash) (contracts.Opening, error) {
	var a struct {
		Tag   string `json:"tag"`
		Salt  string `json:"salt"`
		Value string `json:"value"`
	}
	if err := m.call(ctx, http.MethodGet, "/openings/"+string(c), nil, &a); err != nil {
		return contracts.Opening{}, fmt.Errorf("couldn't fetch opening: %w", err)
	}
	salt, err := hex.DecodeString(a.Salt)
	if err != nil || len(salt) != 32 {
		return contracts.Opening{}, errors.New("couldn't fetch opening: the salt is malformed")
	}
	o := contracts.Opening{Salt: [32]byte(salt), Value: []byte(a.Value)}
	if a.Tag != tag || o.Commitment(tag) != c {
		return contracts.Opening{}, errors.New("couldn't fetch opening: what the market sent does not fit the commitment")
	}
	return o, nil
}

// info is what a signer must know before it signs.
func (m *market) info(ctx context.Context) (ledger string, now contracts.Millis, err error) {
	var a struct {
		Ledger string           `json:"ledger"`
		Now    contracts.Millis `json:"now"`
	}
	err = m.call(ctx, http.MethodGet, "/ledger", nil, &a)
	return a.Ledger, a.Now, err
}

// command signs a command of the node's machine at the ledger's time and submits it. Commands are valid for ten
// minutes; a scripted ledger's time is its own.
func (n *Node) command(ctx context.Context, kind string, body any, openings ...contracts.Opening) (contracts.ID, *accepted, error) {
	_, now, err := n.market.info(ctx)
	if err != nil {
		return "", nil, fmt.Errorf("couldn't ask the ledger's time: %w", err)
	}
	sub, id := signing.Sign(contracts.Unsigned{Ledger: n.trust.Ledger, Member: n.cfg.Member, Kind: kind, Body: body, NotBefore: now, Random: random10()}, openings, n.keys.Machine)
	a, err := n.market.submit(ctx, sub)
	if err != nil {
		return id, nil, fmt.Errorf("%s: %w", kind, err)
	}
	return id, a, nil
}
