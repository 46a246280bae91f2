package fabric

import "context"

// BlockHeight is the number of blocks of the own peer.
func (l *Ledger) BlockHeight(ctx context.Context) (uint64, error) { return l.gw.height(ctx, l.own[0]) }
