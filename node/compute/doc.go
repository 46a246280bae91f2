// Package compute answers statistics over a provider's dataset without giving a row away: a typed query, run in a
// locked-down child process, released with differential privacy within a budget that all consumers share.
//
//	consumer                        provider's node                                   child process
//	   │  metered call: Spec  ───────▶ gate: purpose, fields, quota
//	   │                               Spec against schema and working table
//	   │                               known question? ── yes ─▶ its first answer again, no debit
//	   │                               debit epsilon, delta: durable
//	   │                               program: column numbers and bounds  ─────────▶  confine itself; read one file
//	   │                               exact cells, and who stands behind each  ◀────  filter, group, clamp, sum
//	   │                               choose groups (partition selection, at least k)
//	   │                               compare cohorts with every earlier answer's
//	   │                               noise; keep answer and cohorts: durable
//	   ◀── Answer: noisy figures ────  at 1, 2, 4 … steps of time
//
// # Who learns what
//
// The consumer learns noisy figures: for any one subject of the dataset, what it sees, refusals included, is (epsilon,
// delta)-differentially private in the sum of what its answers cost, over all consumers, and the budget bounds that
// sum per period. The unit is a subject, the dataset's key, with its RowsPerSubject newest rows; adding or removing one
// subject changes counts by that many rows and sums by that many times the widest bound. The provider learns who asks
// what, and the result before noise: it is its data. The market and its witnesses learn nothing.
//
// The adversary is the consumer, and all consumers together: they choose queries as they like, adaptively. The provider
// is trusted with its own data and to draw the noise. The child is not trusted to run a database engine over a query
// safely: it can read one file and write one answer, which is checked against what the program could give; it is
// trusted that the answer is that of the rows.
//
// # Not covered
//
// Neighbouring datasets differ in whether a subject is there, so two facts about the dataset as a whole are outside: its
// number of rows (reported on the ledger), by whose order of magnitude bounds may be refused, and which texts have more
// than 65,536 different values, and so no column. A query with more than 65,536 groups is refused on the exact number.
// Whether a child ran out of time or memory is not hidden.
//
// # What comparing cohorts is for, and what it isn't
//
// Every figure has noise, and the budget bounds what all of them tell: that is the protection. Comparing cohorts comes on
// top, because a budget is large for those who know what to ask: "all" and "all but those" cost two queries and tell of
// a handful. So the subjects behind each released figure are kept exactly (their numbers in the snapshot), and a query
// is refused when a figure's subjects differ from an earlier figure's by fewer than k, larger or smaller or for other
// subjects in their place, under another definition, for whichever consumer. The subjects of one definition (filters,
// groups, rows per subject) are the same by definition and may be asked for more figures.
//
// Exactly k would itself tell: "refused" means "fewer than k". So the comparison draws a margin, from 0 to 2t, that a
// fifth or a tenth of the query's epsilon pays for; below k it is always a refusal. It doesn't see combinations of
// several figures (the parts of a whole and the whole), nor two snapshots of one dataset, nor what was answered by
// another node or product of other data on the same subjects: there only noise and budget protect. Cohorts are kept as
// long as their snapshot is current.
//
// # Durability
//
// <dir>/budget.db is a record: account, answers, cohorts. It is synced with the debit before a child starts, and with
// the answer before anybody sees it. A crash between leaves a question that is paid for, and is answered when it is
// asked again. <dir>/<dataset>/ holds working tables, which are made again when they are missing.
package compute
