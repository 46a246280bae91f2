package rest

import (
	"context"
	"log/slog"
	"time"

	"github.com/bund-exchange/bund/server/api"
)

// Part is something that requests need.
type Part struct {
	Name  string
	Check func(ctx context.Context) error
}

type healthHandlers struct {
	parts []Part
	log   *slog.Logger
}

func (h healthHandlers) Healthz(context.Context, api.HealthzRequestObject) (api.HealthzResponseObject, error) {
	return api.Healthz200JSONResponse{Ok: true}, nil
}

// checkWithin bounds the check of one part.
const checkWithin = 2 * time.Second

// Readyz says which part fails. Why is in the log only.
func (h healthHandlers) Readyz(ctx context.Context, _ api.ReadyzRequestObject) (api.ReadyzResponseObject, error) {
	ok, parts := true, []api.Part{}
	for _, p := range h.parts {
		part, cancel := context.WithTimeout(ctx, checkWithin)
		err := p.Check(part)
		cancel()
		if err != nil {
			ok = false
			h.log.WarnContext(ctx, "not ready", "part", p.Name, "err", err)
		}
		parts = append(parts, api.Part{Name: p.Name, Ok: err == nil})
	}
	if !ok {
		return api.Readyz503JSONResponse{Ok: false, Parts: &parts}, nil
	}
	return api.Readyz200JSONResponse{Ok: true, Parts: &parts}, nil
}
