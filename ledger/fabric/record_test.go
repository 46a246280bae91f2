package fabric_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang/protobuf/proto"
	"github.com/hyperledger/fabric-protos-go/common"
	"github.com/hyperledger/fabric-protos-go/orderer"

	"github.com/bund-exchange/bund/contracts/proposal"
	"github.com/bund-exchange/bund/ledger/fabric"
	"github.com/bund-exchange/bund/ledger/fabric/blocks"
	"github.com/bund-exchange/bund/ledger/ledgertest"
)

var record = flag.String("record", "", "write the recording of blockaudittest to this file")

// TestRecord makes the recording that blockaudittest embeds, and prints the facts that stand there beside it. The network is
// this test run's own and ends with it; some of its keys go into the recording.
func TestRecord(t *testing.T) {
	if *record == "" {
		t.Skip("-record is not given")
	}
	net := running(t).Profile()
	dir := filepath.Join(shared.dir, "net")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	l := open(t, fabric.Config{Network: net, Dir: t.TempDir(), Openings: forgetful{}, EpochEvery: time.Hour})
	m := ledgertest.NewMarket(net.Ledger, l, 1)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(m.Open())

	// In one block, if it goes well: too few endorsers, a good one, a conflict with it, no venue, the good one again.
	n, err := l.Newest()
	must(err)
	args := [][]byte{[]byte(proposal.Epoch), strconv.AppendUint(nil, n+1, 10)}
	var orders []*fabric.Held
	for _, msps := range [][]string{{net.VenueMSP}, {net.VenueMSP, net.Custodian}, {net.VenueMSP, net.Custodian}, {"ProviderMSP", "BuyerMSP"}} {
		held, err := l.EndorseArgs(ctx, net.Market, args, msps...)
		must(err)
		orders = append(orders, held)
	}
	for _, held := range append(orders, orders[1]) {
		must(held.Send(ctx))
	}
	must(m.Trade())

	must(changeTimeout(ctx, net.Channel, dir, net.Orderers[0].Address))
	must(changePolicy(ctx, net.Channel, dir, net.Orderers[0].Address, func(msp string) string {
		for _, p := range net.Peers {
			if p.MSP == msp {
				return p.Address
			}
		}
		return ""
	}))
	must(m.Trade())

	out := t.TempDir()
	height, _, err := fabric.Export(ctx, net, "regulator", out)
	must(err)
	first, err := os.ReadFile(filepath.Join(out, blocks.FileName(0)))
	must(err)
	b, err := blocks.Parse(first)
	must(err)
	entries, err := l.Height(ctx)
	must(err)
	es, err := l.Entries(ctx, entries-1, 1)
	must(err)
	must(archive(*record, out, height, dir))
	t.Logf("Genesis %x, Entries %d, LastEntry %x", blocks.HeaderHash(b.Header), entries, es[0].Hash)
}

// one gives the only file of a pattern.
func one(pattern ...string) (string, error) {
	names, err := filepath.Glob(filepath.Join(pattern...))
	if err != nil || len(names) != 1 {
		return "", fmt.Errorf("%s: %d files", filepath.Join(pattern...), len(names))
	}
	return names[0], nil
}

// asAdmin runs Fabric's peer program as an organisation's administrator.
func asAdmin(ctx context.Context, dir, msp, folder, to string, args ...string) error {
	ca, err := one(dir, "crypto/ordererOrganizations/*/orderers/*/tls/ca.crt")
	if err != nil {
		return err
	}
	admin, err := one(dir, "crypto", folder, "users/Admin@*/msp")
	if err != nil {
		return err
	}
	c := exec.CommandContext(ctx, filepath.Join(os.Getenv("BUND_FABRIC"), "fabric", "peer"), append(args, "-o", to, "--tls", "--cafile", ca)...)
	home := "peer.venue"
	if org := strings.ToLower(strings.TrimSuffix(msp, "MSP")); org != "orderer" {
		home = "peer." + org
	}
	c.Env = append(os.Environ(), "FABRIC_CFG_PATH="+filepath.Join(dir, home), "CORE_PEER_LOCALMSPID="+msp, "CORE_PEER_MSPCONFIGPATH="+admin)
	if said, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", args[0], err, said)
	}
	return nil
}

