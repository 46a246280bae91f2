// Package envelope seals data to one recipient's key on the ledger: a dataset's file in chunks, or one short message.
//
// HPKE (RFC 9180) in base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, by circl.
//
//	provider                                                            grantee
//	binding = {agreement, product version, dataset digest, recipient's key id}
//	enc, context = SetupBaseS(recipient's key, info = binding)
//	key    = context.Export("bund/envelope/v1 chunks", 32)
//	header = {binding, enc, chunk size, format}
//	chunk i = AES-256-GCM(key, nonce = i, up to 1 MiB,
//	          AAD = SHA-256(header) ‖ i ‖ last)
//	      ── manifest {header, sizes, digests}: in a metered call's answer ──▶
//	      ── chunk i, in any order, again after a broken connection ─────────▶  opens and checks each alone
//
// A sealed file is length of header ‖ header ‖ chunks, and its SHA-256 stands in the manifest. The manifest travels in the
// answer to a metered call, so that the receipt's leaf covers it: which file was delivered is provable afterwards.
//
// # Who learns what
//
// Whoever sees sealed bytes, a store or a network, learns the recipient's key id, what it is bound to, sizes and times,
// and nothing of the content as long as X25519 stands and the recipient's key is kept; there is no forward secrecy against
// the loss of that key, and none against a quantum computer that comes later. Base mode doesn't say who sealed: that the
// provider did is known from the link and the receipt that brought the manifest. Once opened the content is the
// recipient's, and nothing here takes it back.
//
// Against an active adversary: a chunk that was cut, altered, moved, taken from another file, agreement or recipient,
// or that is not the last where the file ends, does not open, each by itself.
package envelope
