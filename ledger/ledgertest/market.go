package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/contracts/signing"
	"github.com/bund-exchange/bund/ledger"
)

// Market is contractstest's market on a real ledger. It keeps every submission that was accepted.
type Market struct {
	*contractstest.Market
	Listing *contractstest.Listing

	mu       sync.Mutex
	ledger   ledger.Ledger
	accepted []contracts.Submission
	state    MapState // from write sets, up to read
	read     uint64
}

// NewMarket prepares a market on l; nothing is submitted yet.
func NewMarket(ledgerID string, l ledger.Ledger, seed uint64) *Market {
	m := &Market{ledger: l, state: MapState{}}
	m.Market = contractstest.NewMarket(ledgerID, m, seed)
	return m
}

// Submit implements contractstest.Executor.
func (m *Market) Submit(ctx context.Context, sub contracts.Submission) error {
	m.mu.Lock()
	l := m.ledger
	m.mu.Unlock()
	if _, err := l.Submit(ctx, sub); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.accepted = append(m.accepted, sub)
	return nil
}

// Get gives a value of the ledger's state, as every follower can: from the write sets.
func (m *Market) Get(key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		es, err := m.ledger.Entries(context.Background(), m.read, 1000)
		if err != nil {
			return nil, err
		}
		if len(es) == 0 {
			return m.state.Get(key)
		}
		for _, e := range es {
			m.state.Put(e.Writes)
			m.read++
		}
	}
}

// Accepted lists what was accepted, in order.
func (m *Market) Accepted() []contracts.Submission {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]contracts.Submission(nil), m.accepted...)
}

// Open begins the market and lists a product.
func (m *Market) Open() error {
	if err := m.Begin(); err != nil {
		return err
	}
	auth, err := m.Authorize()
	if err != nil {
		return err
	}
	m.Listing, err = m.List(m.Facts(auth))
	return err
}

// Trade agrees on the listed product and pays: commands with openings.
func (m *Market) Trade() error {
	d, err := m.Agree(m.Listing, contracts.Trade, contractstest.Policy(policy.PreLoan), contractstest.Terms())
	if err != nil {
		return err
	}
	return errors.Join(m.Deposit(d, 1_000_000), m.Activate(d))
}

// Consents signs n commands of the kind consent.register, one consent each, by the bank's machine. They are accepted in
// any order.
func (m *Market) Consents(n int, seed uint64) []contracts.Submission {
	subs := make([]contracts.Submission, n)
	var wg sync.WaitGroup
	const at = 4
	for g := range at {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(g)))
			for i := g; i < n; i += at {
				var key [32]byte
				for k := range key {
					key[k] = byte(r.Uint32())
				}
				subs[i] = m.consent(key, i, 10)
			}
		})
	}
	wg.Wait()
	return subs
}

// consent signs a command whose id comes from key.
func (m *Market) consent(key [32]byte, i int, maxCalls int64) contracts.Submission {
	body := contracts.ConsentRegister{Consents: []contracts.ChannelConsent{{
		Scope: contracts.ConsentScope{Product: m.Listing.Product, Node: m.Provider.Node, Subject: contracts.Subject(key, contracts.SyntheticCreditCode(uint32(i))),
			Purpose: policy.PreLoan, Fields: contractstest.Fields, From: m.Now, To: m.Now.Add(90 * 86400), MaxCalls: maxCalls},
		Evidence: contracts.ChannelEvidence{SignerRole: "legal_representative", RealName: "bank_face_to_face", TextVersion: "v3",
			Original: contracts.HashOf("test/original", key[:]), CASignature: contracts.HashOf("test/ca", key[:])},
	}}}
	sub, _ := signing.Sign(contracts.Unsigned{Ledger: m.Ledger, Member: m.Buyer.ID, Kind: "consent.register", Body: body, NotBefore: m.Now, Random: [10]byte(key[:10])},
		nil, m.Buyer.Machine)
	return sub
}

// audit is an Audit under the real rules, which need the openings that came with the submissions.
func (m *Market) audit(known []contracts.Submission) *Audit {
	a := NewAudit(m.Ledger)
	full := map[string]contracts.Submission{}
	for _, s := range known {
		full[string(s.Raw)] = s
	}
	a.Decode = func(sub contracts.Submission) (*contracts.Command, error) {
		s, ok := full[string(sub.Raw)]
		if !ok {
			return nil, fmt.Errorf("a command that nobody submitted")
		}
		return contracts.Decode(s)
	}
	a.Apply = contracts.Apply
	return a
}

func commandID(sub contracts.Submission) contracts.ID {
	c, err := contracts.Decode(sub)
	if err != nil {
		return ""
	}
	return c.ID
}