// changeTimeout has the orderers' administrator change the channel's config.
func changeTimeout(ctx context.Context, channel, dir, to string) error {
	var e common.Envelope
	var payload common.Payload
	var config common.ConfigEnvelope
	raw, err := os.ReadFile(filepath.Join(dir, "config", "genesis.block"))
	if err != nil {
		return err
	}
	b, err := blocks.Parse(raw)
	if err != nil {
		return err
	}
	if err := errors.Join(proto.Unmarshal(b.Data.Data[0], &e), proto.Unmarshal(e.Payload, &payload), proto.Unmarshal(payload.Data, &config)); err != nil {
		return err
	}
	var failed error
	encode := func(m proto.Message) []byte {
		b, err := proto.Marshal(m)
		failed = errors.Join(failed, err)
		return b
	}
	root := config.Config.ChannelGroup
	old := root.Groups["Orderer"]
	part := func(values map[string]*common.ConfigValue) *common.ConfigGroup {
		return &common.ConfigGroup{Version: root.Version, Groups: map[string]*common.ConfigGroup{"Orderer": {Version: old.Version, Values: values}}}
	}
	was := old.Values["BatchTimeout"]
	now := &common.ConfigValue{Version: was.Version + 1, ModPolicy: was.ModPolicy, Value: encode(&orderer.BatchTimeout{Timeout: "150ms"})}
	update := encode(&common.ConfigUpdate{ChannelId: channel, ReadSet: part(nil), WriteSet: part(map[string]*common.ConfigValue{"BatchTimeout": now})})
	envelope := encode(&common.Envelope{Payload: encode(&common.Payload{Data: encode(&common.ConfigUpdateEnvelope{ConfigUpdate: update}),
		Header: &common.Header{ChannelHeader: encode(&common.ChannelHeader{Type: int32(common.HeaderType_CONFIG_UPDATE), ChannelId: channel})}})})
	file := filepath.Join(dir, "update.tx")
	if err := errors.Join(failed, os.WriteFile(file, envelope, 0o600)); err != nil {
		return err
	}
	return asAdmin(ctx, dir, "OrdererMSP", "ordererOrganizations/*", to, "channel", "update", "-f", file, "-c", channel)
}

// changePolicy gives market a second sequence of the same program under another policy.
func changePolicy(ctx context.Context, channel, dir, to string, address func(msp string) string) error {
	definition := []string{"-C", channel, "-n", "market", "--version", "2", "--sequence", "2",
		"--signature-policy", "AND('VenueMSP.peer',OR('CustodianMSP.peer','ProviderMSP.peer','BuyerMSP.peer','RegulatorMSP.peer'))"}
	commit := append([]string{"lifecycle", "chaincode", "commit"}, definition...)
	for _, org := range []string{"Venue", "Custodian", "Provider", "Buyer"} {
		name := strings.ToLower(org)
		pkg, err := one(dir, "peer."+name, "data/installed/market_1*.tar.gz")
		if err != nil {
			return err
		}
		b, err := os.ReadFile(pkg)
		if err != nil {
			return err
		}
		id := fmt.Sprintf("%s:%x", strings.TrimSuffix(filepath.Base(pkg), ".tar.gz"), sha256.Sum256(b))
		if err := asAdmin(ctx, dir, org+"MSP", "peerOrganizations/"+name+".bund", to,
			append([]string{"lifecycle", "chaincode", "approveformyorg", "--package-id", id}, definition...)...); err != nil {
			return err
		}
		ca, err := one(dir, "crypto/peerOrganizations", name+".bund", "peers/*/tls/ca.crt")
		if err != nil {
			return err
		}
		commit = append(commit, "--peerAddresses", address(org+"MSP"), "--tlsRootCertFiles", ca)
	}
	return asAdmin(ctx, dir, "VenueMSP", "peerOrganizations/venue.bund", to, commit...)
}

// archive packs blocks and keys.
func archive(file, exported string, height uint64, dir string) error {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	w := tar.NewWriter(z)
	put := func(name string, parts ...string) error {
		var body []byte
		for _, p := range parts {
			x, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			body = slices.Concat(body, x)
		}
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(body))}); err != nil {
			return err
		}
		_, err := w.Write(body)
		return err
	}
	for i := range height {
		if err := put("blocks/"+blocks.FileName(i), filepath.Join(exported, blocks.FileName(i))); err != nil {
			return err
		}
	}
	for name, folder := range map[string]string{"OrdererMSP.orderer": "ordererOrganizations/*/orderers/o1.*", "OrdererMSP.admin": "ordererOrganizations/*/users/Admin@*",
		"VenueMSP.client": "peerOrganizations/venue.bund/users/User1@*", "VenueMSP.admin": "peerOrganizations/venue.bund/users/Admin@*",
		"VenueMSP.peer": "peerOrganizations/venue.bund/peers/*", "CustodianMSP.peer": "peerOrganizations/custodian.bund/peers/*",
		"ProviderMSP.peer": "peerOrganizations/provider.bund/peers/*", "BuyerMSP.peer": "peerOrganizations/buyer.bund/peers/*"} {
		key, err := one(dir, "crypto", folder, "msp/keystore/*")
		if err != nil {
			return err
		}
		cert, err := one(dir, "crypto", folder, "msp/signcerts/*")
		if err != nil {
			return err
		}
		if err := put("keys/"+name+".pem", key, cert); err != nil {
			return err
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		return err
	}
	return os.WriteFile(file, b.Bytes(), 0o600)
}
