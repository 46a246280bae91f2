// Package stats counts, sums and groups what several members hold, and shows nobody a single value: Prio3
// (draft-irtf-cfrg-vdaf-14, by circl) between two aggregators of independent operators, Laplace noise at the collector.
//
//	contributor                leader                          helper                  collector
//	  Shard(value) = two input shares and a public share, under a fresh report id
//	  ── id, public, sealed leader's half ──▶
//	  ── id, public, sealed helper's half ─────────────────────▶
//	                           Begin: prep shares of waiting
//	                           reports ── job ────────────────▶
//	                                     Answer: decides by both prep shares, counts
//	                           ◀────────────────── prep shares ──
//	                           Finish: decides by both, counts
//	                           Close ── count, set of ids ────▶
//	                                     CloseAsOrdered: the same set? at least the minimum?
//	                           ◀──────────────── agreed or not ──
//	                           ── share of the batch's sum, sealed ────────────────────▶
//	                                     ── the other share, sealed ───────────────────▶
//	                                                                   Collect: adds, checks, debits, adds noise
//
// A half is sealed by HPKE to its aggregator, bound to task, report id and public share. A report id counts once, in one
// batch; batches are disjoint and each gives one result, so that no two results differ by a few reports. Each contributor
// brings its halves to both aggregators itself, and each aggregator prepares only what a contributor of the task brought
// to it: neither can invent reports or bring in somebody else's alone.
//
// # Who learns what
//
//   - An aggregator: which contributor sent how many reports and when, which of them were invalid, and of a value nothing,
//     unconditionally in its half and up to the proof's randomness. One honest aggregator is enough for that.
//   - Both aggregators together: every value. The protocol is not secure if they collude; that they are operators of
//     their own, affiliated neither with each other nor with the collector, is a rule of the ledger.
//   - The collector: number of a batch's reports, a digest of their ids, and the exact sum before it adds the noise. Whoever gets the
//     result from it: the sum with Laplace noise of the task's epsilon, and the number of reports.
//   - A contributor: nothing.
//
// Noise protects one report, not one company: of a company that is in k reports of one batch the loss is k times epsilon.
// A result of the next batch loses anew.
//
// # What is detected
//
// A contributor that splits a value outside of the task's range, or shares of no value, is found by both aggregators if
// both are honest (but for a chance below 2^-50); the report doesn't count. It can still lie within the range, and send
// made-up reports.
//
// An aggregator that sends a wrong prep share, or decides otherwise than its shares say, makes the two count different
// sets: at the close of the batch they see that they differ, and nobody gets the sum. Who lied can't be told. So it can
// always spoil a batch, and it can keep reports out of all batches.
//
// An aggregator that alters its share of the sum is found by the collector only where no reports give such a sum: a
// bucket above the number of reports, buckets that don't add up to it, a sum above number times maximum. Any other shift
// is not detectable: for a correct result both have to be honest. A collector can lie about the result, or leave the noise
// out for itself.
package stats
