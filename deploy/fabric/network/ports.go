package network

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"syscall"
	"time"
)

// A network's ports follow from its base port: orderers at its tens, an organisation's peers at a hundred each, with
// room for five peers.
const portsOfNetwork = 700

// ports of a peer and its chaincode processes.
type peerPorts struct{ listen, chaincode, operations, first int }

func (l *layout) peerPorts(p peer) peerPorts {
	_, i, _ := l.organisation(p.Organisation)
	at := l.BasePort + 100*(i+1) + 20*(p.Number-1)
	return peerPorts{at, at + 1, at + 2, at + 3}
}

// maxDefinitions is for how many there are ports beside a peer.
const maxDefinitions = 8

// chaincodePort alternates between two places, so that at an upgrade the old process serves until the new is committed.
func (l *layout) chaincodePort(p peer, d definition) int {
	i := slices.IndexFunc(l.Definitions, func(x definition) bool { return x.Name == d.Name })
	return l.peerPorts(p).first + 4*(i/2) + i%2 + 2*(d.Sequence%2)
}

type ordererPorts struct{ listen, admin, operations int }

func (l *layout) ordererPorts(i int) ordererPorts {
	at := l.BasePort + 10*i
	return ordererPorts{at, at + 1, at + 2}
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

func listens(port int) bool {
	c, err := net.DialTimeout("tcp", loopback(port), time.Second)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

func unused(port int) error {
	l, err := net.Listen("tcp", loopback(port))
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("port %d is in use by another program; end that, or choose another base port for a new network", port)
	}
	if err != nil {
		return fmt.Errorf("port %d can't be used: %w", port, err)
	}
	return l.Close()
}

// free says whether all ports of a new network are unused.
func free(base int) error {
	for p := base; p < base+portsOfNetwork; p++ {
		if err := unused(p); err != nil {
			return err
		}
	}
	return nil
}

// FreeBase finds a base port for a network of a test.
func FreeBase() (int, error) {
	var err error
	for range 20 {
		// Below the ports that Linux gives to outgoing connections.
		base := 20000 + 100*rand.IntN((32700-20000-portsOfNetwork)/100)
		if err = free(base); err == nil {
			return base, nil
		}
	}
	return 0, fmt.Errorf("couldn't find ports for a network: %w", err)
}
