package evidence

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/publish"
)

// ProofSuffix is how the names of proof files end: C2SP tlog-proof with the entry in the field extra. A trade
// certificate's proof file is that of the entry that issued it.
const ProofSuffix = ".tlog-proof"

// Proven is an entry that a proof file shows to be in the ledger. That the rules allow it, only a whole audit tells.
type Proven struct {
	*ledger.Entry
	Command *contracts.Command // its signatures verify
	Head    publish.Head
	SeenAt  time.Time // when the quorum of witnesses had seen the head
}

// OpenProof verifies a proof file offline. The error begins with the field that is wrong.
func OpenProof(trust Trust, b []byte) (*Proven, error) {
	p, err := publish.ParseProof(b)
	if err != nil {
		return nil, fmt.Errorf("form: %w", err)
	}
	if p.Extra == nil {
		return nil, errors.New("extra: the entry is not in the file")
	}
	h, err := trust.Policy.Open(p.Checkpoint)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	if h.Unknown > 0 || bytes.Count(h.Signed, []byte("\n— ")) != 1+len(h.Cosignatures) {
		return nil, errors.New("checkpoint: signatures are there twice, or of keys that the trust root doesn't name")
	}
	if n := len(h.Cosignatures); n < max(1, trust.Policy.Quorum) {
		return nil, fmt.Errorf("checkpoint: %d cosignatures, the trust root wants %d", n, max(1, trust.Policy.Quorum))
	}
	e, v, err := p.VerifyEntry(trust.Policy, p.Extra)
	if err != nil {
		return nil, fmt.Errorf("extra, index or hashes: %w", err)
	}
	if e.Position == 0 && ledger.Hash(p.Extra) != trust.Genesis {
		return nil, errors.New("extra: this is not the genesis that the trust root names")
	}
	cmd, err := contracts.Decode(contracts.Submission{Raw: e.Raw, Signatures: e.Signatures})
	if err != nil {
		return nil, fmt.Errorf("extra: command: %w", err)
	}
	if cmd.Ledger != trust.Ledger {
		return nil, errors.New("extra: command: of another ledger")
	}
	return &Proven{Entry: e, Command: cmd, Head: h, SeenAt: v.SeenAt}, nil
}

// Certificate gives the trade certificate that the entry issues, nil when it issues none.
func (p *Proven) Certificate() *contracts.Certificate {
	if body, ok := p.Command.Body().(*contracts.CertificateIssue); ok {
		return written[contracts.Certificate](&item{e: p.Entry}, contracts.KeyCertificate(body.Agreement, body.Period))
	}
	return nil
}

// CheckTrade holds a certificate against the other proven entries of its trade and names what they bear out:
// "agreement", "report", "settlement". What isn't among them isn't named; what contradicts it is the error.
func CheckTrade(certificate *Proven, others []*Proven) (borne []string, err error) {
	body, ok := certificate.Command.Body().(*contracts.CertificateIssue)
	c := certificate.Certificate()
	if !ok || c == nil || !contracts.ValidSerial(c.Number) || c.Agreement != body.Agreement {
		return nil, errors.New("certificate: this entry issues none, or one with a wrong number")
	}
	others = slices.Clone(others)
	slices.SortFunc(others, func(x, y *Proven) int { return int(x.Position) - int(y.Position) })
	var ag *contracts.Agreement
	var pe *contracts.ClosedPeriod
	var st *contracts.Settlement
	for _, o := range others {
		if o.Position >= certificate.Position {
			break
		}
		it := &item{e: o.Entry}
		if x := written[contracts.Agreement](it, contracts.KeyAgreement(body.Agreement)); x != nil {
			ag = x
		}
		if x := written[contracts.ClosedPeriod](it, contracts.KeyPeriod(body.Agreement, body.Period)); x != nil {
			pe = x
		}
		if x := written[contracts.Settlement](it, contracts.KeySettlement(body.Agreement, body.Period)); x != nil {
			st = x
		}
	}
	if ag != nil {
		if ag.Digest != c.Digest {
			return borne, errors.New("certificate: digest: it is not the agreement's")
		}
		borne = append(borne, "agreement")
	}
	if pe != nil && pe.Report != nil {
		if pe.Report.Root != c.Root || pe.Report.Size != c.Size {
			return borne, errors.New("certificate: root: it is not the reported receipt log's")
		}
		borne = append(borne, "report")
	}
	if st != nil {
		if st.Number != c.Settlement {
			return borne, errors.New("certificate: settlement: it is not the settlement's number")
		}
		borne = append(borne, "settlement")
	}
	return borne, nil
}

// Source is the part of a ledger that evidence is taken from.
type Source interface {
	Entries(ctx context.Context, from uint64, limit int) ([]*ledger.Stored, error)
}

// Prover makes proofs of a published log.
type Prover interface {
	Proof(ctx context.Context, index uint64) (publish.Proof, error)
}

// TradeEntries gives the entries below height that touch an agreement or its negotiation, in order. It reads the whole
// ledger; who has an index of objects doesn't need it.
func TradeEntries(ctx context.Context, src Source, height uint64, agreement contracts.ID) (out []*ledger.Stored, err error) {
	ids := []contracts.ID{agreement}
	for range 2 { // the negotiation's id is learnt on the way
		out = nil
		for at := uint64(0); at < height; {
			es, err := src.Entries(ctx, at, int(min(height-at, 1000)))
			if err != nil {
				return nil, err
			}
			if len(es) == 0 {
				return nil, fmt.Errorf("couldn't read entry %d", at)
			}
			for _, e := range es {
				if !slices.ContainsFunc(e.Objects, func(id contracts.ID) bool { return slices.Contains(ids, id) }) {
					continue
				}
				out = append(out, e)
				if a := written[contracts.Agreement](&item{e: e.Entry}, contracts.KeyAgreement(agreement)); a != nil && len(ids) == 1 {
					ids = append(ids, a.Negotiation)
				}
			}
			at += uint64(len(es))
		}
	}
	return out, nil
}

// WriteProofs writes a proof file of every entry into dir, named by position, and gives the names. This is what leaves
// the market of one trade: its entries, each provable by itself, and none of anybody else's.
func WriteProofs(ctx context.Context, dir string, from Prover, entries []*ledger.Stored) (names []string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("couldn't create the folder of proofs: %w", err)
	}
	for _, e := range entries {
		p, err := from.Proof(ctx, e.Position)
		if err != nil {
			return names, err
		}
		p.Extra = e.Encoded
		name := filepath.Join(dir, fmt.Sprintf("%09d", e.Position)+ProofSuffix)
		if err := os.WriteFile(name, p.Marshal(), 0o600); err != nil {
			return names, fmt.Errorf("couldn't write the proof of %d: %w", e.Position, err)
		}
		names = append(names, name)
	}
	return names, nil
}
