package fabric_test

import (
	"context"
	"encoding/hex"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	pb "github.com/hyperledger/fabric-protos-go/peer"

	"github.com/bund-exchange/bund/contracts/proposal"
	"github.com/bund-exchange/bund/ledger/evidence"
	"github.com/bund-exchange/bund/ledger/fabric"
	"github.com/bund-exchange/bund/ledger/fabric/blockaudit"
	"github.com/bund-exchange/bund/ledger/fabric/blocks"
	"github.com/bund-exchange/bund/ledger/fabric/profile"
	"github.com/bund-exchange/bund/ledger/ledgertest"
)

// TestExportedBlocks audits what a network made of a trade, and of transactions that no client of ours would send.
func TestExportedBlocks(t *testing.T) {
	cfg := channel(t, "bund.test/exported")
	cfg.EpochEvery = time.Hour // its epochs are the test's
	l := open(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	m := ledgertest.NewMarket(cfg.Network.Ledger, l, 1)
	if err := m.Open(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	half, n, err := fabric.Export(ctx, cfg.Network, "venue", dir)
	if err != nil || n != half || n == 0 {
		t.Fatal(half, n, err)
	}
	faults(ctx, t, l, cfg.Network)
	if err := m.Trade(); err != nil {
		t.Fatal(err)
	}
	height, n, err := fabric.Export(ctx, cfg.Network, "custodian", dir)
	if err != nil || n != height-half || n == 0 {
		t.Fatal(height, n, err)
	}

	rep, err := blockaudit.Audit(ctx, blockaudit.Config{Dir: dir, Names: blocks.Names{Market: cfg.Network.Market, Clearing: cfg.Network.Clearing}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range rep.Checks {
		if c.Verdict != evidence.Verified && c.Name != blockaudit.CheckGenesis {
			t.Errorf("%s: %s at %s: %s", c.Name, c.Verdict, c.Where, c.Detail)
		}
	}
	h, err := l.BlockHeight(ctx)
	if err != nil || rep.Blocks != height || rep.Blocks > h {
		t.Errorf("%d blocks of %d: %v", rep.Blocks, h, err)
	}
	es, err := l.Entries(ctx, rep.Entries-1, 2)
	if err != nil || len(es) != 1 || hex.EncodeToString(es[0].Hash[:]) != rep.LastEntry {
		t.Errorf("the client's entries aren't those of the blocks: %v %d", err, len(es))
	}
	kinds := map[pb.TxValidationCode]bool{}
	for i := range height {
		raw, err := os.ReadFile(filepath.Join(dir, blocks.FileName(i)))
		if err != nil {
			t.Fatal(err)
		}
		b, err := blocks.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		flags, err := blocks.Flags(b)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range flags {
			kinds[f] = true
		}
	}
	for _, f := range []pb.TxValidationCode{pb.TxValidationCode_ENDORSEMENT_POLICY_FAILURE, pb.TxValidationCode_MVCC_READ_CONFLICT, pb.TxValidationCode_DUPLICATE_TXID} {
		if !kinds[f] {
			t.Errorf("the network made no %s", f)
		}
	}
}

// faults begins an epoch once with too few endorsers, twice at once, and once more with the same transaction.
func faults(ctx context.Context, t *testing.T, l *fabric.Ledger, net *profile.Network) {
	t.Helper()
	n, err := l.Newest()
	if err != nil {
		t.Fatal(err)
	}
	args := [][]byte{[]byte(proposal.Epoch), strconv.AppendUint(nil, n+1, 10)}
	var orders []*fabric.Held
	for _, msps := range [][]string{{net.VenueMSP}, {net.VenueMSP, net.Custodian}, {net.VenueMSP, net.Custodian}} {
		held, err := l.EndorseArgs(ctx, net.Market, args, msps...)
		if err != nil {
			t.Fatal(err)
		}
		orders = append(orders, held)
	}
	send := func(i int) {
		t.Helper()
		before, err := l.BlockHeight(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := orders[i].Send(ctx); err != nil {
			t.Fatal(err)
		}
		for h := before; h == before; {
			if h, err = l.BlockHeight(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, i := range []int{0, 1, 2, 1} {
		send(i)
	}
}
