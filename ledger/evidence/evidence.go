// Package evidence is a ledger in a folder, for someone who trusts neither the venue nor its machines: all entries, the
// openings that the holder may see, the published head with its witnesses' cosignatures, and a signed manifest over
// them. Audit verifies it without any server.
//
//	manifest         signed note by the log's key: what is in the folder, with sizes and SHA-256
//	entries.bin      every entry from position 0, each as length (4 bytes, big-endian) ‖ ledger.Entry encoding
//	checkpoint       C2SP checkpoint at exactly that size
//	openings.bin     optional; each as length ‖ opening record, ascending by commitment
//
// There is one encoding of everything, so that a flipped bit anywhere is found, and named. The manifest only tells a
// damaged copy from a whole one: its signer is the venue, who is under audit. What the audit rests on is the trust root,
// the witnesses' cosignatures, the members' signatures and the rules.
//
// A single entry leaves the market as a proof file instead, see OpenProof.
package evidence

// Names of the files.
const (
	ManifestFile   = "manifest"
	EntriesFile    = "entries.bin"
	CheckpointFile = "checkpoint"
	OpeningsFile   = "openings.bin"
)
