package proposal

import "github.com/bund-exchange/bund/contracts"

// EntryBytes gives the size of the entry that an accepted command makes, as ledger.Entry encodes it; ledger's tests hold it
// against that.
func EntryBytes(s contracts.Submission, res *contracts.Result) int {
	const fixed = 1 + 3*8 + 32 + 4 + 4 + 4 + 4 + 1 + 4 + 4 // version, numbers, chain, sizes and counts, public mark
	n := fixed + len(s.Raw) + 16*(len(res.Objects)+len(res.Audience))
	for _, x := range s.Signatures {
		n += 8 + len(x.Key) + len(x.Sig)
	}
	for _, e := range res.Events {
		n += 8 + len(e.Name) + len(e.Object)
	}
	for _, w := range res.Writes {
		n += 4 + len(w.Key) + 1
		if w.Value != nil {
			n += 4 + len(w.Value)
		}
	}
	return n
}
