package network_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bund-exchange/bund/deploy/fabric/network"
	"github.com/bund-exchange/bund/ledger/fabric/profile"
)

var listen = flag.String("listen", "", "listen there: for another test")

// config is a network's in a temporary folder, with a small chaincode of the tests' own.
func config(t *testing.T) network.Config {
	t.Helper()
	bin := os.Getenv("BUND_FABRIC")
	if bin == "" {
		t.Skip("BUND_FABRIC is not set: make fabric-build, then BUND_FABRIC=$PWD/bin go test ./deploy/fabric/...")
	}
	program := register(t, "1") // takes a while, in which others might take the ports
	base, err := network.FreeBase()
	if err != nil {
		t.Fatal(err)
	}
	return network.Config{Dir: filepath.Join(t.TempDir(), "net"), BasePort: base, Tools: filepath.Join(bin, "fabric"), Chaincode: program,
		Ledger: "bund.test/{channel}"}
}

// register builds the tests' chaincode.
func register(t *testing.T, build string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "register")
	if b, err := exec.Command("go", "build", "-ldflags", "-X main.build="+build, "-o", out, "./testdata/register").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	return out
}

func start(t *testing.T, c network.Config) *network.Network {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	n, err := network.Start(ctx, c)
	if n != nil {
		t.Cleanup(func() {
			if err := n.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// eventually polls until a condition holds.
func eventually(t *testing.T, what string, ok func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-tick.C:
		}
	}
}

func put(t *testing.T, n *network.Network, orgs []string, definition, key, value string) {
	t.Helper()
	eventually(t, "put", func(ctx context.Context) error {
		return n.Invoke(ctx, orgs, definition, fmt.Sprintf(`{"Args":["put","%s","%s"]}`, key, value))
	})
}

func holds(t *testing.T, n *network.Network, org, definition, key, value string) {
	t.Helper()
	holdsOn(t, n, "bund", org, definition, key, value)
}

func holdsOn(t *testing.T, n *network.Network, channel, org, definition, key, value string) {
	t.Helper()
	holdsAt(t, n, channel, org, 1, definition, key, value)
}

func holdsAt(t *testing.T, n *network.Network, channel, org string, number int, definition, key, value string) {
	t.Helper()
	eventually(t, key+" at "+org, func(ctx context.Context) error {
		got, err := n.QueryOn(ctx, channel, org, number, definition, fmt.Sprintf(`{"Args":["get","%s"]}`, key))
		if err == nil && strings.TrimSpace(got) != value {
			err = fmt.Errorf("got %q", got)
		}
		return err
	})
}

func TestNetwork(t *testing.T) {
	c := config(t)
	n := start(t, c)
	if len(n.Processes()) != 14 || n.Process("peer.nobody") != nil {
		t.Fatalf("%d processes", len(n.Processes()))
	}
	put(t, n, []string{"venue", "buyer"}, "market", "a", "1")
	put(t, n, []string{"venue", "custodian"}, "clearing", "a", "2")
	holds(t, n, "custodian", "market", "a", "1")
	holds(t, n, "provider", "clearing", "a", "2")

	t.Run("policies", func(t *testing.T) {
		for _, bad := range []struct {
			orgs       []string
			definition string
		}{{[]string{"venue"}, "market"}, {[]string{"custodian", "provider"}, "market"}, {[]string{"venue", "provider"}, "clearing"}} {
			err := n.Invoke(t.Context(), bad.orgs, bad.definition, `{"Args":["put","b","1"]}`)
			if err == nil || !strings.Contains(err.Error(), "ENDORSEMENT_POLICY_FAILURE") {
				t.Errorf("%s by %v: %v", bad.definition, bad.orgs, err)
			}
		}
	})
	t.Run("profile", func(t *testing.T) {
		p, err := profile.Read(n.ProfileFile())
		if err != nil {
			t.Fatal(err)
		}
		var files []string
		for _, o := range p.Orderers {
			files = append(files, o.TLSCA)
		}
		for _, x := range p.Peers {
			files = append(files, x.TLSCA)
		}
		for _, o := range []string{"venue", "custodian", "provider", "buyer", "regulator"} {
			for _, who := range []string{"client", "admin"} {
				u, err := p.User(o, who)
				if err != nil {
					t.Fatal(err)
				}
				files = append(files, u.Cert, u.Key, filepath.Join(u.MSPDir, "config.yaml"))
			}
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil || bytes.Contains(b, []byte("Certificate:")) {
				t.Errorf("%s: %v\n%s", f, err, b)
			}
		}
	})
	t.Run("operations", func(t *testing.T) { operations(t, n) })
	t.Run("chaincode link", func(t *testing.T) { chaincodeLink(t, n) })
	t.Run("imposter", func(t *testing.T) { imposter(t, n) })
	t.Run("killed while building", func(t *testing.T) { killedWhileBuilding(t, n) })
	t.Run("ledgers", func(t *testing.T) { addLedgers(t, n) })
	t.Run("kills", func(t *testing.T) {
		for _, name := range []string{"peer.custodian", "chaincode.custodian.market", "orderer.1"} {
			p := n.Process(name)
			if err := p.Kill(); err != nil || p.Alive() {
				t.Fatalf("%s: %v", name, err)
			}
			if name != "orderer.1" {
				put(t, n, []string{"venue", "provider"}, "market", "c", name)
			}
			if err := p.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			put(t, n, []string{"venue", "custodian"}, "market", "d", name)
			holds(t, n, "custodian", "market", "d", name)
		}
	})
	t.Run("again", func(t *testing.T) {
		venue, buyer := n.Process("peer.venue").PID(), n.Process("peer.buyer").PID()
		// As if an earlier version had started it: the buyer's peer with another configuration, the custodian's chaincode
		// without a certificate.
		chaincode := n.Process("chaincode.custodian.clearing").PID()
		if err := os.RemoveAll(filepath.Join(c.Dir, "crypto", "peerOrganizations", "custodian.bund", "peers", "peer1.custodian.bund", "chaincode")); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(c.Dir, "peer.buyer", "core.yaml")
		config, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("# old\n"+string(config)), 0o600); err != nil {
			t.Fatal(err)
		}
		m := start(t, c)
		if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, config) || m.Process("peer.buyer").PID() == buyer || !m.Process("peer.buyer").Alive() {
			t.Errorf("a peer with an old configuration goes on: %v\n%s", err, now)
		}
		if venue == 0 || m.Process("peer.venue").PID() != venue {
			t.Errorf("pid %d, then %d", venue, m.Process("peer.venue").PID())
		}
		if m.Process("chaincode.custodian.clearing").PID() == chaincode {
			t.Error("chaincode without a certificate goes on")
		}
		put(t, n, []string{"venue", "custodian"}, "clearing", "e", "1")
		if err := m.Stop(); err != nil {
			t.Fatal(err)
		}
		for _, p := range m.Processes() {
			if p.Alive() {
				t.Errorf("%s is alive", p.Name)
			}
		}
		m = start(t, network.Config{Dir: c.Dir, Tools: c.Tools})
		holds(t, m, "buyer", "market", "a", "1")
		holdsOn(t, m, "second", "venue", "market", "a", "second")
		put(t, m, []string{"venue", "custodian"}, "market", "e", "1")
		other := c
		other.Orderers = 3
		if _, err := network.Start(t.Context(), other); err == nil {
			t.Error("a network of one orderer started with three")
		}
	})
	t.Run("add a peer", func(t *testing.T) { addPeer(t, n) })
	t.Run("upgrade", func(t *testing.T) { upgrade(t, c, n) })
	t.Run("rotate", func(t *testing.T) { rotate(t, n) })
	t.Run("rebuild a peer", func(t *testing.T) { rebuildPeer(t, n) })
	t.Run("snapshot", func(t *testing.T) { snapshot(t, n) })
	t.Run("backup", func(t *testing.T) { backup(t, c, n) })
	t.Run("wipe", func(t *testing.T) {
		if err := n.Wipe(); err != nil {
			t.Fatal(err)
		}
		if _, err := network.Open(c); !errors.Is(err, network.ErrNone) {
			t.Fatal(err)
		}
	})
}

