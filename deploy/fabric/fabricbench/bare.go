package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"time"

	pb "github.com/hyperledger/fabric-protos-go/peer"
	"github.com/hyperledger/fabric-sdk-go/pkg/client/channel"
	"github.com/hyperledger/fabric-sdk-go/pkg/client/msp"
	"github.com/hyperledger/fabric-sdk-go/pkg/common/errors/retry"
	mspctx "github.com/hyperledger/fabric-sdk-go/pkg/common/providers/msp"
	"github.com/hyperledger/fabric-sdk-go/pkg/core/config"
	"github.com/hyperledger/fabric-sdk-go/pkg/fabsdk"
	"go.yaml.in/yaml/v3"

	"github.com/bund-exchange/bund/ledger/fabric/profile"
)

// bareName is the definition with the chaincode that only puts a value under a key, under the market's policy.
const bareName = "bare"

const bareBytes = 200

// bare is the SDK as its documentation has one use it: a channel client that finds peers and chooses endorsers by itself,
// and waits for the peer's event. One value is one transaction.
type bare struct {
	sdk    *fabsdk.FabricSDK
	client *channel.Client
}

func openBare(net *profile.Network, organisation string) (_ *bare, err error) {
	raw, err := yaml.Marshal(bareConfig(net, organisation))
	if err != nil {
		return nil, err
	}
	b := &bare{}
	if b.sdk, err = fabsdk.New(config.FromRaw(raw, "yaml")); err != nil {
		return nil, fmt.Errorf("couldn't start the SDK: %w", err)
	}
	defer func() {
		if err != nil {
			b.sdk.Close()
		}
	}()
	user, err := net.User(organisation, "client")
	if err != nil {
		return nil, err
	}
	cert, err := os.ReadFile(user.Cert)
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(user.Key)
	if err != nil {
		return nil, err
	}
	m, err := msp.New(b.sdk.Context(), msp.WithOrg(organisation))
	if err != nil {
		return nil, err
	}
	id, err := m.CreateSigningIdentity(mspctx.WithCert(cert), mspctx.WithPrivateKey(key))
	if err != nil {
		return nil, err
	}
	b.client, err = channel.New(b.sdk.ChannelContext(net.Channel, fabsdk.WithIdentity(id), fabsdk.WithOrg(organisation)))
	if err != nil {
		return nil, fmt.Errorf("couldn't open the channel with the SDK: %w", err)
	}
	return b, nil
}

func (b *bare) close() { b.sdk.Close() }

// put has one value committed.
func (b *bare) put(ctx context.Context, _ int) error { return b.execute(ctx, "put", pair()) }

// putFifty has fifty values committed by one transaction, each under two keys, of which the first is read before: as much
// as Fabric needs for fifty commands that are small and decided by nothing.
func (b *bare) putFifty(ctx context.Context, _ int) error {
	var args [][]byte
	for range perSubmitter {
		args = append(args, pair()...)
	}
	return b.execute(ctx, "puts", args)
}

// pair is a key and a value.
func pair() [][]byte {
	var k, v [bareBytes / 2]byte
	rand.Read(k[:16])
	rand.Read(v[:])
	return [][]byte{hexed(k[:16]), hexed(v[:])}
}

func (b *bare) execute(ctx context.Context, function string, args [][]byte) error {
	r, err := b.client.Execute(channel.Request{ChaincodeID: bareName, Fcn: function, Args: args},
		channel.WithParentContext(ctx), channel.WithRetry(retry.DefaultChannelOpts))
	if err != nil {
		return fmt.Errorf("couldn't put: %w", err)
	}
	if r.TxValidationCode != pb.TxValidationCode_VALID {
		return fmt.Errorf("couldn't put: %s", r.TxValidationCode)
	}
	return nil
}

func hexed(b []byte) []byte { return hex.AppendEncode(nil, b) }

// ready puts values until one is committed: the SDK's first choice of endorsers fails until peers know of each other.
func (b *bare) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := b.put(ctx, 0)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func bareConfig(net *profile.Network, organisation string) map[string]any {
	peers, orderers, orgs, of := map[string]any{}, map[string]any{}, map[string]any{}, map[string][]string{}
	serves := map[string]any{}
	var ordering []string
	for _, p := range net.Peers {
		peers[p.Name] = map[string]any{"url": p.Address, "tlsCACerts": map[string]any{"path": p.TLSCA}, "grpcOptions": map[string]any{"ssl-target-name-override": p.Name}}
		of[p.MSP] = append(of[p.MSP], p.Name)
		serves[p.Name] = map[string]any{"endorsingPeer": p.Endorses, "chaincodeQuery": p.Endorses, "ledgerQuery": true, "eventSource": true}
	}
	for _, o := range net.Orderers {
		orderers[o.Name] = map[string]any{"url": o.Address, "tlsCACerts": map[string]any{"path": o.TLSCA}, "grpcOptions": map[string]any{"ssl-target-name-override": o.Name}}
		ordering = append(ordering, o.Name)
	}
	for _, u := range net.Users {
		orgs[u.Organisation] = map[string]any{"mspid": u.MSP, "cryptoPath": u.MSPDir, "peers": of[u.MSP]}
	}
	return map[string]any{
		"version": "1.0.0",
		"client": map[string]any{
			"organization": organisation,
			"logging":      map[string]any{"level": "error"},
			"cryptoconfig": map[string]any{"path": "/"},
			"BCCSP": map[string]any{"security": map[string]any{"enabled": true, "default": map[string]any{"provider": "SW"}, "hashAlgorithm": "SHA2",
				"softVerify": true, "level": 256}},
		},
		"channels":      map[string]any{net.Channel: map[string]any{"orderers": ordering, "peers": serves}},
		"organizations": orgs, "peers": peers, "orderers": orderers,
	}
}
