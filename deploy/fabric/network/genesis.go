package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// makeGenesis makes a channel's first block, once.
func (n *Network) makeGenesis(ctx context.Context, ch channel) error {
	block := ch.genesis()
	if _, err := os.Stat(block); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	type orderer struct {
		Address, TLSCert string
		Port             int
	}
	type organisation struct {
		Organisation
		Anchor int
	}
	data := struct {
		Channel, OrdererMSP, OrdererDomain string
		BatchTimeout, Lifecycle            string
		Orderers                           []orderer
		Organisations                      []organisation
	}{Channel: ch.name, OrdererMSP: ordererMSP, OrdererDomain: ordererDomain, BatchTimeout: ch.batchTimeout, Lifecycle: ch.lifecycle}
	for i := 1; i <= n.layout.Orderers; i++ {
		port := n.layout.ordererPorts(i).listen
		data.Orderers = append(data.Orderers, orderer{loopback(port), n.quoted(ordererDir(i), "tls", "server.crt"), port})
	}
	for _, o := range ch.organisations {
		data.Organisations = append(data.Organisations, organisation{o, n.layout.peerPorts(peer{o.Name, 1}).listen})
	}
	b, err := n.render("configtx.yaml", data)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(ch.dir, 0o700); err != nil {
		return err
	}
	if err := replaceFile(filepath.Join(ch.dir, "configtx.yaml"), b); err != nil {
		return err
	}
	if _, err := n.tool(ctx, "configtxgen", []string{"FABRIC_CFG_PATH=" + ch.dir},
		"-profile", ch.name, "-channelID", ch.name, "-outputBlock", block+".new"); err != nil {
		return fmt.Errorf("couldn't make the channel's first block: %w", err)
	}
	return os.Rename(block+".new", block)
}
