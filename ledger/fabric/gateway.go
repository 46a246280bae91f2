package fabric

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"github.com/golang/protobuf/proto"
	"github.com/hyperledger/fabric-protos-go/common"
	pb "github.com/hyperledger/fabric-protos-go/peer"
	"github.com/hyperledger/fabric-sdk-go/pkg/client/msp"
	"github.com/hyperledger/fabric-sdk-go/pkg/common/errors/multi"
	"github.com/hyperledger/fabric-sdk-go/pkg/common/errors/status"
	"github.com/hyperledger/fabric-sdk-go/pkg/common/options"
	sdkcontext "github.com/hyperledger/fabric-sdk-go/pkg/common/providers/context"
	"github.com/hyperledger/fabric-sdk-go/pkg/common/providers/fab"
	mspctx "github.com/hyperledger/fabric-sdk-go/pkg/common/providers/msp"
	contextimpl "github.com/hyperledger/fabric-sdk-go/pkg/context"
	"github.com/hyperledger/fabric-sdk-go/pkg/core/config"
	"github.com/hyperledger/fabric-sdk-go/pkg/fab/chconfig"
	"github.com/hyperledger/fabric-sdk-go/pkg/fab/comm"
	"github.com/hyperledger/fabric-sdk-go/pkg/fab/events/deliverclient/connection"
	"github.com/hyperledger/fabric-sdk-go/pkg/fab/events/deliverclient/seek"
	"github.com/hyperledger/fabric-sdk-go/pkg/fab/txn"
	"github.com/hyperledger/fabric-sdk-go/pkg/fabsdk"
	"go.yaml.in/yaml/v3"

	"github.com/bund-exchange/bund/ledger/fabric/profile"
)

// gateway speaks to peers and orderers as one identity of one organisation. It knows transactions and blocks, and
// nothing of commands. The choice of endorsers is its caller's: the policies are known, so nothing waits for discovery.
type gateway struct {
	net      *profile.Network
	sdk      *fabsdk.FabricSDK
	client   sdkcontext.Client
	channel  fab.ChannelCfg
	peers    []endorser
	orderers []fab.Orderer
	scratch  string // a folder that the SDK wants for keys it makes; it makes none
}

// endorser is a peer that proposals can be sent to, or blocks be read from.
type endorser struct {
	info   profile.Peer
	peer   fab.Peer
	config fab.PeerConfig
}

func openGateway(net *profile.Network, organisation string) (_ *gateway, err error) {
	user, err := net.User(organisation, "client")
	if err != nil {
		return nil, err
	}
	g := &gateway{net: net, channel: chconfig.NewChannelCfg(net.Channel)}
	if g.scratch, err = os.MkdirTemp("", "bund-fabric-client-"); err != nil {
		return nil, fmt.Errorf("couldn't start the Fabric client: %w", err)
	}
	defer func() {
		if err != nil {
			g.close()
		}
	}()
	raw, err := yaml.Marshal(sdkConfig(net, organisation, g.scratch))
	if err != nil {
		return nil, err
	}
	if g.sdk, err = fabsdk.New(config.FromRaw(raw, "yaml")); err != nil {
		return nil, fmt.Errorf("couldn't start the Fabric client: %w", err)
	}
	identity, err := g.identity(user)
	if err != nil {
		return nil, fmt.Errorf("couldn't use the identity of %s: %w", organisation, err)
	}
	if g.client, err = g.sdk.Context(fabsdk.WithIdentity(identity))(); err != nil {
		return nil, fmt.Errorf("couldn't start the Fabric client: %w", err)
	}
	for _, p := range net.Peers {
		ca, err := certificate(p.TLSCA)
		if err != nil {
			return nil, fmt.Errorf("couldn't use peer %s: %w", p.Name, err)
		}
		c := fab.PeerConfig{URL: p.Address, TLSCACert: ca, GRPCOptions: grpcOptions(p.Name)}
		fp, err := g.client.InfraProvider().CreatePeerFromConfig(&fab.NetworkPeer{PeerConfig: c, MSPID: p.MSP})
		if err != nil {
			return nil, fmt.Errorf("couldn't use peer %s: %w", p.Name, err)
		}
		g.peers = append(g.peers, endorser{p, fp, c})
	}
	for _, o := range net.Orderers {
		ca, err := certificate(o.TLSCA)
		if err != nil {
			return nil, fmt.Errorf("couldn't use orderer %s: %w", o.Name, err)
		}
		fo, err := g.client.InfraProvider().CreateOrdererFromConfig(&fab.OrdererConfig{URL: o.Address, TLSCACert: ca, GRPCOptions: grpcOptions(o.Name)})
		if err != nil {
			return nil, fmt.Errorf("couldn't use orderer %s: %w", o.Name, err)
		}
		g.orderers = append(g.orderers, fo)
	}
	return g, nil
}

