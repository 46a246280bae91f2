package network

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Tests speak to the chaincode as an operator would by hand.

// Invoke has peers endorse a call and waits until the first of them has its block.
func (n *Network) Invoke(ctx context.Context, orgs []string, definition, args string) error {
	return n.InvokeOn(ctx, mainChannel, orgs, definition, args)
}

// InvokeOn is Invoke on a channel.
func (n *Network) InvokeOn(ctx context.Context, channel string, orgs []string, definition, args string) error {
	a := append([]string{"chaincode", "invoke", "-C", channel, "-n", definition, "-c", args, "--waitForEvent"}, n.toOrderer()...)
	for _, o := range orgs {
		p := named(o)
		a = append(a, "--peerAddresses", loopback(n.layout.peerPorts(p).listen), "--tlsRootCertFiles", n.path(peerDir(p), "tls", "ca.crt"))
	}
	_, err := n.ordered(ctx, named(orgs[0]), a...)
	return err
}

// Query asks one peer.
func (n *Network) Query(ctx context.Context, org string, number int, definition, args string) (string, error) {
	return n.QueryOn(ctx, mainChannel, org, number, definition, args)
}

// QueryOn is Query on a channel.
func (n *Network) QueryOn(ctx context.Context, channel, org string, number int, definition, args string) (string, error) {
	return n.as(ctx, peer{org, number}, "chaincode", "query", "-C", channel, "-n", definition, "-c", args)
}

// named reads provider or provider.2.
func named(s string) peer {
	org, number, ok := strings.Cut(s, ".")
	if !ok {
		return peer{s, 1}
	}
	i, _ := strconv.Atoi(number)
	return peer{org, i}
}

// Head is the height of a peer's chain and the hash of its last block.
func (n *Network) Head(ctx context.Context, org string, number int) (string, error) {
	out, err := n.as(ctx, peer{org, number}, "channel", "getinfo", "-c", mainChannel)
	if err != nil {
		return "", err
	}
	// What a peer that began with a snapshot says of it follows these two.
	var head struct {
		Height           int
		CurrentBlockHash string
	}
	_, info, _ := strings.Cut(out, "Blockchain info: ")
	if err := json.Unmarshal([]byte(info), &head); err != nil || head.CurrentBlockHash == "" {
		return "", fmt.Errorf("no block in %q: %v", out, err)
	}
	return fmt.Sprintf("%d %s", head.Height, head.CurrentBlockHash), nil
}

// Committed is a definition's sequence on the channel, as the venue's peer has it, with its version.
func (n *Network) Committed(ctx context.Context, definition string) (string, error) {
	return n.as(ctx, peer{"venue", 1}, "lifecycle", "chaincode", "querycommitted", "-C", mainChannel, "-n", definition)
}

// BeginRotation makes new keys and puts none in place.
func (n *Network) BeginRotation(organisation string, now time.Time) error {
	_, err := n.beginRotation(organisation, now)
	return err
}

// PlanPeer is an addition of a peer that was interrupted at its very beginning.
func (n *Network) PlanPeer(organisation string, number int) error {
	n.layout.Peers = append(n.layout.Peers, peer{organisation, number})
	n.layout.Adding = &adding{Organisation: organisation}
	return n.writeLayout()
}

// PlanUpgrade is an upgrade that was interrupted at its very beginning.
func (n *Network) PlanUpgrade(program string) error {
	digest, err := keepProgram(n.dir, program)
	for _, d := range n.layout.Definitions {
		d.Sequence, d.Program = d.Sequence+1, digest
		n.layout.Next = append(n.layout.Next, d)
	}
	return errors.Join(err, n.writeLayout())
}

// Issue makes a certificate under a CA, after the pattern of the CA's own.
func Issue(ca *x509.Certificate, key *ecdsa.PrivateKey, certFile, keyFile string) error {
	pattern := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})
	return (&authority{ca, key}).issue(pattern, "ca", "peer", certFile, keyFile)
}

// Bare gives a process that belongs to no network.
func Bare(dir, program string, args ...string) *Process {
	return &Process{Name: "bare", program: program, args: args, dir: dir, pidFile: filepath.Join(dir, "bare.pid"), logFile: filepath.Join(dir, "bare.log")}
}

// PIDFile is where a process's pid stands.
func (p *Process) PIDFile() string { return p.pidFile }

var (
	CCPackage = ccPackage
	UnpinCAs  = unpinCAs
	Lock      = lock
)

// WriteBuilder writes the external builder into a network's folder.
var WriteBuilder = writeBuilder
