package sample

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/deploy/cast"
)

// Local calls a node's local API with its token.
func Local(ctx context.Context, s *cast.Stack, node, addr, method, path string, body, answer any) error {
	token, err := os.ReadFile(filepath.Join(s.Dir, node, "local.token"))
	if err != nil {
		return err
	}
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+addr+path, bytes.NewReader(b))
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
		return fmt.Errorf("the %s's node answered %d: %.300s", node, resp.StatusCode, out)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(out, answer)
}

// Consents registers consents of companies from the bank's channel.
func Consents(ctx context.Context, s *cast.Stack, product, node contracts.ID, codes []contracts.CreditCode, fields []string, maxCalls int) (ids []contracts.ID, keys []string, err error) {
	for len(codes) > 0 {
		n := min(200, len(codes))
		var cs []map[string]any
		for _, c := range codes[:n] {
			cs = append(cs, map[string]any{"product": product, "node": node, "subject": c, "purpose": "pre_loan", "fields": fields,
				"from": time.Now().Add(-time.Minute).UnixMilli(), "to": time.Now().Add(300 * 24 * time.Hour).UnixMilli(), "maxCalls": maxCalls,
				"evidence": map[string]any{"signerRole": "legal_representative", "realName": "bank_face_to_face", "textVersion": "v3",
					"original": contracts.HashOf("sample/original", []byte(c)), "caSignature": contracts.HashOf("sample/ca", []byte(c))}})
		}
		var a struct {
			Consents []struct {
				Consent    contracts.ID `json:"consent"`
				ConsentKey string       `json:"consentKey"`
			} `json:"consents"`
		}
		if err := Local(ctx, s, "buyer", s.BuyerLocal, http.MethodPost, "/v1/consents", map[string]any{"consents": cs}, &a); err != nil {
			return nil, nil, err
		}
		for _, c := range a.Consents {
			ids, keys = append(ids, c.Consent), append(keys, c.ConsentKey)
		}
		codes = codes[n:]
	}
	return ids, keys, nil
}

// use starts both nodes, registers consents, and makes the first call.
func (l *loader) use() error {
	if err := l.StartNodes(l.ctx); err != nil {
		return err
	}
	_, codes := taxRows()
	ids, keys, err := Consents(l.ctx, l.Stack, l.shown.Product, l.cast.Provider.Node, codes[:20], contractstest.Fields, 1000)
	if err != nil {
		return err
	}
	l.shown.Consent, l.shown.ConsentKey = ids[7], keys[7]
	q := map[string]any{"agreement": l.shown.Agreement, "subject": l.shown.Subject, "fields": contractstest.Fields, "purpose": "pre_loan", "consent": ids[7], "consentKey": keys[7]}
	end := time.Now().Add(45 * time.Second)
	for {
		err := Local(l.ctx, l.Stack, "buyer", l.BuyerLocal, http.MethodPost, "/v1/calls", q, nil)
		if err == nil || time.Now().After(end) {
			return err
		}
		select {
		case <-l.ctx.Done():
			return l.ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}
