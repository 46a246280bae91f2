package network_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/deploy/fabric/network"
)

// addLedgers adds two channels at once. What is put on one is not on another.
func addLedgers(t *testing.T, n *network.Network) {
	names := []string{"second", "third"}
	failed := make(chan error, len(names))
	for _, name := range names {
		go func() {
			p, err := n.AddLedger(t.Context(), name)
			if err == nil && (p.Channel != name || p.Ledger != "bund.test/"+name || len(p.Peers) != 2 || len(p.PeersOf("VenueMSP")) != 1) {
				err = fmt.Errorf("profile %+v", p)
			}
			failed <- err
		}()
	}
	if err := errors.Join(<-failed, <-failed); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		for _, definition := range []string{"market", "clearing"} {
			eventually(t, "put on "+name, func(ctx context.Context) error {
				return n.InvokeOn(ctx, name, []string{"venue", "custodian"}, definition, fmt.Sprintf(`{"Args":["put","a","%s"]}`, name))
			})
		}
	}
	for _, name := range names {
		holdsOn(t, n, name, "venue", "market", "a", name)
		holdsOn(t, n, name, "custodian", "clearing", "a", name)
	}
	holds(t, n, "venue", "market", "a", "1")
	if got := n.Profile().Ledger; got != "bund.test/bund" {
		t.Errorf("ledger %s", got)
	}
	if _, err := n.QueryOn(t.Context(), "second", "provider", 1, "market", `{"Args":["get","a"]}`); err == nil {
		t.Error("the provider reads a channel that it is not of")
	}
	if err := n.InvokeOn(t.Context(), "second", []string{"venue"}, "market", `{"Args":["put","b","1"]}`); err == nil ||
		!strings.Contains(err.Error(), "ENDORSEMENT_POLICY_FAILURE") {
		t.Errorf("the venue alone: %v", err)
	}
	if _, err := n.AddLedger(t.Context(), "second"); err != nil {
		t.Errorf("again: %v", err)
	}
	if _, err := n.AddLedger(t.Context(), "bund"); err == nil {
		t.Error("added the market's own channel")
	}
}