func (g *gateway) close() {
	if g.sdk != nil {
		g.sdk.Close()
	}
	os.RemoveAll(g.scratch)
}

func grpcOptions(name string) map[string]any {
	return map[string]any{"ssl-target-name-override": name, "fail-fast": true, "keep-alive-time": "20s", "keep-alive-timeout": "10s", "keep-alive-permit": true}
}

// sdkConfig is the little that the SDK wants in its own form.
func sdkConfig(net *profile.Network, organisation, scratch string) map[string]any {
	orgs := map[string]any{}
	for _, u := range net.Users {
		orgs[u.Organisation] = map[string]any{"mspid": u.MSP, "cryptoPath": u.MSPDir}
	}
	return map[string]any{
		"version": "1.0.0",
		"client": map[string]any{
			"organization":    organisation,
			"logging":         map[string]any{"level": "critical"}, // what matters comes back as an error
			"cryptoconfig":    map[string]any{"path": "/"},
			"credentialStore": map[string]any{"path": scratch, "cryptoStore": map[string]any{"path": scratch}},
			"peer":            map[string]any{"timeout": map[string]any{"connection": "3s", "response": "15s"}},
			"orderer":         map[string]any{"timeout": map[string]any{"connection": "3s", "response": "10s"}},
			"BCCSP": map[string]any{"security": map[string]any{"enabled": true, "default": map[string]any{"provider": "SW"}, "hashAlgorithm": "SHA2",
				"softVerify": true, "level": 256}},
		},
		"organizations": orgs,
	}
}

func (g *gateway) identity(u profile.User) (mspctx.SigningIdentity, error) {
	c, err := msp.New(g.sdk.Context(), msp.WithOrg(u.Organisation))
	if err != nil {
		return nil, err
	}
	cert, err := os.ReadFile(u.Cert)
	if err != nil {
		return nil, fmt.Errorf("couldn't read its certificate: %w", err)
	}
	key, err := os.ReadFile(u.Key)
	if err != nil {
		return nil, fmt.Errorf("couldn't read its key: %w", err)
	}
	return c.CreateSigningIdentity(mspctx.WithCert(cert), mspctx.WithPrivateKey(key))
}

func certificate(name string) (*x509.Certificate, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the certificate of its TLS authority: %w", err)
	}
	p, _ := pem.Decode(b)
	if p == nil {
		return nil, fmt.Errorf("couldn't read the certificate of its TLS authority: %s is not PEM", name)
	}
	return x509.ParseCertificate(p.Bytes)
}

// proposed is a proposal with its endorsements.
type proposed struct {
	tx        string
	proposal  *fab.TransactionProposal
	responses []*fab.TransactionProposalResponse
}

// payload is what the chaincode answered, out of what every asked endorser signed. The answer also stands beside that,
// where nobody has signed it.
func (p *proposed) payload() []byte {
	a, err := signedAction(p.responses[0])
	if err != nil {
		return nil
	}
	return a.GetResponse().GetPayload()
}

// signedAction is what an endorser has signed: what the chaincode read, wrote and answered.
func signedAction(r *fab.TransactionProposalResponse) (*pb.ChaincodeAction, error) {
	var signed pb.ProposalResponsePayload
	if err := proto.Unmarshal(r.ProposalResponse.GetPayload(), &signed); err != nil {
		return nil, err
	}
	action := &pb.ChaincodeAction{}
	return action, proto.Unmarshal(signed.Extension, action)
}

// wary is a peer whose answers are looked at before the SDK reads on: it takes every field for granted.
type wary struct{ fab.Peer }

// ProcessTransactionProposal asks the peer.
func (w wary) ProcessTransactionProposal(ctx context.Context, r fab.ProcessProposalRequest) (resp *fab.TransactionProposalResponse, err error) {
	defer func() {
		if recover() != nil {
			resp, err = nil, fmt.Errorf("the endorser [%s] gave a malformed answer", w.URL())
		}
	}()
	resp, err = w.Peer.ProcessTransactionProposal(ctx, r)
	if err != nil {
		return resp, err
	}
	if p := resp.ProposalResponse; len(p.GetPayload()) == 0 || len(p.GetEndorsement().GetSignature()) == 0 {
		return nil, fmt.Errorf("the endorser [%s] gave an answer without endorsement", w.URL())
	}
	return resp, nil
}

// errMismatch says that endorsers answered differently: one of them lags, or its state is not that of the others.
var errMismatch = errors.New("endorsers disagree")

// errOrder says that no orderer has confirmed to have taken a transaction: it may have, or it can't, or none is there.
var errOrder = errors.New("couldn't order a transaction")

// errFailed says that the chaincode of every asked endorser failed: it may be starting, or it fails on this call.
var errFailed = errors.New("the chaincode failed")

func failed(err error, asked int) bool {
	all, ok := err.(multi.Errors)
	if !ok {
		all = multi.Errors{err}
	}
	for _, e := range all {
		if s, ok := status.FromError(e); e == nil || !ok || s.Group != status.ChaincodeStatus {
			return false
		}
	}
	return len(all) == asked
}

