package network_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/deploy/fabric/network"
)

// chaincodeLink calls every chaincode process as its peer does, as another organisation's peer, and as nobody.
func chaincodeLink(t *testing.T, n *network.Network) {
	tlsOf := func(org string) string {
		return filepath.Join(filepath.Dir(n.ProfileFile()), "crypto", "peerOrganizations", org+".bund", "peers", "peer1."+org+".bund", "tls")
	}
	called := 0
	for _, p := range n.Processes() {
		f := strings.Split(p.Name, ".")
		if f[0] != "chaincode" {
			continue
		}
		called++
		org, other := f[1], "venue"
		if org == "venue" {
			other = "buyer"
		}
		if err := call(t, p.Ports[0], tlsOf(org), tlsOf(org)); err != nil {
			t.Errorf("%s turns its peer away: %v", p.Name, err)
		}
		for _, who := range []string{"", tlsOf(other)} {
			if err := call(t, p.Ports[0], tlsOf(org), who); err == nil || !strings.Contains(err.Error(), "tls: ") {
				t.Errorf("%s takes a caller with certificate %q: %v", p.Name, who, err)
			}
		}
	}
	if called != 8 {
		t.Errorf("called %d processes, not 8", called)
	}
	own := filepath.Join(tlsOf("venue"), "..", "chaincode", "tls", "server")
	caller := &http.Client{Transport: &http.Transport{TLSClientConfig: clientTLS(t, tlsOf("venue"), own), DisableKeepAlives: true}}
	if status, _, err := ask(t, caller, "GET", fmt.Sprintf("https://127.0.0.1:%d/healthz", n.Process("peer.venue").Ports[2]), ""); err == nil {
		t.Errorf("a peer's operations address answers chaincode: %d", status)
	}
	chaincode := certificate(t, own+".crt")
	if peer := certificate(t, filepath.Join(tlsOf("venue"), "server.crt")); chaincode.Equal(peer) || chaincode.Subject.CommonName != "chaincode."+peer.Subject.CommonName {
		t.Errorf("%s has chaincode named %s", peer.Subject, chaincode.Subject)
	}
}

// imposter has the buyer's chaincode show another certificate of the buyer's, that of its peer: the peer must not take it for its
// chaincode.
func imposter(t *testing.T, n *network.Network) {
	dir := filepath.Join(filepath.Dir(n.ProfileFile()), "crypto", "peerOrganizations", "buyer.bund", "peers", "peer1.buyer.bund")
	own := filepath.Join(dir, "chaincode", "tls")
	restart := func() {
		t.Helper()
		p := n.Process("chaincode.buyer.market")
		if err := errors.Join(p.Kill(), p.Start(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	move(own, own+".kept")
	if err := os.CopyFS(own, os.DirFS(filepath.Join(dir, "tls"))); err != nil {
		t.Fatal(err)
	}
	restart()
	if got, err := n.Query(t.Context(), "buyer", 1, "market", `{"Args":["build"]}`); err == nil || !strings.Contains(err.Error(), "could not launch chaincode") {
		t.Errorf("the peer takes its own certificate for its chaincode's: %q %v", got, err)
	}
	if err := os.RemoveAll(own); err != nil {
		t.Fatal(err)
	}
	move(own+".kept", own)
	restart()
	holds(t, n, "buyer", "market", "a", "1")
}

// killedWhileBuilding ends the buyer's peer when its key has just been written beside the chaincode's address: that stays in
// the network's folder, until the peer starts again.
func killedWhileBuilding(t *testing.T, n *network.Network) {
	dir := filepath.Dir(n.ProfileFile())
	release, elsewhere := filepath.Join(dir, "builder", "bin", "release"), t.TempDir()
	was, err := os.ReadFile(release)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", elsewhere)
	p := n.Process("peer.buyer")
	if err := errors.Join(p.Kill(), os.WriteFile(release, append(was, "kill -KILL $PPID\n"...), 0o700)); err != nil {
		t.Fatal(err)
	}
	p.Start(t.Context()) // fails when it ends before it listens
	eventually(t, "the peer ends", func(context.Context) error {
		if p.Alive() {
			return errors.New("it is alive")
		}
		return nil
	})
	half := filepath.Join(dir, "peer.buyer", "data", "externalbuilder", "fabric-*")
	if left, err := filepath.Glob(half); err != nil || len(left) == 0 {
		t.Errorf("nothing half built is at %s: %v", half, err)
	}
	if left, err := os.ReadDir(elsewhere); err != nil || len(left) > 0 {
		t.Errorf("the peer left %v behind, %v", left, err)
	}
	if err := errors.Join(os.WriteFile(release, was, 0o700), p.Start(t.Context())); err != nil {
		t.Fatal(err)
	}
	holds(t, n, "buyer", "market", "a", "1")
	if left, err := filepath.Glob(half); err != nil || len(left) > 0 {
		t.Errorf("%v is still there, %v", left, err)
	}
}

// call begins to speak HTTP/2, as gRPC does, and waits for the first byte.
func call(t *testing.T, port int, server, own string) error {
	t.Helper()
	if own != "" {
		own = filepath.Join(own, "server")
	}
	config := clientTLS(t, server, own)
	config.NextProtos = []string{"h2"}
	c, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), config)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Read(make([]byte, 1))
	return err
}
