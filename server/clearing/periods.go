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
	began := began(r)
	at := closeAt(r.agreement, r.last, began)
	if at == 0 || w.now < at {
		return due, at, nil
	}
	first, _ := contracts.Months(began, w.now, r.agreement.To)
	return command{"period.close", contracts.PeriodClose{Agreement: r.id, Number: r.agreement.Periods + 1, Month: max(first, contracts.PeriodOf(began))}}, 0, nil
}

// reportDelay is how late a node may report the first use of an agreement and still have it counted to the month before.
// Nodes report every ten minutes.
const reportDelay = 3600 * 1000

// began is when the open period's use began: where the period before was closed, or with the first use of all. What was
// never used in the agreement's first months has no period of them.
func began(r *records) contracts.Millis {
	if r.last != nil {
		return max(r.agreement.From, r.last.Closed)
	}
	return max(r.agreement.From, min(r.usage.Since-reportDelay, r.agreement.To-1))
}

// closeAt is when the open period of an agreement is to be closed that began at a time, behind the last one: when its
// month is over. 0 when it has had its last period.
func closeAt(a *contracts.Agreement, last *contracts.ClosedPeriod, began contracts.Millis) contracts.Millis {
	if a.State == contracts.AgreementActive {
		return contracts.PeriodOf(began).End()
	}
	if last != nil && last.Closed >= a.To {
		return 0
	}
	return a.To
}