// propose asks peers to endorse a call. Every one of them must say 200, and the same.
func (g *gateway) propose(ctx context.Context, chaincode string, args [][]byte, transient map[string][]byte, peers ...endorser) (*proposed, error) {
	header, err := txn.NewHeader(g.client, g.net.Channel)
	if err != nil {
		return nil, fmt.Errorf("couldn't make a proposal: %w", err)
	}
	p, err := txn.CreateChaincodeInvokeProposal(header, fab.ChaincodeInvokeRequest{ChaincodeID: chaincode, Lang: pb.ChaincodeSpec_GOLANG, Fcn: string(args[0]),
		Args: args[1:], TransientMap: transient})
	if err != nil {
		return nil, fmt.Errorf("couldn't make a proposal: %w", err)
	}
	rs, err := g.send(ctx, p, peers)
	if err != nil {
		return nil, err
	}
	for _, r := range rs[1:] {
		if string(r.ProposalResponse.Payload) != string(rs[0].ProposalResponse.Payload) {
			return nil, &mismatch{p, rs}
		}
	}
	return &proposed{tx: string(p.TxnID), proposal: p, responses: rs}, nil
}

// send asks peers about one proposal. All of them must answer.
func (g *gateway) send(ctx context.Context, p *fab.TransactionProposal, peers []endorser) ([]*fab.TransactionProposalResponse, error) {
	rc, cancel := contextimpl.NewRequest(g.client, contextimpl.WithTimeoutType(fab.PeerResponse), contextimpl.WithParent(ctx))
	defer cancel()
	targets := make([]fab.ProposalProcessor, len(peers))
	for i := range peers {
		targets[i] = wary{peers[i].peer}
	}
	rs, err := txn.SendProposal(rc, p, targets)
	if failed(err, len(peers)) {
		err = fmt.Errorf("%w: %w", errFailed, err)
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't get all endorsements: %w", err)
	}
	return rs, nil
}

// order sends an endorsed transaction to an orderer. After an error it may or may not have been taken.
func (g *gateway) order(ctx context.Context, p *proposed) error {
	t, err := txn.New(fab.TransactionRequest{Proposal: p.proposal, ProposalResponses: p.responses})
	if err != nil {
		return fmt.Errorf("couldn't make a transaction: %w", err)
	}
	rc, cancel := contextimpl.NewRequest(g.client, contextimpl.WithTimeout(commitWait), contextimpl.WithParent(ctx)) // its own default is none at all
	defer cancel()
	if _, err := txn.Send(rc, t, g.orderers); err != nil {
		return fmt.Errorf("%w: %w", errOrder, err)
	}
	return nil
}

// blocks streams whole blocks from number on, as p commits them, until ctx ends or the stream breaks.
func (g *gateway) blocks(ctx context.Context, p endorser, from uint64, take func(*common.Block) error) error {
	opts := append([]options.Opt{comm.WithConnectTimeout(g.client.EndpointConfig().Timeout(fab.PeerConnection))}, comm.OptsFromPeerConfig(&p.config)...)
	c, err := connection.New(g.client, g.channel, connection.Deliver, p.config.URL, opts...)
	if err != nil {
		return fmt.Errorf("couldn't read blocks from %s: %w", p.info.Name, err)
	}
	defer c.Close()
	if err := c.Send(seek.InfoFrom(from)); err != nil {
		return fmt.Errorf("couldn't read blocks from %s: %w", p.info.Name, err)
	}
	stop := context.AfterFunc(ctx, c.Close)
	defer stop()
	stream, ok := c.Stream().(interface {
		Recv() (*pb.DeliverResponse, error)
	})
	if !ok {
		return errors.New("couldn't read blocks: the stream has another form")
	}
	for {
		r, err := stream.Recv()
		if err != nil {
			return errors.Join(ctx.Err(), fmt.Errorf("couldn't read blocks from %s: %w", p.info.Name, err))
		}
		switch x := r.Type.(type) {
		case *pb.DeliverResponse_Block:
			if err := take(x.Block); err != nil {
				return err
			}
		case *pb.DeliverResponse_Status:
			return fmt.Errorf("couldn't read blocks from %s: status %s", p.info.Name, x.Status)
		}
	}
}

// height asks a peer for the number of blocks of its channel.
func (g *gateway) height(ctx context.Context, p endorser) (uint64, error) {
	r, err := g.propose(ctx, "qscc", [][]byte{[]byte("GetChainInfo"), []byte(g.net.Channel)}, nil, p)
	if err != nil {
		return 0, err
	}
	info := &common.BlockchainInfo{}
	if err := proto.Unmarshal(r.payload(), info); err != nil {
		return 0, fmt.Errorf("couldn't read the peer's height: %w", err)
	}
	return info.Height, nil
}
