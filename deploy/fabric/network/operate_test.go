package network_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bund-exchange/bund/deploy/fabric/network"
	"github.com/bund-exchange/bund/ledger/fabric/profile"
)

// These are done to one network, one after the other.

// sameChain waits until a peer's last block is the venue's.
func sameChain(t *testing.T, n *network.Network, org string, number int) {
	t.Helper()
	eventually(t, fmt.Sprintf("chain of %s %d", org, number), func(ctx context.Context) error {
		want, err := n.Head(ctx, "venue", 1)
		if err != nil {
			return err
		}
		got, err := n.Head(ctx, org, number)
		if err == nil && got != want {
			err = fmt.Errorf("%s, the venue's %s", got, want)
		}
		return err
	})
}

func addPeer(t *testing.T, n *network.Network) {
	// The first attempt is interrupted when it is written down and nothing has happened yet.
	if err := n.PlanPeer("provider", 2); err != nil {
		t.Fatal(err)
	}
	name, err := n.AddPeer(t.Context(), "provider", "")
	if err != nil || name != "peer.provider.2" {
		t.Fatalf("%s %v", name, err)
	}
	sameChain(t, n, "provider", 2)
	holdsAt(t, n, "bund", "provider", 2, "market", "a", "1")
	holdsAt(t, n, "bund", "provider", 2, "clearing", "a", "2")
	// It runs its own chaincode: the first peer's is not needed.
	for _, p := range []string{"chaincode.provider.market", "peer.provider"} {
		if err := n.Process(p).Kill(); err != nil {
			t.Fatal(err)
		}
	}
	put(t, n, []string{"venue", "provider.2"}, "market", "by the second", "1")
	for _, p := range []string{"chaincode.provider.market", "peer.provider"} {
		if err := n.Process(p).Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	holds(t, n, "provider", "market", "by the second", "1")
	sameChain(t, n, "provider", 2)
	p, err := profile.Read(n.ProfileFile())
	if err != nil || len(p.PeersOf("ProviderMSP")) != 2 {
		t.Fatalf("%v: %+v", err, p)
	}
	if _, err := n.AddPeer(t.Context(), "nobody", ""); err == nil {
		t.Error("added a peer to nobody")
	}
}

// submitter puts values under new keys until it is told to stop, each until it is accepted. Only errors that say "again" may
// come.
type submitter struct {
	stop chan struct{}
	done sync.WaitGroup

	accepted int
	again    []string
	other    error
}

func (s *submitter) run(ctx context.Context, n *network.Network, orgs []string, definition, key string) {
	defer s.done.Done()
	for i := 0; ; i++ {
		err := n.Invoke(ctx, orgs, definition, fmt.Sprintf(`{"Args":["put","%s%d","1"]}`, key, i))
		switch {
		case err == nil:
			s.accepted++
		case strings.Contains(err.Error(), "MVCC_READ_CONFLICT"), strings.Contains(err.Error(), "ProposalResponsePayloads do not match"):
			s.again = append(s.again, err.Error())
			i--
		default:
			s.other = err
			return
		}
		select {
		case <-s.stop:
			return
		default:
		}
	}
}

func upgrade(t *testing.T, c network.Config, n *network.Network) {
	old := n.Process("chaincode.venue.market")
	s := &submitter{stop: make(chan struct{})}
	s.done.Add(1)
	go s.run(t.Context(), n, []string{"venue", "buyer"}, "market", "meanwhile")
	second := register(t, "2")
	if err := n.Upgrade(t.Context(), "operate_test.go"); err == nil || !strings.Contains(err.Error(), "nothing is changed") {
		t.Errorf("upgraded to what is no program: %v", err)
	}
	// The first attempt is interrupted when it is written down and nothing has happened yet.
	if err := n.PlanUpgrade(second); err != nil {
		t.Fatal(err)
	}
	err := n.Upgrade(t.Context(), second)
	close(s.stop)
	s.done.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if s.other != nil || s.accepted == 0 {
		t.Errorf("%d accepted meanwhile, then %v", s.accepted, s.other)
	}
	t.Logf("%d accepted meanwhile, %d sent again", s.accepted, len(s.again))
	for _, definition := range []string{"market", "clearing"} {
		for _, p := range []string{"venue", "custodian", "provider", "buyer", "provider.2"} {
			org, _, second := strings.Cut(p, ".")
			number := 1
			if second {
				number = 2
			}
			got, err := n.Query(t.Context(), org, number, definition, `{"Args":["build"]}`)
			if err != nil || strings.TrimSpace(got) != definition+" 2" {
				t.Errorf("%s of %s: %q %v", definition, p, got, err)
			}
		}
		got, err := n.Committed(t.Context(), definition)
		if err != nil || !strings.Contains(got, "Version: sha256-") || !strings.Contains(got, "Sequence: 2") {
			t.Errorf("%q %v", got, err)
		}
	}
	if old.Alive() {
		t.Error("the old program still runs")
	}
	put(t, n, []string{"venue", "buyer"}, "market", "after", "1")
	holds(t, n, "provider", "market", "a", "1")
	if err := n.Upgrade(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	if got, err := n.Committed(t.Context(), "market"); err != nil || !strings.Contains(got, "Sequence: 2") {
		t.Errorf("the same program again: %q %v", got, err)
	}
	// Back to the former program, on the ports that it had.
	if err := n.Upgrade(t.Context(), c.Chaincode); err != nil {
		t.Fatal(err)
	}
	if got, err := n.Query(t.Context(), "provider", 2, "market", `{"Args":["build"]}`); err != nil || strings.TrimSpace(got) != "market 1" {
		t.Errorf("%q %v", got, err)
	}
}

// certificate reads that of a user in the profile.
func certificate(t *testing.T, file string) *x509.Certificate {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func rotate(t *testing.T, n *network.Network) {
	before, err := os.ReadFile(n.ProfileFile())
	if err != nil {
		t.Fatal(err)
	}
	p, err := profile.Read(n.ProfileFile())
	if err != nil {
		t.Fatal(err)
	}
	admin, err := p.User("provider", "admin")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(n.ProfileFile())
	tls := filepath.Join(dir, "crypto", "peerOrganizations", "provider.bund", "peers", "peer1.provider.bund", "tls", "server.crt")
	chaincode := filepath.Join(filepath.Dir(tls), "..", "chaincode", "tls", "server.crt")
	wasAdmin, wasTLS, wasChaincode := certificate(t, admin.Cert), certificate(t, tls), certificate(t, chaincode)
	pid, chaincodePID := n.Process("peer.provider").PID(), n.Process("chaincode.provider.market").PID()
	s := &submitter{stop: make(chan struct{})}
	s.done.Add(1)
	go s.run(t.Context(), n, []string{"venue", "buyer"}, "market", "rotating")
	// The first attempt is interrupted when keys are made and none is in place.
	if err := n.BeginRotation("provider", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	err = n.Rotate(t.Context(), "provider")
	close(s.stop)
	s.done.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if s.other != nil || s.accepted == 0 {
		t.Errorf("%d accepted meanwhile, then %v", s.accepted, s.other)
	}
	isAdmin, isTLS, isChaincode := certificate(t, admin.Cert), certificate(t, tls), certificate(t, chaincode)
	for _, c := range [][2]*x509.Certificate{{wasAdmin, isAdmin}, {wasTLS, isTLS}, {wasChaincode, isChaincode}} {
		if bytes.Equal(c[0].RawSubjectPublicKeyInfo, c[1].RawSubjectPublicKeyInfo) || c[0].Subject.String() != c[1].Subject.String() {
			t.Errorf("%s with key %x, then %s with %x", c[0].Subject, c[0].RawSubjectPublicKeyInfo, c[1].Subject, c[1].RawSubjectPublicKeyInfo)
		}
	}
	kept := certificate(t, filepath.Join(dir, "retired", "provider.20260102T030405Z", "users", "Admin@provider.bund", "msp", "signcerts", "Admin@provider.bund-cert.pem"))
	if !kept.Equal(wasAdmin) {
		t.Error("the old certificate is not kept")
	}
	if n.Process("peer.provider").PID() == pid || n.Process("chaincode.provider.market").PID() == chaincodePID {
		t.Error("the peer or its chaincode was not restarted")
	}
	if after, err := os.ReadFile(n.ProfileFile()); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the profile changed: %v\n%s", err, after)
	}
	// It endorses with the new key; the query is signed by the new administrator.
	for _, peer := range []string{"provider", "provider.2"} {
		put(t, n, []string{"venue", peer}, "market", "rotated", peer)
		holds(t, n, "provider", "market", "rotated", peer)
	}
	sameChain(t, n, "provider", 1)
	sameChain(t, n, "provider", 2)
}

func rebuildPeer(t *testing.T, n *network.Network) {
	if err := n.RebuildPeer(t.Context(), "peer.custodian", false); err == nil {
		t.Fatal("removed data without being told so")
	}
	if err := n.Process("peer.custodian").Kill(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(filepath.Dir(n.ProfileFile()), "peer.custodian", "data")); err != nil {
		t.Fatal(err)
	}
	put(t, n, []string{"venue", "provider"}, "market", "lost", "1")
	if err := n.RebuildPeer(t.Context(), "peer.custodian", false); err != nil {
		t.Fatal(err)
	}
	holds(t, n, "custodian", "market", "lost", "1")
	put(t, n, []string{"custodian", "venue"}, "clearing", "rebuilt", "1")
	holds(t, n, "custodian", "clearing", "rebuilt", "1")
	sameChain(t, n, "custodian", 1)
	if err := n.RebuildPeer(t.Context(), "peer.custodian", true); err != nil {
		t.Fatal(err)
	}
	put(t, n, []string{"custodian", "venue"}, "clearing", "rebuilt", "2")
}

// snapshot has a peer begin with another one's snapshot.
func snapshot(t *testing.T, n *network.Network) {
	dir, err := n.Snapshot(t.Context(), "peer.venue")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := n.Snapshot(t.Context(), "peer.venue"); err != nil || again != dir {
		t.Errorf("again: %s, not %s: %v", again, dir, err)
	}
	if _, err := n.AddPeer(t.Context(), "buyer", t.TempDir()); err == nil {
		t.Error("began with an empty folder")
	}
	damaged := filepath.Join(t.TempDir(), "damaged")
	if err := os.CopyFS(damaged, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(damaged, "txids.data"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := n.AddPeer(t.Context(), "buyer", damaged); err == nil || !strings.Contains(err.Error(), "txids.data is not what the peer wrote") {
		t.Errorf("began with a damaged snapshot: %v", err)
	}
	name, err := n.AddPeer(t.Context(), "buyer", dir)
	if err != nil || name != "peer.buyer.2" {
		t.Fatalf("%s %v", name, err)
	}
	holdsAt(t, n, "bund", "buyer", 2, "market", "a", "1")
	put(t, n, []string{"buyer.2", "venue"}, "market", "snapshot", "1")
	sameChain(t, n, "buyer", 2)
}

// backup loses a whole network and restores it.
func backup(t *testing.T, c network.Config, n *network.Network) {
	to := filepath.Join(t.TempDir(), "backup")
	if err := n.Backup(to); err == nil || !strings.Contains(err.Error(), "fabricnet down first") {
		t.Fatalf("backed up a running network: %v", err)
	}
	put(t, n, []string{"venue", "buyer"}, "market", "kept", "1")
	head, err := n.Head(t.Context(), "venue", 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := n.Backup(to); err != nil {
		t.Fatal(err)
	}
	// Orderers that begin the channel again beside peers that have it are worse than none.
	if err := os.RemoveAll(filepath.Join(c.Dir, "orderer.1", "data")); err != nil {
		t.Fatal(err)
	}
	if _, err := network.Start(t.Context(), c); err == nil || !strings.Contains(err.Error(), "orderer.1 has lost its blocks") {
		t.Fatalf("started without the orderer's blocks: %v", err)
	}
	if err := n.Wipe(); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(to, "layout.json")
	b, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, append(b, ' '), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := network.Restore(to, c.Dir); err == nil || !strings.Contains(err.Error(), "layout.json is not what was backed up") {
		t.Fatalf("restored a damaged backup: %v", err)
	}
	if err := os.WriteFile(key, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := network.Restore(to, c.Dir); err != nil {
		t.Fatal(err)
	}
	m := start(t, c)
	if got, err := m.Head(t.Context(), "venue", 1); err != nil || got != head {
		t.Errorf("head %s, then %s: %v", head, got, err)
	}
	put(t, m, []string{"venue", "buyer"}, "market", "restored", "1")
	holds(t, m, "custodian", "market", "kept", "1")
}
