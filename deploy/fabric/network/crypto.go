package network

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Folders of cryptogen, which all that is configured here refers to.
func peerOrgDir(org string) string { return filepath.Join("crypto", "peerOrganizations", org+".bund") }

func peerDir(p peer) string { return filepath.Join(peerOrgDir(p.Organisation), "peers", p.host()) }

// chaincodeTLSDir holds the key and certificate of a peer's chaincode processes: chaincode need not know the peer's own key.
func chaincodeTLSDir(p peer) string { return filepath.Join(peerDir(p), "chaincode", "tls") }

func userDir(org, user string) string {
	return filepath.Join(peerOrgDir(org), "users", user+"@"+org+".bund")
}

func ordererOrgDir() string { return filepath.Join("crypto", "ordererOrganizations", ordererDomain) }

func ordererHost(i int) string { return fmt.Sprintf("o%d.%s", i, ordererDomain) }

func ordererDir(i int) string { return filepath.Join(ordererOrgDir(), "orderers", ordererHost(i)) }

type cryptoOrganisation struct {
	Organisation
	Peers []int
}

// cryptoConfig is what cryptogen is to make: everything that the layout holds.
func (n *Network) cryptoConfig() (string, error) {
	type orderer struct{ Number int }
	data := struct {
		OrdererDomain string
		Orderers      []orderer
		Organisations []cryptoOrganisation
	}{OrdererDomain: ordererDomain}
	for i := 1; i <= n.layout.Orderers; i++ {
		data.Orderers = append(data.Orderers, orderer{i})
	}
	for _, o := range n.layout.Organisations {
		c := cryptoOrganisation{Organisation: o}
		for _, p := range n.layout.Peers {
			if p.Organisation == o.Name {
				c.Peers = append(c.Peers, p.Number)
			}
		}
		data.Organisations = append(data.Organisations, c)
	}
	b, err := n.render("crypto-config.yaml", data)
	if err != nil {
		return "", err
	}
	file := n.path("config", "crypto-config.yaml")
	return file, replaceFile(file, b)
}

// makeCrypto makes keys and certificates, once. It is done when the folder has its name.
func (n *Network) makeCrypto(ctx context.Context) error {
	if _, err := os.Stat(n.path("crypto")); err == nil {
		return nil
	}
	config, err := n.cryptoConfig()
	if err != nil {
		return err
	}
	half := n.path("crypto.new")
	if err := os.RemoveAll(half); err != nil {
		return err
	}
	if _, err := n.tool(ctx, "cryptogen", nil, "generate", "--config", config, "--output", half); err != nil {
		return fmt.Errorf("couldn't make keys and certificates: %w", err)
	}
	if err := unpinCAs(half); err != nil {
		return err
	}
	return os.Rename(half, n.path("crypto"))
}

// unpinCAs removes from every MSP's config.yaml the certificate that a node's role must have been signed under.
// cryptogen signs half of its CA certificates with the larger of the two equivalent ECDSA values, fabric-sdk-go then
// finds that the pinned certificate and the CA differ, and reports it as "no peers to connect to". An organisation has
// one CA here, so nothing is lost. It must happen before the channel's first block takes the files up.
func unpinCAs(dir string) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "config.yaml" {
			return err
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		var kept []string
		for _, line := range strings.SplitAfter(string(b), "\n") {
			if !strings.HasPrefix(strings.TrimSpace(line), "Certificate:") {
				kept = append(kept, line)
			}
		}
		return os.WriteFile(name, []byte(strings.Join(kept, "")), 0o600)
	})
}
