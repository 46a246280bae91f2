package network

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// mainChannel carries the market. Every organisation takes part in it.
const mainChannel = "bund"

// channel is one of the network's.
type channel struct {
	name          string
	dir           string // of its first block
	organisations []Organisation
	peers         []peer // that join it
	batchTimeout  string // after which an orderer cuts a block that isn't full
	lifecycle     string // policy on definitions of chaincode
}

func (n *Network) main() channel {
	// By Fabric's default any majority could commit a definition of clearing whose policy asks neither venue nor custodian.
	return channel{mainChannel, n.path("config"), n.layout.Organisations, n.layout.Peers, "100ms",
		"AND('VenueMSP.peer', 'CustodianMSP.peer', OR('ProviderMSP.peer', 'BuyerMSP.peer'))"}
}

// genesis is the file of its first block.
func (ch channel) genesis() string { return filepath.Join(ch.dir, "genesis.block") }

// tool runs one of Fabric's programs to its end and gives its standard output.
func (n *Network) tool(ctx context.Context, name string, env []string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, n.tools(name), args...)
	c.Env = append(plainEnv(), env...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		said, _, _ := strings.Cut(errs.String()+out.String(), "\nUsage:") // two pages that its own flags fill
		return out.String(), fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(said))
	}
	return out.String(), nil
}

// as runs Fabric's peer program as the administrator of a peer's organisation, speaking to that peer.
func (n *Network) as(ctx context.Context, p peer, args ...string) (string, error) {
	return n.tool(ctx, "peer", []string{"FABRIC_CFG_PATH=" + n.path("peer."+p.name()),
		"CORE_PEER_MSPCONFIGPATH=" + n.path(userDir(p.Organisation, "Admin"), "msp")}, args...)
}

func (n *Network) toOrderer() []string {
	return []string{"-o", loopback(n.layout.ordererPorts(1).listen), "--tls", "--cafile", n.path(ordererDir(1), "tls", "ca.crt")}
}

// holdBlocks says which orderer of a network that was complete before has no blocks any more. Joined to the channel anew by its
// first block, orderers would number other blocks like those that peers have, and say that all is well.
func (n *Network) holdBlocks() error {
	if _, err := os.Stat(n.ProfileFile()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for i := 1; i <= n.layout.Orderers; i++ {
		chains := n.path(fmt.Sprintf("orderer.%d", i), "data", "chains", mainChannel)
		if _, err := os.Stat(chains); err != nil {
			return fmt.Errorf("orderer.%d has lost its blocks: %w; see \"When something is lost\" in docs/operating/fabric.md (fabricnet restart starts the others)", i, err)
		}
	}
	return nil
}

// joinOrderer makes an orderer serve the channel, unless it does.
func (n *Network) joinOrderer(ctx context.Context, ch channel, i int) error {
	tls := n.path(ordererDir(i), "tls")
	to := []string{"-o", loopback(n.layout.ordererPorts(i).admin), "--ca-file", filepath.Join(tls, "ca.crt"),
		"--client-cert", filepath.Join(tls, "server.crt"), "--client-key", filepath.Join(tls, "server.key"), "--channelID", ch.name}
	out, err := n.tool(ctx, "osnadmin", nil, append([]string{"channel", "join", "--config-block", ch.genesis()}, to...)...)
	if err == nil && !strings.HasPrefix(out, "Status: 201") && !strings.Contains(out, "already exists") {
		err = errors.New(strings.TrimSpace(out))
	}
	if err != nil {
		return fmt.Errorf("couldn't join orderer %d to the channel: %w", i, err)
	}
	return nil
}

// joinPeer makes a peer take part in the channel from its first block on, unless it does.
func (n *Network) joinPeer(ctx context.Context, ch channel, p peer) error {
	if h, err := n.heightOf(ctx, ch.name, p); err == nil && h > 0 {
		return nil
	}
	args := []string{"channel", "join", "-b", ch.genesis()}
	if a := n.layout.Adding; a != nil && a.Snapshot != "" && p == n.layout.Peers[len(n.layout.Peers)-1] {
		args = []string{"channel", "joinbysnapshot", "--snapshotpath", a.Snapshot}
	}
	_, err := n.as(ctx, p, args...)
	if err != nil && !strings.Contains(err.Error(), "already exists") {
		return fmt.Errorf("couldn't join the peer of %s to the channel: %w", p.name(), err)
	}
	return nil
}

// install gives a peer a definition's package, unless it has it. The note of that lies with the peer's data: who loses
// one loses both.
func (n *Network) install(ctx context.Context, p peer, d definition) error {
	file := n.path("peer."+p.name(), "data", "installed", ccLabel(d)+".tar.gz")
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	_, pkg, err := ccPackage(ccLabel(d))
	if err != nil {
		return err
	}
	if err := n.writeConfig(filepath.Dir(file), ccLabel(d)+".half", pkg); err != nil {
		return err
	}
	half := filepath.Join(filepath.Dir(file), ccLabel(d)+".half")
	_, err = n.as(ctx, p, "lifecycle", "chaincode", "install", half)
	if err != nil && !strings.Contains(err.Error(), "already successfully installed") {
		return fmt.Errorf("couldn't install %s on the peer of %s: %w", d.Name, p.name(), err)
	}
	return os.Rename(half, file)
}

// sequence is that of the definition committed on a channel as a peer sees it, 0 when there is none.
func (n *Network) sequence(ctx context.Context, ch channel, p peer, name string) (int, error) {
	out, err := n.as(ctx, p, "lifecycle", "chaincode", "querycommitted", "-C", ch.name, "-n", name, "--output", "json")
	if err != nil {
		if strings.Contains(err.Error(), "is not defined") {
			return 0, nil
		}
		return 0, fmt.Errorf("couldn't ask the peer of %s for definition %s: %w", p.name(), name, err)
	}
	var r struct{ Sequence int }
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		return 0, fmt.Errorf("couldn't ask the peer of %s for definition %s: %w", p.name(), name, err)
	}
	return r.Sequence, nil
}

