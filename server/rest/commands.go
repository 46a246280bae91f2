package rest

import (
	"context"
	"encoding/base64"
	"encoding/hex"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/server/api"
)

// Ledger is where commands go: a ledger, or what keeps intents and openings before it. Both methods are as
// ledger.Ledger has them, with its three sorts of errors.
type Ledger interface {
	Submit(ctx context.Context, sub contracts.Submission) (*ledger.Receipt, error)
	Lookup(ctx context.Context, id contracts.ID) (*ledger.Answer, error)
}

type commandHandlers struct{ ledger Ledger }

func (h commandHandlers) Submit(ctx context.Context, req api.SubmitRequestObject) (api.SubmitResponseObject, error) {
	sub, err := submissionOf(req.Body)
	if err != nil {
		return nil, err
	}
	// Only to name the command in the log and in an unknown outcome; the ledger decodes and judges for itself.
	var env contracts.Envelope
	ev := Event(ctx)
	if canon.Unmarshal(sub.Raw, &env) == nil && env.ID.Check() == nil {
		ev.Command = env.ID
	}
	r, err := h.ledger.Submit(ctx, sub)
	if err != nil {
		return nil, err
	}
	ev.Kind = r.Outcome.Kind
	ev.At(r.Position)
	out := api.Submit200JSONResponse{
		Position: int64(r.Position), Time: int64(r.Time), Hash: contracts.Hash(hex.EncodeToString(r.Hash[:])),
		Repeated: r.Repeated, Events: eventsOf(&r.Outcome),
	}
	if r.Size > 0 {
		out.Promise = base64.StdEncoding.EncodeToString(r.Encode())
	}
	return out, nil
}

func (h commandHandlers) Lookup(ctx context.Context, req api.LookupRequestObject) (api.LookupResponseObject, error) {
	ev := Event(ctx)
	ev.Command = req.Id
	a, err := h.ledger.Lookup(ctx, req.Id)
	if err != nil {
		return nil, err
	}
	out := api.Lookup200JSONResponse{Height: int64(a.Height), Status: api.AnswerStatus(a.Status)}
	if a.Status == ledger.Accepted {
		ev.Kind = a.Outcome.Kind
		ev.At(a.Promise.Position)
		position, events := int64(a.Promise.Position), eventsOf(&a.Outcome)
		out.Position, out.Events = &position, &events
	}
	return out, nil
}

func eventsOf(o *contracts.Outcome) []api.Event {
	out := []api.Event{}
	for _, e := range o.Events {
		x := api.Event{Name: e.Name}
		if e.Object != "" {
			object := string(e.Object)
			x.Object = &object
		}
		out = append(out, x)
	}
	return out
}

// submissionOf takes raw bytes and openings as the text that they are: both are canonical JSON, and a body that is
// unambiguous JSON gives back exactly the characters that were put into it.
func submissionOf(in *api.Submission) (contracts.Submission, error) {
	sub := contracts.Submission{Raw: []byte(in.Raw)}
	for _, s := range in.Signatures {
		sig, err := hex.DecodeString(s.Sig)
		if err != nil {
			return sub, newInvalid([]api.FieldError{{Field: "/signatures", Detail: "want lower-case hex"}})
		}
		sub.Signatures = append(sub.Signatures, contracts.Signature{Key: contracts.PublicKey(s.Key), Sig: sig})
	}
	if in.Openings != nil {
		for _, o := range *in.Openings {
			sub.Openings = append(sub.Openings, contracts.Opening{Salt: contracts.Hash(o.Salt).Bytes(), Value: []byte(o.Value)})
		}
	}
	return sub, nil
}
