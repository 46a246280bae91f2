package network_test

import (
	"crypto/tls"
	"fmt"
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
	chaincode := certificate(t, filepath.Join(tlsOf("venue"), "..", "chaincode", "tls", "server.crt"))
	if peer := certificate(t, filepath.Join(tlsOf("venue"), "server.crt")); chaincode.Equal(peer) || chaincode.Subject.CommonName != "chaincode."+peer.Subject.CommonName {
		t.Errorf("%s has chaincode named %s", peer.Subject, chaincode.Subject)
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
