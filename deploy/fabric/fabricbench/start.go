package main

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/deploy/fabric/network"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/fabric"
	"github.com/bund-exchange/bund/ledger/ledgertest"
)

const ledgerID = "bund.bench/fabric"

// market is the test market on the network's ledger. Nothing that is measured has openings.
type market struct {
	*ledgertest.Market
	ledger *fabric.Ledger
	seed   uint64 // of the last consents
}

type forgetful struct{}

func (forgetful) Put(context.Context, []ledger.Opening) error { return nil }

// firsts notes when the first command after the genesis was accepted.
type firsts struct {
	*fabric.Ledger
	once sync.Once
	at   time.Time
}

func (f *firsts) Submit(ctx context.Context, sub contracts.Submission) (*ledger.Receipt, error) {
	r, err := f.Ledger.Submit(ctx, sub)
	if err == nil && r.Outcome.Kind == "member.apply" {
		f.once.Do(func() { f.at = time.Now() })
	}
	return r, err
}

// start measures the way from an empty folder to the first member's accepted command, and opens the market.
func (b *bench) start(ctx context.Context) error {
	base, err := network.FreeBase()
	if err != nil {
		return err
	}
	began := time.Now()
	b.net, err = network.Start(ctx, network.Config{Dir: filepath.Join(b.dir, "net"), BasePort: base, Tools: filepath.Join(b.bin, "fabric"),
		Chaincode: filepath.Join(b.bin, "chaincode"), Ledger: ledgerID})
	if err != nil {
		return err
	}
	started := time.Now()
	l, err := fabric.Open(ctx, fabric.Config{Network: b.net.Profile(), Organisation: "venue", Dir: filepath.Join(b.dir, "venue"), Openings: forgetful{}, Log: quiet})
	if err != nil {
		return err
	}
	opened := time.Now()
	f := &firsts{Ledger: l}
	b.market = &market{ledger: l, Market: ledgertest.NewMarket(ledgerID, f, 1), seed: 1000} // not the seed of the market: it gives ids too
	if err := b.market.Open(); err != nil {
		return err
	}
	fmt.Printf("figure fabric.start_s %.1f s\n", f.at.Sub(began).Seconds())
	fmt.Printf("start: %.1f s network, %.1f s client, %.1f s genesis and first member\n", started.Sub(began).Seconds(), opened.Sub(started).Seconds(), f.at.Sub(opened).Seconds())
	return nil
}

// consents signs n further commands of the kind consent.register.
func (m *market) consents(n int) []contracts.Submission {
	m.seed++
	return m.Consents(n, m.seed)
}
