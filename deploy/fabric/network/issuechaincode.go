package network

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
)

// issueChaincode makes the key and certificate of a peer's chaincode processes, unless they are there. Nobody who runs before
// knows of them, in a network that an earlier version of this program made: the peer and those processes end.
func (n *Network) issueChaincode(ctx context.Context, p peer) error {
	dir := filepath.Dir(n.path(chaincodeTLSDir(p)))
	if _, err := os.Stat(dir); err == nil || !n.layout.endorses(p) {
		return nil
	}
	ps, err := n.chaincodeProcesses(p)
	if err != nil {
		return err
	}
	for _, process := range append(ps, n.peerProcess(p)) {
		if err := process.Stop(ctx); err != nil {
			return err
		}
	}
	half := dir + ".half"
	if err := os.RemoveAll(half); err != nil {
		return err
	}
	tls, err := readCA(n.path(peerOrgDir(p.Organisation), "tlsca"), "tlsca."+p.Organisation+".bund")
	if err != nil {
		return err
	}
	pattern, err := os.ReadFile(n.path(peerDir(p), "tls", "server.crt"))
	if err != nil {
		return err
	}
	// Not for a client: it would be answered at operations addresses.
	err = tls.issue(pattern, p.host(), "chaincode."+p.host(), filepath.Join(half, "tls", "server.crt"), filepath.Join(half, "tls", "server.key"), x509.ExtKeyUsageServerAuth)
	if err != nil {
		return fmt.Errorf("couldn't make a key and certificate for the chaincode of peer.%s: %w", p.name(), err)
	}
	return os.Rename(half, dir)
}
