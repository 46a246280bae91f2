package fabric

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/golang/protobuf/proto"
	"github.com/hyperledger/fabric-protos-go/ledger/rwset"
	"github.com/hyperledger/fabric-protos-go/ledger/rwset/kvrwset"
	"github.com/hyperledger/fabric-sdk-go/pkg/common/providers/fab"
)

// Endorsers differ every day because one of them is a block behind: then they have read other versions of something, and
// the next try agrees. An endorser that read the same versions and decided otherwise has another state, other rules or
// another clock than its blocks and its neighbours give it: somebody has to look at its machine. A third one says which.

const (
	patience = 5                // disagreements in a row about one command, after which its cause is no longer sought in a lag
	apartFor = 30 * time.Second // for which an endorser that decided otherwise is asked last
	unwell   = 10 * time.Minute // for which it is shown in Health
)

// mismatch is what endorsers answered who disagree.
type mismatch struct {
	proposal  *fab.TransactionProposal
	responses []*fab.TransactionProposalResponse
}

func (*mismatch) Error() string   { return errMismatch.Error() }
func (*mismatch) Is(e error) bool { return e == errMismatch }

// arbitrate finds out whose answer is to blame for a mismatch. Only who may see the commands' openings is asked.
func (l *Ledger) arbitrate(ctx context.Context, b *batch, asked []endorser, m *mismatch) {
	row := 0
	for _, c := range b.calls {
		c.mismatched++
		row = max(row, c.mismatched)
	}
	if row < patience && lags(m.responses[0], m.responses[1]) {
		return
	}
	for _, p := range l.oddOnes(ctx, b, asked, m) {
		if l.setAside(p) {
			l.cfg.Log.Warn("an endorser decides otherwise than the others; its state, its chaincode or its clock is not what it should be", "peer", p.info.Name,
				"definition", b.lane.name, "in_a_row", row)
		}
	}
}

// setAside counts a peer that isn't as the others and has it asked last for a while. first says that it wasn't so lately.
func (l *Ledger) setAside(p endorser) (first bool) {
	l.metrics.disagreements.WithLabelValues(p.info.Name).Inc()
	l.mu.Lock()
	defer l.mu.Unlock()
	first = time.Since(l.odd[p.info.Name]) >= unwell
	l.odd[p.info.Name] = time.Now()
	l.down[p.info.Address] = time.Now().Add(apartFor)
	return first
}

// oddOnes gives the peers that a third one contradicts. Where no third may be asked, it is the one that was odd before, or
// else both.
func (l *Ledger) oddOnes(ctx context.Context, b *batch, asked []endorser, m *mismatch) []endorser {
	var thirds []endorser
	for _, p := range l.other {
		private := slices.ContainsFunc(b.calls, func(c *call) bool { return len(c.sub.Openings) > 0 })
		if !slices.ContainsFunc(asked, func(a endorser) bool { return a.info.Address == p.info.Address }) && (!private || slices.Contains(b.audience, p.info.MSP)) {
			thirds = append(thirds, p)
		}
	}
	if len(thirds) == 0 {
		return l.oddBefore(asked)
	}
	third := []endorser{l.prefer(thirds)}
	rs, err := l.gw.send(ctx, m.proposal, third)
	l.noteErrors(third, err)
	if err != nil {
		return l.oddBefore(asked)
	}
	var odd []endorser
	for _, r := range m.responses {
		if string(r.ProposalResponse.Payload) != string(rs[0].ProposalResponse.Payload) {
			if i := slices.IndexFunc(asked, func(p endorser) bool { return strings.HasSuffix(p.info.Address, r.Endorser) }); i >= 0 {
				odd = append(odd, asked[i])
			}
		}
	}
	return odd
}

func (l *Ledger) oddBefore(asked []endorser) (odd []endorser) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range asked {
		if time.Since(l.odd[p.info.Name]) < unwell {
			odd = append(odd, p)
		}
	}
	if len(odd) == 0 {
		return asked
	}
	return odd
}

// lags reports whether two endorsers read different versions of something: then one of them is behind the other.
func lags(a, b *fab.TransactionProposalResponse) bool {
	x, err := readVersions(a)
	y, err2 := readVersions(b)
	if err != nil || err2 != nil {
		return false
	}
	for k, v := range x {
		if w, both := y[k]; both && v != w {
			return true
		}
	}
	return false
}

type readKey struct{ namespace, key string }

type readVersion struct {
	block, tx uint64
	there     bool
}

// readVersions gives which version of what an endorser has read.
func readVersions(r *fab.TransactionProposalResponse) (map[readKey]readVersion, error) {
	action, err := signedAction(r)
	if err != nil {
		return nil, err
	}
	var set rwset.TxReadWriteSet
	if err := proto.Unmarshal(action.Results, &set); err != nil {
		return nil, err
	}
	out := map[readKey]readVersion{}
	for _, ns := range set.NsRwset {
		var kv kvrwset.KVRWSet
		if err := proto.Unmarshal(ns.Rwset, &kv); err != nil {
			return nil, err
		}
		for _, x := range kv.Reads {
			out[readKey{ns.Namespace, x.Key}] = readVersion{x.GetVersion().GetBlockNum(), x.GetVersion().GetTxNum(), x.Version != nil}
		}
	}
	return out, nil
}
