package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// writeOrderer writes an orderer's configuration.
func (n *Network) writeOrderer(ctx context.Context, i int) error {
	name, at := fmt.Sprintf("orderer.%d", i), n.layout.ordererPorts(i)
	tls := func(file string) string { return n.quoted(ordererDir(i), "tls", file) }
	b, err := n.render("orderer.yaml", map[string]any{
		"Port": at.listen, "Admin": loopback(at.admin), "Operations": loopback(at.operations),
		"MSP": ordererMSP, "MSPDir": n.quoted(ordererDir(i), "msp"),
		"TLSKey": tls("server.key"), "TLSCert": tls("server.crt"), "TLSCA": tls("ca.crt"),
		"Data": n.quoted(name, "data"), "WAL": n.quoted(name, "data", "wal"), "Snap": n.quoted(name, "data", "snap"),
	})
	if err != nil {
		return err
	}
	return n.reconfigure(ctx, n.ordererProcess(i), "orderer.yaml", b)
}

func (n *Network) ordererProcess(i int) *Process {
	name, at := fmt.Sprintf("orderer.%d", i), n.layout.ordererPorts(i)
	p := n.process(name, name, n.tools("orderer"))
	p.Ports = []int{at.listen, at.admin, at.operations}
	p.env = []string{"FABRIC_CFG_PATH=" + n.path(name)}
	return p
}

// writePeer writes a peer's configuration.
func (n *Network) writePeer(ctx context.Context, p peer) error {
	name, at := "peer."+p.name(), n.layout.peerPorts(p)
	org, _, _ := n.layout.organisation(p.Organisation)
	tls := func(file string) string { return n.quoted(peerDir(p), "tls", file) }
	b, err := n.render("core.yaml", map[string]any{
		"Channel": mainChannel, "Host": p.host(), "MSP": org.MSP, "MSPDir": n.quoted(peerDir(p), "msp"),
		"Address": loopback(at.listen), "ChaincodeAddress": loopback(at.chaincode), "OperationsAddress": loopback(at.operations),
		// A peer looks for others of its organisation first at the organisation's first peer.
		"Bootstrap": loopback(n.layout.peerPorts(peer{p.Organisation, 1}).listen),
		"TLSKey":    tls("server.key"), "TLSCert": tls("server.crt"), "TLSCA": tls("ca.crt"),
		"Data": n.quoted(name, "data"), "Snapshots": n.quoted(name, "data", "snapshots"), "Builder": n.quoted("builder"),
	})
	if err != nil {
		return err
	}
	return errors.Join(n.reconfigure(ctx, n.peerProcess(p), "core.yaml", b), n.writeAddresses(p))
}

func (n *Network) peerProcess(p peer) *Process {
	name, at := "peer."+p.name(), n.layout.peerPorts(p)
	r := n.process(name, name, n.tools("peer"), "node", "start")
	r.Ports = []int{at.listen, at.chaincode, at.operations}
	r.built = n.path(name, "data", "externalbuilder") // by what its addresses, keys and certificates were
	// What it builds is first a temporary folder, which a peer that is killed leaves behind with its key of TLS in it.
	r.env = []string{"FABRIC_CFG_PATH=" + n.path(name), "CHAINCODE_ADDRESSES=" + n.addressesDir(p), "PEER_CRYPTO=" + n.path(peerDir(p)), "TMPDIR=" + r.built}
	return r
}

// ccLabel names the packages of a definition's program; a new program is a new package.
func ccLabel(d definition) string { return fmt.Sprintf("%s_%d_%.12s", d.Name, d.Sequence, d.Program) }

// chaincodeProcess gives the process that serves a definition to one peer.
func (n *Network) chaincodeProcess(p peer, d definition) (*Process, error) {
	id, _, err := ccPackage(ccLabel(d))
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("chaincode.%s.%s", p.name(), d.Name)
	stem := fmt.Sprintf("%s-%d", name, d.Sequence)
	if slices.Contains(n.layout.Next, d) {
		name = stem
	}
	r := n.process(name, stem, programFile(n.dir, d.Program))
	r.Ports = []int{n.layout.chaincodePort(p, d)}
	r.env = []string{"CHAINCODE_ID=" + id, "CHAINCODE_SERVER_ADDRESS=" + loopback(r.Ports[0]), "BUND_DEFINITION=" + d.Name,
		"BUND_LEDGER=" + n.layout.Ledger, "BUND_VENUE_MSP=" + venueMSP, "BUND_OTHER=" + d.Other,
		"CHAINCODE_TLS_CERT=" + n.path(chaincodeTLSDir(p), "server.crt"), "CHAINCODE_TLS_KEY=" + n.path(chaincodeTLSDir(p), "server.key"),
		"CHAINCODE_TLS_CLIENT_CA=" + n.path(peerDir(p), "tls", "ca.crt")}
	return r, nil
}

// chaincodeProcesses are those that serve a peer.
func (n *Network) chaincodeProcesses(p peer) (ps []*Process, err error) {
	if !n.layout.endorses(p) {
		return nil, nil
	}
	for _, d := range n.layout.served() {
		cc, err := n.chaincodeProcess(p, d)
		if err != nil {
			return nil, err
		}
		ps = append(ps, cc)
	}
	return ps, nil
}

// process has its pid and log under the stem.
func (n *Network) process(name, stem, program string, args ...string) *Process {
	return &Process{Name: name, program: program, args: args, dir: n.dir,
		pidFile: n.path("run", stem+".pid"), logFile: n.path("logs", stem+".log")}
}

// reconfigure writes the configuration of a process. One that runs with another, since an earlier version of this program
// started it, ends first: whoever is interrupted here finds it down, not running with what is no longer written anywhere.
func (n *Network) reconfigure(ctx context.Context, p *Process, name string, b []byte) error {
	if old, err := os.ReadFile(n.path(p.Name, name)); err == nil && bytes.Equal(old, b) {
		return nil
	}
	if err := p.Stop(ctx); err != nil {
		return err
	}
	return n.writeConfig(n.path(p.Name), name, b)
}

func (n *Network) writeConfig(dir, name string, b []byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return replaceFile(filepath.Join(dir, name), b)
}

func (n *Network) tools(name string) string { return filepath.Join(n.config.Tools, name) }
