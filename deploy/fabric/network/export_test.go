package network

import (
	"context"
	"path/filepath"
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
		p := peer{o, 1}
		a = append(a, "--peerAddresses", loopback(n.layout.peerPorts(p).listen), "--tlsRootCertFiles", n.path(peerDir(p), "tls", "ca.crt"))
	}
	_, err := n.ordered(ctx, peer{orgs[0], 1}, a...)
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