// TestThreeOrderers kills the leader of three, and adds a definition.
func TestThreeOrderers(t *testing.T) {
	c := config(t)
	c.Orderers = 3
	n := start(t, c)
	put(t, n, []string{"venue", "buyer"}, "market", "a", "1")
	was, err := n.Leader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Process(was).Kill(); err != nil {
		t.Fatal(err)
	}
	now, err := n.Leader(t.Context())
	if err != nil || now == was {
		t.Fatalf("leader %s, then %s: %v", was, now, err)
	}
	put(t, n, []string{"venue", "buyer"}, "market", "b", "1")
	if err := n.Process(was).Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, n, []string{"venue", "buyer"}, "market", "c", "1")

	for range 2 {
		if err := n.AddDefinition(t.Context(), "bare", register(t, "2")); err != nil {
			t.Fatal(err)
		}
	}
	put(t, n, []string{"venue", "buyer"}, "bare", "a", "2")
	holds(t, n, "provider", "bare", "a", "2")
	holds(t, n, "provider", "market", "a", "1")
	if err := n.AddDefinition(t.Context(), "bare", c.Chaincode); err == nil {
		t.Error("a definition was added twice, with two programs")
	}
	if p := n.Process("chaincode.buyer.bare"); p == nil || !p.Alive() {
		t.Error("the added definition's process doesn't run")
	}
}

