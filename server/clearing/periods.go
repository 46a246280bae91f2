package clearing

import (
	"context"

	"github.com/bund-exchange/bund/contracts"
)

// closePeriod closes the open period when its month is over, and the last one when the agreement has ended. Where nothing
// was ever used nothing is closed. A period whose predecessor has no final report yet waits for it.
func closePeriod(_ context.Context, w *work, r *records, _ *purse) (due command, again contracts.Millis, err error) {
	if r.usage == nil || r.last != nil && r.last.Report == nil {
		return due, 0, nil
	}
	closed := contracts.Millis(0)
	if r.last != nil {
		closed = r.last.Closed
	}
	at := closeAt(r.agreement, closed)
	if at == 0 || w.now < at {
		return due, at, nil
	}
	return command{"period.close", contracts.PeriodClose{Agreement: r.id, Number: r.agreement.Periods + 1}}, 0, nil
}

// closeAt is when the open period of an agreement is to be closed whose last one was closed at a time, 0 before the
// first; 0 when it has had its last period. A period begins where the one before was closed.
func closeAt(a *contracts.Agreement, closed contracts.Millis) contracts.Millis {
	if a.State == contracts.AgreementActive {
		return contracts.PeriodOf(max(a.From, closed)).End()
	}
	if a.Periods > 0 && closed >= a.To {
		return 0
	}
	return a.To
}
