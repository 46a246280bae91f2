// Package market is a client of the market's public API, for the programs of deploy: the sample's loader and the smoke
// walk. It knows the API from its description only.
package market

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
	"strings"
	"sync"
	"time"

	"github.com/bund-exchange/bund/contracts"
)

// Client calls as one machine, or as nobody when ID is empty. Several goroutines may use it.
type Client struct {
	Base   string
	ID     string
	Secret string
	HTTP   *http.Client

	mu      sync.Mutex // of what follows
	token   string
	expires time.Time
}

// Problem is a refusal or failure as the API answered it.
type Problem struct {
	Status   int    `json:"status"`
	Code     string `json:"code"`
	Title    string `json:"title"`
	Detail   string `json:"detail"`
	Position int64  `json:"position"`
	Errors   []struct {
		Field  string `json:"field"`
		Detail string `json:"detail"`
	} `json:"errors"`
}

func (p *Problem) Error() string {
	s := fmt.Sprintf("%d %s: %s", p.Status, p.Code, p.Detail)
	for _, e := range p.Errors {
		s += fmt.Sprintf("; %s: %s", e.Field, e.Detail)
	}
	return s
}

// CodeOf gives the code of a problem, "" for none.
func CodeOf(err error) string {
	var p *Problem
	if errors.As(err, &p) {
		return p.Code
	}
	return ""
}

func (c *Client) http() *http.Client {
	if c.HTTP != nil {
		return c.HTTP
	}
	return http.DefaultClient
}

// Do sends one request and reads the answer's body.
func (c *Client) Do(ctx context.Context, method, path string, contentType string, body []byte) ([]byte, http.Header, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.Base+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	if c.ID != "" {
		token, err := c.signIn(ctx)
		if err != nil {
			return nil, nil, err
		}
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return c.send(r)
}

func (c *Client) send(r *http.Request) ([]byte, http.Header, error) {
	resp, err := c.http().Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, nil, err
	}
	if resp.StatusCode/100 != 2 {
		p := &Problem{Status: resp.StatusCode}
		if json.Unmarshal(b, p) != nil || p.Code == "" {
			return nil, nil, fmt.Errorf("%s %s: status %d: %.200s", r.Method, r.URL.Path, resp.StatusCode, b)
		}
		return nil, nil, p
	}
	return b, resp.Header, nil
}

func (c *Client) signIn(ctx context.Context) (token string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Now().Before(c.expires) {
		return c.token, nil
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Base+"/oauth/token", strings.NewReader(url.Values{"grant_type": {"client_credentials"}}.Encode()))
	if err != nil {
		return "", err
	}
	r.SetBasicAuth(c.ID, c.Secret)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	b, _, err := c.send(r)
	if err != nil {
		return "", fmt.Errorf("couldn't sign in: %w", err)
	}
	var t struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
	}
	if err := json.Unmarshal(b, &t); err != nil {
		return "", err
	}
	c.token, c.expires = t.AccessToken, time.Now().Add(time.Duration(t.ExpiresIn)*time.Second/2)
	return c.token, nil
}

// JSON sends a JSON request and decodes the answer, if answer is not nil.
func (c *Client) JSON(ctx context.Context, method, path string, body, answer any) (http.Header, error) {
	var b []byte
	ct := ""
	if body != nil {
		var err error
		if b, err = json.Marshal(body); err != nil {
			return nil, err
		}
		ct = "application/json"
	}
	out, h, err := c.Do(ctx, method, path, ct, b)
	if err != nil || answer == nil {
		return h, err
	}
	return h, json.Unmarshal(out, answer)
}

// Accepted is the answer to a command.
type Accepted struct {
	Position int64            `json:"position"`
	Time     contracts.Millis `json:"time"`
	Hash     contracts.Hash   `json:"hash"`
	Repeated bool             `json:"repeated"`
}

// Wire is a submission as the API takes it.
func Wire(sub contracts.Submission) map[string]any {
	var sigs, opens []map[string]string
	for _, s := range sub.Signatures {
		sigs = append(sigs, map[string]string{"key": string(s.Key), "sig": hex.EncodeToString(s.Sig)})
	}
	for _, o := range sub.Openings {
		opens = append(opens, map[string]string{"salt": hex.EncodeToString(o.Salt[:]), "value": string(o.Value)})
	}
	w := map[string]any{"raw": string(sub.Raw), "signatures": sigs}
	if opens != nil {
		w["openings"] = opens
	}
	return w
}

// Submit sends a submission.
func (c *Client) Submit(ctx context.Context, sub contracts.Submission) (*Accepted, error) {
	a := new(Accepted)
	_, err := c.JSON(ctx, http.MethodPost, "/commands", Wire(sub), a)
	if err != nil {
		return nil, err
	}
	return a, nil
}

// Record is a record of the ledger as the API shows it.
type Record struct {
	ID      string                     `json:"id"`
	Record  json.RawMessage            `json:"record"`
	Related map[string]json.RawMessage `json:"related"`
}

// Opening fetches an opening and checks it.
func (c *Client) Opening(ctx context.Context, tag string, h contracts.Hash) (contracts.Opening, error) {
	var a struct{ Tag, Salt, Value string }
	if _, err := c.JSON(ctx, http.MethodGet, "/openings/"+string(h), nil, &a); err != nil {
		return contracts.Opening{}, err
	}
	salt, err := hex.DecodeString(a.Salt)
	if err != nil || len(salt) != 32 {
		return contracts.Opening{}, errors.New("the salt is malformed")
	}
	o := contracts.Opening{Salt: [32]byte(salt), Value: []byte(a.Value)}
	if o.Commitment(tag) != h {
		return contracts.Opening{}, errors.New("the opening does not fit its commitment")
	}
	return o, nil
}
