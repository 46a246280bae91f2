package consent

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/bund-exchange/bund/contracts"
)

// Service is the consent service's side. It keeps nothing: whoever runs it keeps each company's history, and the count of
// each consent's calls.
type Service struct {
	Node contracts.ID       // its own
	Key  ed25519.PrivateKey // its receipt key, which the ledger holds
}

// Issue signs a ticket for an application of a bank that was authenticated as the binding's, when every point is its
// company's and may says yes to every claim. May is contracts.MayTicket on followed state and the count of the consent's
// calls; it is asked last, so that nothing lies between a revocation that was followed and the signature but the signing.
// What may refuses is refused for the application; the refusal's field names the claim.
func (s *Service) Issue(ctx context.Context, a *Application, now contracts.Millis, may func(i int, c *Claim) error) (*Ticket, error) {
	b := &a.Binding
	if b.Service != s.Node {
		return nil, refuse(TicketForeign, "the application is for another consent service")
	}
	if err := b.lives(now); err != nil {
		return nil, err
	}
	if err := s.check(ctx, a); err != nil {
		return nil, err
	}
	for i := range a.Claims {
		if err := may(i, &a.Claims[i]); err != nil {
			return nil, ofClaim(i, err)
		}
	}
	t := &Ticket{Binding: *b, Count: int64(len(a.Claims)), Points: pointsHash(len(a.Claims), func(i int) []byte { return a.Claims[i].Point[:] })}
	t.Sig = ed25519.Sign(s.Key, t.statement())
	return t, nil
}

// check verifies the proofs of all claims.
func (s *Service) check(ctx context.Context, a *Application) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range a.Claims {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			c := &a.Claims[i]
			if err := checkBlind([]byte(c.Code), c.Point[:], c.Proof[:], &a.Binding, i); err != nil {
				return ofClaim(i, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// ofClaim says which claim is refused.
func ofClaim(i int, err error) error {
	var r *contracts.Refusal
	if !errors.As(err, &r) {
		return err
	}
	of := *r
	of.Field = fmt.Sprintf("claims.%d", i)
	return &of
}
