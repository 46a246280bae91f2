package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/node/gate"
	"github.com/bund-exchange/bund/node/meter"
	"github.com/bund-exchange/bund/privacy/score"
)

// ownModel is what a bank keeps of a model: <dir>/score/cards/<digest>, readable by the owner only. Whoever has the file
// reads the card, and can open the answers to the model.
type ownModel struct {
	Card   score.Card   `json:"card"`
	Secret score.Secret `json:"secret"`
}

func (s *scoring) cards() string { return filepath.Join(s.dir, "cards") }

func (s *scoring) local(m *http.ServeMux) {
	m.HandleFunc("POST /v1/models", s.localModel)
	m.HandleFunc("POST /v1/scores", s.localScores)
}

// localModel makes a model of a scorecard, and answers what is registered on the ledger and what the assessor needs.
func (s *scoring) localModel(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Card string `json:"card"` // YAML
	}
	if !decode(w, r, &q) {
		return
	}
	card, err := readCard([]byte(q.Card))
	if err != nil {
		malformed(w, err.Error())
		return
	}
	own := &ownModel{Card: *card, Secret: score.NewSecret()}
	digest, err := score.EncryptModel(io.Discard, card, own.Secret)
	if err == nil {
		err = s.keepOwn(digest, own)
	}
	if err != nil {
		s.n.localError(w, r, err)
		return
	}
	answer(w, map[string]any{"digest": digest, "features": card.Spec.Digest(), "arity": card.Spec.Columns(), "fields": card.Spec.Names(),
		"forAssessor": filepath.Join(s.cards(), string(digest))})
}

func (s *scoring) keepOwn(digest contracts.Hash, own *ownModel) error {
	f, err := os.CreateTemp(s.cards(), "tmp-*") // 0600
	if err != nil {
		return fmt.Errorf("couldn't keep the scorecard: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(canon.Marshal(own))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = errors.Join(os.Rename(f.Name(), filepath.Join(s.cards(), string(digest))), syncDir(s.cards()))
	}
	if err != nil {
		return fmt.Errorf("couldn't keep the scorecard: %w", err)
	}
	return nil
}

func readOwn(name string) (*ownModel, error) {
	b, err := readSecret(name)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the scorecard: %w", err)
	}
	own := new(ownModel)
	if err := canon.Unmarshal(b, own); err != nil {
		return nil, fmt.Errorf("couldn't read the scorecard %s: %w", name, err)
	}
	return own, nil
}

type localScoresRequest struct {
	Agreement contracts.ID   `json:"agreement"`
	Model     contracts.ID   `json:"model"`
	Purpose   policy.Purpose `json:"purpose"`
	Subjects  []localSubject `json:"subjects"`
	AsOf      int64          `json:"asOf"`    // ms
	KnownAt   int64          `json:"knownAt"` // ms
	Nonce     string         `json:"nonce"`   // as in a call
}

type localSubject struct {
	Code       contracts.CreditCode `json:"code"`
	Consent    contracts.ID         `json:"consent"`
	ConsentKey string               `json:"consentKey"` // 64 hex digits
}

// maxScored bounds the companies of one call. A request with a consent for each takes some 650 kB then.
const maxScored = 4096

func (q *localScoresRequest) request(fields []string) (r gate.Request, err error) {
	r = gate.Request{AsOf: contracts.Millis(q.AsOf), KnownAt: contracts.Millis(q.KnownAt), Fields: fields, Operation: policy.JointScore, Purpose: q.Purpose,
		Model: q.Model, Units: int64(len(q.Subjects))}
	if len(q.Subjects) > maxScored {
		return r, fmt.Errorf("subjects are %d at most", maxScored)
	}
	for i, x := range q.Subjects {
		subject := gate.Subject{Code: x.Code, Consent: x.Consent}
		if x.ConsentKey != "" {
			if subject.ConsentKey, err = hex.DecodeString(x.ConsentKey); err != nil || len(subject.ConsentKey) != 32 {
				return r, fmt.Errorf("subjects.%d.consentKey is 64 hex digits", i)
			}
		}
		r.Subjects = append(r.Subjects, subject)
	}
	_, err = gate.ParseRequest(r.Bytes())
	return r, err
}