func TestBusy(t *testing.T) {
	dir := t.TempDir()
	unlock, err := network.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := network.Start(t.Context(), network.Config{Dir: dir}); !errors.Is(err, network.ErrBusy) {
		t.Fatal(err)
	}
	unlock()
	if unlock, err = network.Lock(dir); err != nil {
		t.Fatal(err)
	}
	unlock()
}

// TestForeignFolder has a start leave a folder alone that is not a network's.
func TestForeignFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := network.Start(t.Context(), network.Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "something else") {
		t.Fatal(err)
	}
	if _, err := network.Open(network.Config{Dir: dir}); !errors.Is(err, network.ErrNone) {
		t.Fatal(err)
	}
}

// TestOtherFormat has a network left alone that this version can't go on with.
func TestOtherFormat(t *testing.T) {
	c := network.Config{Dir: t.TempDir()}
	if err := os.WriteFile(filepath.Join(c.Dir, "layout.json"), []byte(`{"basePort": 17000}`), 0o600); err != nil {
		t.Fatal(err)
	}
	n, err := network.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := network.Start(t.Context(), c); err == nil || !strings.Contains(err.Error(), "another version") {
		t.Error(err)
	}
	if _, err := n.AddPeer(t.Context(), "venue", ""); err == nil || !strings.Contains(err.Error(), "another version") {
		t.Error(err)
	}
}

func TestCCPackage(t *testing.T) {
	a, b1, err := network.CCPackage("market_1")
	if err != nil {
		t.Fatal(err)
	}
	same, b2, err := network.CCPackage("market_1")
	if err != nil || same != a || !bytes.Equal(b1, b2) {
		t.Errorf("%v %s %s", err, a, same)
	}
	if a != "market_1:3d4096c246702912264dd65f0a8b3f7d17c5bcc4f0a62796237314e548a69d0c" {
		t.Errorf("%s: networks that exist have approved another", a)
	}
	if id, _, err := network.CCPackage("market_2"); err != nil || id == a {
		t.Errorf("%s %v", id, err)
	}
}

func TestUnpinCAs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte("NodeOUs:\n  Enable: true\n  PeerOUIdentifier:\n    Certificate: cacerts/ca.pem\n    OrganizationalUnitIdentifier: peer\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := network.UnpinCAs(filepath.Dir(file)); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if want := "NodeOUs:\n  Enable: true\n  PeerOUIdentifier:\n    OrganizationalUnitIdentifier: peer\n"; err != nil || string(b) != want {
		t.Fatalf("%v\n%s", err, b)
	}
}
