package fabric

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	pb "github.com/hyperledger/fabric-protos-go/peer"

	"github.com/bund-exchange/bund/contracts"
)

// errConflict says that something which a transaction had read was changed before its block.
var errConflict = errors.New("another transaction changed what this one read")

// errEpoch says that endorsers and this process are in different epochs.
var errEpoch = errors.New("the endorsers are in another epoch")

// errNoVerdict says that a transaction was ordered and no block has brought it. It may still come.
var errNoVerdict = errors.New("no block has brought the transaction so far")

// invalid gives why a transaction had no effect, nil when it had.
func invalid(v pb.TxValidationCode) error {
	switch v {
	case pb.TxValidationCode_VALID:
		return nil
	case pb.TxValidationCode_MVCC_READ_CONFLICT, pb.TxValidationCode_PHANTOM_READ_CONFLICT:
		return errConflict
	}
	return fmt.Errorf("the peers found the transaction invalid: %s", v)
}

// reason is the label of an error that leads to another try.
func reason(err error) string {
	switch {
	case errors.Is(err, errConflict):
		return "conflict"
	case errors.Is(err, errMismatch):
		return "mismatch"
	case errors.Is(err, errEpoch):
		return "epoch"
	case errors.Is(err, errNoVerdict):
		return "no_verdict"
	}
	return "failure"
}

// backoff is how long to wait before another try: conflicts and endorsers that lag pass by themselves soon, a network
// that is down does not.
func backoff(try int, err error) time.Duration {
	if errors.Is(err, errConflict) || errors.Is(err, errMismatch) || errors.Is(err, errEpoch) {
		return rand.N(250 * time.Millisecond)
	}
	return min(100*time.Millisecond<<min(try, 5), 2*time.Second) + rand.N(250*time.Millisecond)
}

// endorsers chooses whom to ask: the venue always, for clearing the custodian, else another organisation: one of those in
// audience, or any. Peers that did not answer lately come last.
func (l *Ledger) endorsers(audience []string, clearing bool) ([]endorser, error) {
	var others []endorser
	for _, p := range l.other {
		switch {
		case clearing && p.info.MSP != l.cfg.Network.Custodian:
		case !clearing && audience != nil && !slices.Contains(audience, p.info.MSP):
		default:
			others = append(others, p)
		}
	}
	if len(others) == 0 {
		return nil, fmt.Errorf("no peer of %s is in the network's profile to endorse", strings.Join(audience, ", "))
	}
	return []endorser{l.prefer(l.venue), l.prefer(others)}, nil
}

// mayEndorse gives the MSPs of the parties that have a peer; with none of them here the custodian, by the agreement's word.
func (l *Ledger) mayEndorse(audience []contracts.ID) ([]string, error) {
	msps, err := l.peersOf(audience)
	if len(msps) == 0 {
		msps = []string{l.cfg.Network.Custodian}
	}
	return msps, err
}

// peersOf gives the MSPs of those members that have a peer, but for the venue.
func (l *Ledger) peersOf(members []contracts.ID) (msps []string, err error) {
	err = l.store.view(func(_ mark, v view) error {
		for _, id := range members {
			b, _ := v.find(contracts.KeyMember(id))
			if b == nil {
				continue
			}
			m, err := contracts.Read[contracts.Member](b)
			if err != nil {
				return fmt.Errorf("couldn't read member %s: %w", id, err)
			}
			if msp := l.cfg.Peers[m.CreditCode]; msp != "" && msp != l.cfg.Network.VenueMSP {
				msps = append(msps, msp)
			}
		}
		return nil
	})
	return msps, err
}

// prefer picks among those that have answered the one whose blocks are read, since a caller may have seen what another has
// not committed; else any.
func (l *Ledger) prefer(ps []endorser) endorser {
	l.mu.Lock()
	defer l.mu.Unlock()
	var up []endorser
	for _, p := range ps {
		if time.Now().After(l.down[p.info.Address]) {
			up = append(up, p)
			if p.info.Address == l.reading {
				return p
			}
		}
	}
	if len(up) == 0 {
		up = ps
	}
	return up[rand.IntN(len(up))]
}

// aside is for how long a peer is asked last after a failure.
const aside = 3 * time.Second

// noteErrors remembers which peers failed: the SDK's error names them by address.
func (l *Ledger) noteErrors(asked []endorser, err error) {
	if err == nil || errors.Is(err, errMismatch) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range asked {
		if strings.Contains(err.Error(), p.info.Address) {
			l.down[p.info.Address] = time.Now().Add(aside)
		}
	}
}