// ownOf gives a registered model of this bank with what it keeps of it.
func (s *scoring) ownOf(id contracts.ID) (*contracts.Model, *ownModel, error) {
	m, err := s.registered(id)
	if err != nil {
		return nil, nil, err
	}
	unknown := &contracts.Refusal{Code: "model.unknown", Detail: "this node keeps no scorecard of a model with this id, or has not followed its registration yet"}
	if m == nil {
		return nil, nil, unknown
	}
	own, err := readOwn(filepath.Join(s.cards(), string(m.Digest)))
	if errors.Is(err, os.ErrNotExist) {
		err = unknown
	}
	return m, own, err
}

type localScore struct {
	Code   contracts.CreditCode `json:"code"`
	Score  int64                `json:"score"` // in the card's units
	Absent bool                 `json:"absent,omitempty"`
}

// scorePatience is how long a local request for scores may take when it has to send the model first.
const scorePatience = uploadTime + 2*time.Minute

// localScores scores companies under one of this bank's models: one metered call.
func (s *scoring) localScores(w http.ResponseWriter, r *http.Request) {
	var q localScoresRequest
	if !decode(w, r, &q) {
		return
	}
	m, own, err := s.ownOf(q.Model)
	if err != nil {
		s.n.localError(w, r, err)
		return
	}
	req, err := q.request(own.Card.Spec.Names())
	if err != nil {
		malformed(w, err.Error())
		return
	}
	nonce, ok := s.n.nonce(w, q.Nonce)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), scorePatience)
	defer cancel()
	u, err := s.use(ctx, q.Agreement, nonce, req, own)
	if err != nil {
		s.n.localError(w, r, err, extra{"nonce": hex.EncodeToString(nonce[:])})
		return
	}
	out := map[string]any{"outcome": u.Outcome, "detail": u.Detail, "nonce": hex.EncodeToString(nonce[:]), "snapshot": hex.EncodeToString(u.leaf.Snapshot[:]), "receipt": u.receipt()}
	if len(u.Payload) > 0 {
		key, err := score.NewKey(&own.Card, own.Secret)
		var scores []score.Score
		if err == nil {
			scores, err = key.Open(u.Payload, m.Digest, len(q.Subjects))
		}
		if err != nil {
			s.n.localError(w, r, err)
			return
		}
		list := make([]localScore, len(scores))
		for i, x := range scores {
			list[i] = localScore{q.Subjects[i].Code, x.Value, x.Absent}
		}
		out["scores"] = list
	}
	answer(w, out)
}

// use makes the call, and sends the model before it when the provider's node hasn't got it.
func (s *scoring) use(ctx context.Context, agreement contracts.ID, nonce meter.Nonce, req gate.Request, own *ownModel) (*used, error) {
	for try := 0; ; try++ {
		c := s.n.consumer(agreement)
		if c == nil {
			return nil, &contracts.Refusal{Code: "agreement.unknown", Detail: "this node uses no agreement with this id, or has not followed it yet"}
		}
		if err := s.send(ctx, c, req.Model, own); err != nil {
			return nil, err
		}
		u, err := s.call(ctx, agreement, nonce, req)
		var no *meter.Refusal
		if try == 0 && errors.As(err, &no) && no.Code == "model.digest" {
			s.forget(ctx, req.Model)
			continue
		}
		return u, err
	}
}

func (s *scoring) call(ctx context.Context, agreement contracts.ID, nonce meter.Nonce, req gate.Request) (*used, error) {
	ctx, cancel := context.WithTimeout(ctx, s.n.patience+scoreTimeout)
	defer cancel()
	return s.n.use(ctx, agreement, nonce, req)
}
