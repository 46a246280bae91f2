package main

import (
	"context"
	"crypto/ed25519"
	"os"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger/embedded"
	"github.com/bund-exchange/bund/ledger/fabric/profile"
)

// network puts an embedded ledger beside the market's folder in the place of a network: it outlives the market's folder,
// keeps openings through the market that submits, and gives no promise that the market signed.
func (s *stand) network(database string) {
	s.t.Helper()
	was := joinNetwork
	s.t.Cleanup(func() { joinNetwork = was })
	joinNetwork = func(_ context.Context, m *Market, _ *profile.Network) (Ledger, error) {
		return embedded.Open(embedded.Config{Dir: s.path("network"), LedgerID: ledgerID, Key: ed25519.NewKeyFromSeed(make([]byte, 32)), Openings: m.openings, Now: m.now, Log: m.log})
	}
	s.profile(ledgerID)
	s.config(database, "fabric: {network: network.yaml, organisation: venue}\n")
	b, err := os.ReadFile(s.path("market.yaml"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.write("market.yaml", strings.Replace(string(b), "promiseKey: promise.seed\n", "", 1))
}

func (s *stand) profile(ledger string) {
	s.t.Helper()
	n := &profile.Network{Channel: "bund", Ledger: ledger, Market: "market", Clearing: "clearing", VenueMSP: "VenueMSP", Custodian: "CustodianMSP",
		Orderers: []profile.Orderer{{Name: "orderer", Address: "127.0.0.1:1", MSP: "OrdererMSP"}}, Peers: []profile.Peer{{Name: "venue", Address: "127.0.0.1:2", MSP: "VenueMSP", Endorses: true}}}
	if err := n.Write(s.path("network.yaml")); err != nil {
		s.t.Fatal(err)
	}
}

func TestFabricConfig(t *testing.T) {
	s := newStand(t, "")
	s.write("machine.seed", strings.Repeat("22", 32))
	s.network("postgres://nobody@127.0.0.1:1/none")
	b, err := os.ReadFile(s.path("market.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	const section = "fabric: {network: network.yaml, organisation: venue}"
	id := contracts.SyntheticCreditCode(5)
	s.write("market.yaml", strings.Replace(string(b), section, "fabric: {network: network.yaml, organisation: venue, tlog: shared, peers: {"+string(id)+": BuyerMSP}}", 1))
	c, err := ReadConfig(s.path("market.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Fabric.Network != s.path("network.yaml") || c.tlog() != s.path("shared") || c.Fabric.Peers[id] != "BuyerMSP" {
		t.Errorf("%+v", c.Fabric)
	}
	s.write("market.yaml", string(b))
	if c, err = ReadConfig(s.path("market.yaml")); err != nil || c.tlog() != s.path("market/tlog") {
		t.Errorf("%+v, %v", c, err)
	}
	for name, x := range map[string]struct{ section, says string }{
		"no network":       {"fabric: {organisation: venue}", "network is missing"},
		"no organisation":  {"fabric: {network: network.yaml}", "organisation is missing"},
		"unknown key":      {"fabric: {network: network.yaml, organisation: venue, channel: bund}", "channel"},
		"no member":        {"fabric: {network: network.yaml, organisation: venue, peers: {bank: BuyerMSP}}", `member "bank"`},
		"no MSP":           {"fabric: {network: network.yaml, organisation: venue, peers: {" + string(id) + ": ''}}", "no MSP"},
		"without a ledger": {"", "promiseKey is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			s.write("market.yaml", strings.Replace(string(b), section, x.section, 1))
			if _, err := ReadConfig(s.path("market.yaml")); err == nil || !strings.Contains(err.Error(), x.says) {
				t.Errorf("got %v, want it to say %q", err, x.says)
			}
		})
	}
}

// What the commands do when a network keeps the ledger.
func TestFabricLife(t *testing.T) {
	s := newStand(t, "")
	s.network(private(t))
	s.begin()
	if _, err := os.Stat(s.path("market/ledger")); err == nil {
		t.Error("init made a ledger of its own")
	}
	trust, err := os.ReadFile(s.path("trust.json"))
	if err != nil {
		t.Fatal(err)
	}
	// A crash after the genesis: the same is given again, another is not taken.
	if err := os.Remove(s.path("trust.json")); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := s.init(); code != 0 {
		t.Fatal(errs)
	}
	if again, err := os.ReadFile(s.path("trust.json")); err != nil || string(again) != string(trust) {
		t.Errorf("another trust root: %v\n%s", err, again)
	}
	genesis, err := os.ReadFile(s.path("genesis.json"))
	if err != nil {
		t.Fatal(err)
	}
	s.write("genesis.json", `{"raw":"{}","signatures":[]}`)
	if code, _, errs := s.init(); code != 1 || !strings.Contains(errs, "another genesis") {
		t.Errorf("exit code %d\n%s", code, errs)
	}
	s.write("genesis.json", string(genesis))
	s.profile("bund.other/1")
	s.refused([]string{"the network is of ledger bund.other/1"}, "run")
	s.profile(ledgerID)

	down := s.up()
	s.admit("甲")
	down()
	s.must("rebuild")
	want := inventory(t, s.must("backup", "--to", s.path("backup")))
	if want.Entries != 4 || want.StateHash != "" || len(want.Last) != 64 || want.Published == 0 {
		t.Errorf("inventory %+v", want)
	}
	if _, err := os.Stat(s.path("backup/ledger")); err == nil {
		t.Error("the backup has a ledger")
	}
	for _, args := range [][]string{{"--prepare-loss", s.path("loss"), "--reason", "x", "--key", "k"}, {"--accept-loss", s.path("loss")}} {
		s.refused([]string{"no loss to accept"}, append([]string{"restore"}, args...)...)
	}
	s.refused([]string{"has a tlog already"}, "restore", "--from", s.path("backup"))

	// The network has gone on since the backup.
	down = s.up()
	s.admit("乙")
	down()
	if err := os.RemoveAll(s.path("market")); err != nil {
		t.Fatal(err)
	}
	s.network(private(t))
	if got := s.must("restore", "--from", s.path("backup")); !strings.Contains(got, "the network has the 4 entries") {
		t.Errorf("restore says %q", got)
	}
	down = s.up()
	if status, body := s.ask("GET", "/members?min_position=6", ""); status != 200 || !strings.Contains(body, "乙") {
		t.Errorf("status %d: %s", status, body)
	}
	s.admit("丙")
	down()

	s.config(private(t), "")
	if err := os.RemoveAll(s.path("market")); err != nil {
		t.Fatal(err)
	}
	s.refused([]string{"another sort of ledger"}, "restore", "--from", s.path("backup"))
}
