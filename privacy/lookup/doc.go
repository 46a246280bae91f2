// Package lookup asks a provider about companies without telling it which.
//
// It is the verifiable oblivious pseudorandom function of RFC 9497 (VOPRF, ristretto255-SHA512) over a table that the
// provider publishes sealed. F is that function, k the provider's key of one epoch, H the hash to the group.
//
//	provider                                ledger                     bank
//	for each row (id, value):
//	  y    = F(k, id)
//	  tag  = HKDF(y, "tag")
//	  seal = AEAD(HKDF(y, "aead"), value)
//	sort by tag, Merkle tree
//	{public key, epoch, dataset, root, rows, cohort} ─▶ lookup.commit ─▶ pins it
//	published table ────────────────────────────────────────────────▶ whole, or by buckets
//
//	                                                                   for each id: r random, M = r·H(id)
//	                       ◀──────────── Request {commitment, M₁ … Mₙ} ───
//	Zᵢ = k·Mᵢ, proof that log(K) = log(Zᵢ)
//	                       ─── Response {Z₁ … Zₙ, proofs} ──────────────▶
//	                                                                   check proofs against the committed K
//	                                                                   y = hash(id, r⁻¹·Z)
//	                                                                   find tag, open the record, or NOT_FOUND
//
// # Who learns what
//
// The provider learns that this bank asked about n companies now. Of the companies it learns nothing, whatever it
// computes: Mᵢ is a uniformly random element whichever id it hides. This holds as long as records are not fetched by
// tag: the provider made the tags and knows whose each is. So there are two ways to the records and no third: the whole
// table, which tells nothing, or a bucket of at least Cohort records, all that begin with some bits of the tag, which
// tells that the company is one of those, or is none that the table holds. When and how often a bank asks is not hidden.
// The cohort holds within an epoch. The next one mixes companies into other buckets: who asks by bucket about the same
// company in every epoch, at times that give it away, lets the provider intersect them. Watching is done with the table.
//
// The bank learns the rows whose evaluation it paid for, that other ids have no row, how many rows there are and how
// long the longest may be. It can't evaluate more ids than it sends elements (one-more gap Diffie–Hellman, random
// oracles), against a bank that deviates from the protocol too.
//
// A provider that deviates can't use another key for one bank, or for one element, than the one on the ledger: the
// proofs show it. It can't serve one bank another table: the root shows it. It can leave a company out, or put
// nonsense in a row, for all alike, and a provider that swaps records between buckets of its own tree is seen by
// whoever reads the whole table. Whether data is true no protocol knows.
//
// # The epoch key
//
// Credit codes can be enumerated: public registers list them. The key alone keeps the table closed; whoever has it opens
// every row of its epoch, at any later time. It is made anew for each epoch, kept sealed, and destroyed when the epoch
// has ended. What a bank has evaluated it can open until then and, if it kept the table, for ever after: taking consent
// back ends tickets (package consent), not what was opened. Against a bank that walks through the register stand price,
// quota and the count of each call, not the mathematics. An oracle for k loses about half the bits of the number of
// its evaluations by adversarial banks (static Diffie–Hellman), which is one more reason for epochs.
//
// The package is bytes in, bytes out: it knows no net, no clock and no disk. Messages are binary with one form each;
// the table's head and the commitment are canonical JSON. Operations on the key and the blinds are constant in time, as
// far as circl's ristretto255 is.
package lookup
