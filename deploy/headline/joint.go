package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/deploy/sample"
	"github.com/bund-exchange/bund/deploy/sample/headline"
)

// joint has the provider's node score companies under encrypted weights: the bank's node makes the model, both people of
// the bank register it, the assessor attests it, and one metered call for each fold brings the scores.
func (t *trade) joint(ctx context.Context, fold int, card headline.ProviderCard, codes []contracts.CreditCode) ([]int64, error) {
	fmt.Fprintf(os.Stderr, "joint scoring, model %d of %d: %d encrypted weights\n", fold+1, headline.Folds, card.Weights)
	var x struct {
		Digest   contracts.Hash `json:"digest"`
		Features contracts.Hash `json:"features"`
		Arity    int64          `json:"arity"`
	}
	if err := sample.Local(ctx, t.Stack, "buyer", t.BuyerLocal, http.MethodPost, "/v1/models", map[string]string{"card": card.YAML}, &x); err != nil {
		return nil, err
	}
	if x.Arity != int64(card.Weights) {
		return nil, fmt.Errorf("the model has %d weights, the card %d", x.Arity, card.Weights)
	}
	m := t.Cast
	m.Now = contracts.Millis(time.Now().UnixMilli())
	if err := m.Do(m.Buyer.ID, "model.register", contracts.ModelRegister{Agreement: t.deal.Agreement, Digest: x.Digest, Features: x.Features, Arity: x.Arity, Assessor: m.Assessor.ID},
		nil, m.Buyer.Two()...); err != nil {
		return nil, err
	}
	model := m.Last("model")
	if err := m.Do(m.Assessor.ID, "model.attest", contracts.ModelAttest{Model: model, Digest: x.Digest, Document: contracts.HashOf("headline/opinion", []byte(x.Digest)), Expires: m.Now.Add(86400)},
		nil, m.Assessor.Two()...); err != nil {
		return nil, err
	}
	subjects := make([]map[string]any, len(codes))
	for i, c := range codes {
		subjects[i] = map[string]any{"code": c, "consent": t.consent[c][0], "consentKey": t.consent[c][1]}
	}
	q := map[string]any{"agreement": t.deal.Agreement, "model": model, "purpose": "pre_loan", "subjects": subjects}
	var a struct {
		Scores []struct {
			Score  int64 `json:"score"`
			Absent bool  `json:"absent"`
		} `json:"scores"`
	}
	// Both nodes follow the ledger: until they have the attestation they refuse.
	for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		err := sample.Local(ctx, t.Stack, "buyer", t.BuyerLocal, http.MethodPost, "/v1/scores", q, &a)
		if err == nil {
			break
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return nil, err
		}
	}
	t.jointly++
	t.scored += int64(len(codes))
	out := make([]int64, len(a.Scores))
	for i, s := range a.Scores {
		if s.Absent {
			return nil, fmt.Errorf("the provider hasn't got company %d of fold %d", i, fold)
		}
		out[i] = s.Score
	}
	return out, nil
}
