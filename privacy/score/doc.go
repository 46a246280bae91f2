// Package score lets a bank's integer scorecard score a provider's features without either showing the other: the
// provider computes on the bank's encrypted weights, the bank decrypts exact integer scores (BGV, on lattigo's rings).
//
//	bank     card = {specification in clear, weights}, secret     auditor is shown both, recomputes the digest (Attest)
//	bank→ledger    digest of the model file, features, cap; the auditor's attestation
//	bank→provider  model file: specification, public key, one ciphertext for each column     EncryptModel
//	provider       refuses a file with another digest than the registered one                ReadModel
//	provider       its own values → bins or levels → 8,192 companies in a plaintext           Encode, PrepareFeatures
//	bank→provider  the companies to score (a metered call)
//	provider       counts them against the cap, durably; then for each block                 Evaluate
//	                 c = Σ column·ciphertext; + fresh encryption of zero; + flood; drop to one modulus
//	provider→bank  digest, marks of absent companies, blocks                                 13 bytes a company in a full block
//	bank           exact sums, plus the constant that it kept                                 Key.Open
//
// Who learns what, with both following the protocol (semi-honest):
//   - the provider: the specification (which of its fields, cut where), the number of columns, who is asked about. Of
//     weights and scores nothing, as far as ring-LWE holds.
//   - the bank: of each company that is there the exact score, which is a linear equation in its columns, and which
//     companies are absent. Nothing more up to the flood's statistical distance (see Suite's constants).
//   - whoever relays: the sizes.
//
// Against a bank that makes up models this package does not protect by itself: as many models as there are columns
// solve for every column, and one with weights 1, 2, 4, … reads many bins at once from a single score. The provider
// can't see weights. Therefore an auditor attests each model, only the attested file is read, and the cap on
// evaluations of a company is shared by all models of an agreement.
//
// The provider draws fresh randomness for every block and keeps none. Nothing of the provider's is checked by the
// bank: a provider may compute on other values than it sells elsewhere.
package score
