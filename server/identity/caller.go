package identity

import (
	"context"

	"github.com/bund-exchange/bund/contracts"
)

// Caller is who makes a request. Exactly one of Account and Client is set.
type Caller struct {
	Member  contracts.ID // on whose behalf
	Person  contracts.ID // the ledger's id of the person; "" for a machine, and for a person who only reads
	Account contracts.ID // of a person
	Client  contracts.ID // of a machine
	Name    string       // for display, never for a decision
}

// Human reports whether a person calls.
func (c Caller) Human() bool { return c.Account != "" }

type callerKey struct{}

// WithCaller puts the caller into a request's context.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf gives the caller of a request, false if it is anonymous.
func CallerOf(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(Caller)
	return c, ok
}
