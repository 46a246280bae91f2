// Package meter keeps two-sided receipts: the receipts of an agreement at one provider node are one RFC 6962 log,
// written by the provider, recomputed and acknowledged by the consumer. Neither can inflate or deny use beyond the
// window that is served and not acknowledged; both together can invent it.
//
//	application: nonce = idempotency key                               C consumer node, P provider node
//	C→P  POST …/call    id = nonce ‖ HMAC(key that only C has)         C writes nothing before it asks
//	P    known id? same answer, same leaf, free. Admit; reserve quota, escrow, window; Execute; queue
//	P    sequencer takes all that is queued: place, time, totals, leaf hash; ONE write+fdatasync {leaves, sealed answers}
//	     under the fence; one signed head for each log
//	P→C  answer; Bund-Receipt: leaf, signed head
//	C    at once: my id, my request, these bytes, not from the future, head signed (once for a group)
//	C    in order: MAC, no id twice, units by the terms, totals, time, fence; root of the own tree = signed head
//	C    due at half a window | WINDOW_FULL | idle | CLOSE: ONE tx {leaves, answers, range, signed acknowledgement} → POST …/ack
//	P    recompute the root at that size; ONE group {acknowledgement, range}; the window opens, the answers go
//	gap  C→P GET …/leaves?from=n, GET …/answer?seq=k: outside the window, without an id, without memory of what was sent
//
// What must be durable before what:
//
//	                       at P before it                         at C before it         a crash may lose
//	call sent              fence                                  nothing                the reservation; that C asked
//	answer leaves P        leaf + sealed answer, one frame        –                      head signature (made again)
//	answer reaches app     –                                      nothing                all since C's last acknowledgement (pulled again)
//	acknowledgement sent   –                                      leaves, answers, ack   whether it arrived (sent again)
//	204, window opens      acknowledgement + range                –                      –
//	report                 CLOSE, ack at exactly CLOSE.seq+1      the same ack           P's signature (made again, deterministic)
//
// A leaf that the consumer will not sign (an Objection) is taken back by a VOID; a broken chain (a Breach) stops the
// log, and a new epoch begins from the last acknowledgement. A period ends at exactly one size: the CLOSE leaf's.
//
// Three kinds of "no" are kept apart: a *Refusal is an answer, final for now; ErrOutcomeUnknown and other errors are
// failures, to be asked again with the same nonce; a *Breach is the end of trust.
//
// The fence holds between processes that share the store's directory. A standby on another host needs a store that
// checks the token in its own transaction, and must have each group before its answers leave; this package has none.
package meter
