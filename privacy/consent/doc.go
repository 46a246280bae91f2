// Package consent lets a provider evaluate only companies that have consented, without telling it which they are.
//
// A consent service, run by a member that is neither bank, provider nor venue, knows the consents. The bank shows it that
// a blinded point of a lookup request (package lookup) hides the company of a consent; the service signs a ticket for
// exactly these points; the provider evaluates points that come with their ticket and no others.
//
//	bank                              consent service                    provider
//	M = r·H(id)
//	──── Application ────────────────▶
//	  binding {agreement, bank,         for each claim:
//	    purpose, version, table,          M = r·H(id)?  the proof says so, and not r
//	    epoch, notAfter, nonce}           consent of id, for this bank and
//	  claims {id, consent, its key,       purpose, not revoked, not used up?
//	    M, proof of knowledge of r}         (contracts.MayTicket, and a count)
//	◀─── Ticket ──────────────────────
//	  binding, SHA-256(M₁ … Mₙ), signature
//	──── Presentation {ticket, lookup request} ─────────────────────────▶
//	                                                                       signature of the service that the table names,
//	                                                                       binding of this call, these points, not expired,
//	                                                                       nonce not spent: evaluate
//
// # Who learns what
//
// The consent service learns that this bank asked about this company, when, and for which purpose; it keeps that as the
// company's own history. It does not learn r, so it can't follow the point, and never sees an evaluation or a row.
//
// The provider learns what package lookup says it learns, and that the consent service vouches for these n points: the
// ticket holds no id, no consent and nothing that is the same the next time the company is asked about.
//
// The consent service and the provider together learn everything: the service can keep M beside the id, and the provider
// sees M. Between the two stands only that they are different members with different interests. No protocol of this
// package detects it.
//
// # Taking consent back
//
// There is no ticket after the service has followed the revocation. A ticket lives for at most five minutes (MaxLife), so
// no evaluation begins later than that after the last ticket. Rows that were opened before stay open, and what was
// evaluated opens its row until the key epoch ends: the next epoch's key closes it.
//
// The proof is Schnorr's, made non-interactive as in RFC 8235 (circl zk/dl), with H(id) as its base and the binding and
// the point's place in the transcript: it can't be used by another bank, for another request or at another place of this
// one. Blinds are random: nobody derives them from an id.
//
// All messages are canonical JSON (contracts/canon) but Presentation, which puts the ticket before the lookup request.
package consent
