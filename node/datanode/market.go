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
	"time"

	"github.com/bund-exchange/bund/contracts"
)

// market is the node's client of the market: it signs in as a machine, submits commands, and fetches openings. What it
// fetches is checked against commitments; the market is not trusted.
type market struct {
	base   string
	id     string
	secret string
	now    func() time.Time
	to     *http.Transport

	turn    chan struct{} // one sign-in at a time
	token   string        // owned by whoever has the turn
	expires time.Time
}

// marketTimeout bounds one request to the market.
const marketTimeout = 20 * time.Second

func newMarket(base, credentials string, now func() time.Time) (*market, error) {
	b, err := readSecret(credentials)
	if err != nil {
		return nil, fmt.Errorf("couldn't read credentials: %w", err)
	}
	id, secret, ok := strings.Cut(strings.TrimSpace(string(b)), ":")
	if !ok || id == "" || secret == "" {
		return nil, fmt.Errorf("couldn't read credentials: want client-id:secret in %s", credentials)
	}
	m := &market{base: strings.TrimSuffix(base, "/"), id: id, secret: secret, now: now, turn: make(chan struct{}, 1),
		to: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 8, IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: 10 * time.Second}}
	return m, nil
}

// readSecret reads a file that only its owner may read.
func readSecret(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("others may read %s, chmod 600 it", name)
	}
	return io.ReadAll(io.LimitReader(f, 64<<10))
}

func (m *market) close() { m.to.CloseIdleConnections() }

// bearer gives a token that is good for a while yet. A token that the market no longer takes is given as refused.
func (m *market) bearer(ctx context.Context, refused string) (string, error) {
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if m.token != "" && m.token != refused && m.now().Before(m.expires) {
		return m.token, nil
	}
	m.token = ""
	ctx, cancel := context.WithTimeout(ctx, marketTimeout)
	defer cancel()
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
	m.token, m.expires = t.AccessToken, m.now().Add(time.Duration(t.ExpiresIn)*time.Second*3/4)
	return m.token, nil
}

// RoundTrip adds the bearer token, so that a follower's client is this member's. A refused token is renewed once.
func (m *market) RoundTrip(r *http.Request) (*http.Response, error) {
	refused := ""
	for {
		t, err := m.bearer(r.Context(), refused)
		if err != nil {
			return nil, err
		}
		c := r.Clone(r.Context())
		c.Header.Set("Authorization", "Bearer "+t)
		if r.GetBody != nil {
			r.Body.Close()
			if c.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
		resp, err := m.to.RoundTrip(c)
		if err != nil || resp.StatusCode != http.StatusUnauthorized || refused != "" || r.Body != nil && r.GetBody == nil || !tokenRefused(resp) {
			return resp, err
		}
		resp.Body.Close()
		refused = t
	}
}

// tokenRefused tells a token that the market doesn't take from a command whose signatures it doesn't.
func tokenRefused(resp *http.Response) bool {
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(b))
	var p problem
	if err != nil || json.Unmarshal(b, &p) != nil {
		return true
	}
	_, known := contracts.Lookup(contracts.Code(p.Code))
	return !known
}

// problem is the market's, or the running node's, refusal or failure.
type problem struct {
	Code    string `json:"code"`
	Title   string `json:"title"`
	Detail  string `json:"detail"`
	Status  int    `json:"status"`
	Command string `json:"command,omitempty"`

	Intersection contracts.ID `json:"intersection,omitempty"`
}

func (p *problem) Error() string { return fmt.Sprintf("%s: %s", p.Code, p.Detail) }

const maxAnswer = 8 << 20

// send sends a request as it is and decodes the answer.
func (m *market) send(r *http.Request, answer any) error {
	resp, err := m.to.RoundTrip(r)
	if err != nil {
		return err
	}
	return readMarket(resp, answer)
}

func readMarket(resp *http.Response, answer any) error {
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		p := new(problem)
		if json.Unmarshal(b, p) != nil || p.Code == "" {
			return fmt.Errorf("the market answered %d", resp.StatusCode)
		}
		p.Status = resp.StatusCode
		return p
	}
	return json.Unmarshal(b, answer)
}

// call sends a request as this machine.
func (m *market) call(ctx context.Context, method, path string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, marketTimeout)
	defer cancel()
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
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := m.RoundTrip(r)
	if err != nil {
		return err
	}
	return readMarket(resp, answer)
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
