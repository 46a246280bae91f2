package clearing

import (
	"context"

	"github.com/bund-exchange/bund/contracts"
)

// activate starts a prepaid grant whose money is in.
func activate(ctx context.Context, _ *work, r *records, p *purse) (due command, again contracts.Millis, err error) {
	if r.grant == nil || r.grant.State != contracts.GrantPending || r.agreement.State != contracts.AgreementActive {
		return due, 0, nil
	}
	terms, err := open[contracts.Terms](ctx, p, r.agreement.Terms)
	if err != nil {
		return due, 0, err
	}
	balance, err := balance(ctx, p, r)
	if err != nil || balance < terms.Escrow {
		return due, 0, err
	}
	return command{"grant.activate", contracts.GrantActivate{Agreement: r.id}}, 0, nil
}

// balance opens the escrow; an agreement without one has nothing.
func balance(ctx context.Context, p *purse, r *records) (contracts.Fen, error) {
	if r.escrow == nil {
		return 0, nil
	}
	v, err := open[contracts.EscrowValue](ctx, p, r.escrow.Balance)
	if err != nil {
		return 0, err
	}
	return v.Balance, nil
}

// debt opens what a postpaid buyer owes.
func debt(ctx context.Context, p *purse, r *records) (contracts.Fen, error) {
	if r.debt == nil {
		return 0, nil
	}
	v, err := open[contracts.DebtValue](ctx, p, r.debt.Owed)
	if err != nil {
		return 0, err
	}
	return v.Owed, nil
}

// expire ends an agreement whose term is over.
func expire(_ context.Context, w *work, r *records, _ *purse) (due command, again contracts.Millis, err error) {
	if r.agreement.State != contracts.AgreementActive {
		return due, 0, nil
	}
	if w.now < r.agreement.To {
		return due, r.agreement.To, nil
	}
	return command{"agreement.expire", contracts.AgreementExpire{Agreement: r.id}}, 0, nil
}