func (n *Network) definitionArgs(ch channel, d definition) []string {
	return append(n.toOrderer(), "-C", ch.name, "-n", d.Name, "--version", version(d), "--sequence", fmt.Sprint(d.Sequence),
		"--signature-policy", d.Policy)
}

// version names a definition's program.
func version(d definition) string { return fmt.Sprintf("sha256-%.16s", d.Program) }

// approve has a peer's organisation approve a definition, unless it has; the definition may be committed already.
func (n *Network) approve(ctx context.Context, ch channel, p peer, d definition, id string) error {
	args := append([]string{"lifecycle", "chaincode", "approveformyorg", "--package-id", id}, n.definitionArgs(ch, d)...)
	_, err := n.ordered(ctx, p, args...)
	if err != nil && (!strings.Contains(err.Error(), "attempted to redefine") || strings.Contains(err.Error(), "different parameters")) {
		return fmt.Errorf("couldn't approve %s for %s: %w", d.Name, p.Organisation, err)
	}
	return nil
}

// commit puts a definition on a channel and waits until the given peers have it.
func (n *Network) commit(ctx context.Context, ch channel, ps []peer, d definition) error {
	args := append([]string{"lifecycle", "chaincode", "commit"}, n.definitionArgs(ch, d)...)
	for _, p := range ps {
		args = append(args, "--peerAddresses", loopback(n.layout.peerPorts(p).listen), "--tlsRootCertFiles", n.path(peerDir(p), "tls", "ca.crt"))
	}
	if _, err := n.ordered(ctx, ps[0], args...); err != nil {
		return fmt.Errorf("couldn't commit %s: %w", d.Name, err)
	}
	return nil
}

// ordered runs the peer program with something for the orderers, again as long as they elect their leader.
func (n *Network) ordered(ctx context.Context, p peer, args ...string) (string, error) {
	t := time.NewTicker(10 * pollEvery)
	defer t.Stop()
	for {
		out, err := n.as(ctx, p, args...)
		if err == nil || !strings.Contains(err.Error(), "no Raft leader") {
			return out, err
		}
		select {
		case <-ctx.Done():
			return out, errors.Join(ctx.Err(), err)
		case <-t.C:
		}
	}
}
