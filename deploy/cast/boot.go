// Package cast starts a market with its members on this machine: keys, genesis, market, witness, data nodes. The sample
// and the smoke walk both begin with it; everything that happens on the ledger happens by signed commands through the
// public API.
package cast

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sync/errgroup"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/deploy/market"
	"github.com/bund-exchange/bund/deploy/stack"
)

// Options of a stack.
type Options struct {
	Dir    string    // holds everything
	Bin    string    // folder of marketd, datanode, bundaudit
	ID     string    // of the ledger
	Listen string    // address of the API; "" a free port
	Fabric string    // network.yaml of the Fabric network that the market runs on; "": the embedded ledger
	Out    io.Writer // one line per step for a person to follow
}

// Addresses are what a restart needs to know. They are written to stack.json.
type Addresses struct {
	Ledger    string `json:"ledger"`
	Market    string `json:"market"`
	Witnesses string `json:"witness"`
	Serves    string `json:"provider"` // where nodes call the provider's node
	// where members' systems call their own node
	ProviderLocal string `json:"providerLocal"`
	BuyerLocal    string `json:"buyerLocal"`

	Further []*Further `json:"further,omitempty"` // nodes beside those two, in order of their making
}

// Further is a node that a scene adds to the market: a consent service's, an aggregator's, another bank's.
type Further struct {
	Name   string `json:"name"`
	Listen string `json:"listen,omitempty"` // where other nodes call it
	Local  string `json:"local"`

	Process *stack.Process       `json:"-"`
	Owner   *contractstest.Actor `json:"-"` // nil after a restart
}

// Stack is a running market.
type Stack struct {
	Options
	Addresses
	Cast  *contractstest.Market // nil after a restart: its keys are on disk, its people elsewhere
	Venue *market.Client
	Exec  *Exec

	Marketd, Witness, Provider, Buyer *stack.Process
}

func (s *Stack) path(elem ...string) string {
	return filepath.Join(append([]string{s.Dir}, elem...)...)
}
func (s *Stack) say(format string, args ...any) { fmt.Fprintf(s.Out, format+"\n", args...) }

// New prepares the folder: addresses, keys, configuration. Nothing runs yet.
func New(o Options) (*Stack, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	s := &Stack{Options: o}
	s.Ledger, s.Market = o.ID, o.Listen
	for _, a := range []*string{&s.Market, &s.Witnesses, &s.Serves, &s.ProviderLocal, &s.BuyerLocal} {
		if *a == "" {
			var err error
			if *a, err = stack.FreePort(); err != nil {
				return nil, err
			}
		}
	}
	if err := s.saveAddresses(); err != nil {
		return nil, err
	}
	var seed [32]byte
	rand.Read(seed[:])
	s.Exec = &Exec{stack: s, Registered: map[contracts.ID]int64{}}
	s.Cast = contractstest.NewSecretMarket(s.Ledger, s.Exec, seed)
	s.Cast.NodeURL = "https://" + s.Serves
	return s, nil
}

func (s *Stack) saveAddresses() error {
	b, err := json.MarshalIndent(s.Addresses, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(s.path("stack.json"), append(b, '\n'), 0o600)
}

// AddNode makes the keys of a further node of an admitted member and registers it. WriteNode has to follow.
func (s *Stack) AddNode(ctx context.Context, name string, a *contractstest.Actor, serves bool) (f *Further, err error) {
	f = &Further{Name: name, Owner: a}
	if f.Local, err = stack.FreePort(); err != nil {
		return nil, err
	}
	reg := contracts.NodeRegister{TLSKey: a.TLS.Public.ID(), ReceiptKey: a.Receipt.Public.ID(), Region: "CN-31"}
	if serves {
		if f.Listen, err = stack.FreePort(); err != nil {
			return nil, err
		}
		reg.URL = "https://" + f.Listen
	}
	if err := s.Cast.Do(a.ID, "node.register", reg, nil, a.Admin); err != nil {
		return nil, err
	}
	a.Node = s.Cast.Last("node")
	s.Further = append(s.Further, f)
	if err := s.saveAddresses(); err != nil {
		return nil, err
	}
	return f, s.nodeKeys(ctx, name, a)
}

// WriteNode writes the configuration of a further node that is on the ledger. Nothing of it runs yet.
func (s *Stack) WriteNode(ctx context.Context, f *Further) error {
	return s.writeNode(ctx, f.Name, f.Owner, f.Listen, f.Local)
}

// LocalOf is where a node's owner calls it.
func (s *Stack) LocalOf(name string) string {
	switch name {
	case "provider":
		return s.ProviderLocal
	case "buyer":
		return s.BuyerLocal
	}
	for _, f := range s.Further {
		if f.Name == name {
			return f.Local
		}
	}
	return ""
}

// Load finds the folder of a market that was set up before; ok is false when there is none.
func Load(o Options) (s *Stack, ok bool, err error) {
	s = &Stack{Options: o}
	b, err := os.ReadFile(s.path("stack.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	if _, err := os.Stat(s.path("complete")); err != nil {
		return nil, false, fmt.Errorf("%s holds a market whose setting up was interrupted: %s and begin again", o.Dir, o.removal())
	}
	if err := json.Unmarshal(b, &s.Addresses); err != nil {
		return nil, false, err
	}
	return s, true, s.venueClient()
}

// removal says what has to go before a market can begin anew. A network keeps the first genesis that it got.
func (o Options) removal() string {
	if o.Fabric == "" {
		return "remove the folder"
	}
	return fmt.Sprintf("stop the network, remove the folder and the network's, %s,", filepath.Dir(o.Fabric))
}

// Complete marks the folder as set up: a restart continues with it.
func (s *Stack) Complete() error {
	return os.WriteFile(s.path("complete"), nil, 0o600)
}

// Base is the API's address.
func (s *Stack) Base() string { return "http://" + s.Market }

// Begin sets the market up: genesis, processes, the cast's admission, both nodes.
func (s *Stack) Begin(ctx context.Context) error {
	rules := contractstest.Rules()
	keys, err := s.logKeys()
	if err != nil {
		return err
	}
	rules.EvaluationsPerSubject = 4
	rules.LogKey, rules.WitnessKeys, rules.WitnessQuorum = keys.log, []string{keys.witness}, 1
	s.Exec.ctx = ctx
	s.say("admitting members")
	if err := s.Cast.BeginWith(rules); err != nil {
		return err
	}
	for code, a := range map[contracts.CreditCode]*contractstest.Actor{contractstest.CustodianCode: s.Cast.Custodian, contractstest.ProviderCode: s.Cast.Provider,
		contractstest.BuyerCode: s.Cast.Buyer} {
		if a.App.CreditCode != code {
			return fmt.Errorf("%s has the credit code %s, market.yaml has %s", a.App.Name, a.App.CreditCode, code)
		}
	}
	if err := s.writeSeeds(); err != nil {
		return err
	}
	if err := s.Cast.Together(
		func() error { return s.nodeKeys(ctx, "provider", s.Cast.Provider) },
		func() error { return s.nodeKeys(ctx, "buyer", s.Cast.Buyer) },
	); err != nil {
		return err
	}
	if err := s.writeNode(ctx, "provider", s.Cast.Provider, s.Serves, s.ProviderLocal); err != nil {
		return err
	}
	return s.writeNode(ctx, "buyer", s.Cast.Buyer, "", s.BuyerLocal)
}

type logKeys struct{ log, witness string }

// logKeys makes the keys of log and witness.
func (s *Stack) logKeys() (k logKeys, err error) {
	skey, vkey, err := note.GenerateKey(rand.Reader, s.Ledger)
	if err != nil {
		return k, err
	}
	if err := s.secret("keys/log.key", skey+"\n"+vkey+"\n"); err != nil {
		return k, err
	}
	out, err := stack.Run(context.Background(), nil, filepath.Join(s.Bin, "bundaudit"), "witness-key", "--name", "witness.sample", "--out", s.path("keys", "witness.key"))
	if err != nil {
		return k, err
	}
	k.log, k.witness = vkey, strings.TrimSpace(string(out))
	return k, s.secret("keys/witness.pub", k.witness+"\n")
}

func (s *Stack) secret(name, content string) error {
	if err := os.MkdirAll(filepath.Dir(s.path(name)), 0o700); err != nil {
		return err
	}
	return os.WriteFile(s.path(name), []byte(content), 0o600)
}

// Keep writes a file for a person to use, readable by them alone.
func (s *Stack) Keep(name, content string) error { return s.secret(name, content) }

func (s *Stack) seed(name string, key contracts.PublicKey) error {
	seed, ok := s.Cast.Seeds[key]
	if !ok {
		return fmt.Errorf("no seed for %s", name)
	}
	return s.secret(name, hex.EncodeToString(seed[:])+"\n")
}

// writeSeeds keeps the people's keys, so that a person at the keyboard can sign with `datanode sign`.
func (s *Stack) writeSeeds() error {
	c := s.Cast
	for name, a := range map[string]*contractstest.Actor{"venue": c.Venue, "regulator": c.Regulator, "custodian": c.Custodian, "authority": c.Authority,
		"provider": c.Provider, "buyer": c.Buyer, "lawfirm": c.LawFirm, "assessor": c.Assessor, "appraiser": c.Appraiser, "verifier": c.Verifier} {
		for who, k := range map[string]contracts.PublicKey{"administrator": a.Admin.Public, "maker": a.Maker.Public, "checker": a.Check.Public, "auditor": a.Audit.Public, "machine": a.Machine.Public} {
			if err := s.seed(filepath.Join("keys", name, who+".seed"), k); err != nil {
				return err
			}
		}
	}
	return nil
}

// genesis writes the market's configuration, makes its ledger with the genesis, and starts witness and market.
func (s *Stack) genesis(ctx context.Context, sub contracts.Submission) error {
	witness, err := os.ReadFile(s.path("keys/witness.pub"))
	if err != nil {
		return err
	}
	var seed [32]byte
	rand.Read(seed[:])
	if err := s.secret("keys/promise.seed", hex.EncodeToString(seed[:])+"\n"); err != nil {
		return err
	}
	if err := s.seed("keys/market.seed", s.Cast.Venue.Machine.Public); err != nil {
		return err
	}
	ledger := "promiseKey: keys/promise.seed"
	if s.Fabric != "" {
		ledger = fmt.Sprintf("fabric:\n  network: %s\n  organisation: venue\n  peers:\n    %s: ProviderMSP\n    %s: BuyerMSP\n    %s: CustodianMSP", s.Fabric,
			contractstest.ProviderCode, contractstest.BuyerCode, contractstest.CustodianCode)
	}
	conf := fmt.Sprintf(`# 市场服务配置 · the market's configuration, made by deploy. Unknown keys are fatal.
dir: market
ledger: %s
listen: %s
secure: false
logKey: keys/log.key
%s
machineKey: keys/market.seed
quorum: 1
witnesses:
  - url: http://%s
    key: %s
`, s.Ledger, s.Market, ledger, s.Witnesses, strings.TrimSpace(string(witness)))
	if err := s.secret("market.yaml", conf); err != nil {
		return err
	}
	b, err := json.Marshal(market.Wire(sub))
	if err != nil {
		return err
	}
	if err := s.secret("genesis.json", string(b)); err != nil {
		return err
	}
	s.say("making the ledger")
	if _, err := stack.Run(ctx, nil, filepath.Join(s.Bin, "marketd"), "init", "--config", s.path("market.yaml"), "--genesis", s.path("genesis.json"),
		"--trust", s.path("trust-root.json"), "--client", s.path("venue.client")); err != nil {
		return err
	}
	if err := s.venueClient(); err != nil {
		return err
	}
	return s.StartMarket(ctx)
}

func (s *Stack) venueClient() error {
	b, err := os.ReadFile(s.path("venue.client"))
	if err != nil {
		return err
	}
	id, secret, _ := strings.Cut(strings.TrimSpace(string(b)), ":")
	s.Venue = &market.Client{Base: s.Base(), ID: id, Secret: secret}
	return nil
}

// StartMarket starts witness and market, and waits until the market is ready.
func (s *Stack) StartMarket(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := s.StartWitness(ctx); err != nil {
		return err
	}
	return s.StartMarketd(ctx)
}

// StartWitness starts the witness.
func (s *Stack) StartWitness(ctx context.Context) (err error) {
	logKey, err := os.ReadFile(s.path("keys/log.key"))
	if err != nil {
		return err
	}
	_, vkey, _ := strings.Cut(strings.TrimSpace(string(logKey)), "\n")
	args := []string{"witness", "--dir", s.path("witness"), "--key-file", s.path("keys/witness.key"), "--log-key", strings.TrimSpace(vkey), "--listen", s.Witnesses}
	if _, err := os.Stat(s.path("witness")); errors.Is(err, os.ErrNotExist) {
		args = append(args, "--begin")
	}
	s.say("starting the witness")
	s.Witness, err = stack.Start(s.path("logs"), "witness", filepath.Join(s.Bin, "bundaudit"), args...)
	return err
}

// StartMarketd starts the market's server.
func (s *Stack) StartMarketd(ctx context.Context) (err error) {
	s.say("starting the market")
	if s.Marketd, err = stack.Start(s.path("logs"), "marketd", filepath.Join(s.Bin, "marketd"), "run", "--config", s.path("market.yaml")); err != nil {
		return err
	}
	return s.Marketd.Ready(ctx, s.Base()+"/readyz")
}

// NewClient makes client credentials of a member and keeps them in a file.
func (s *Stack) NewClient(ctx context.Context, member contracts.ID, name string) (*market.Client, error) {
	var a struct{ ID, Secret string }
	if _, err := s.Venue.JSON(ctx, http.MethodPost, "/clients", map[string]string{"member": string(member), "name": name}, &a); err != nil {
		return nil, err
	}
	c := &market.Client{Base: s.Base(), ID: a.ID, Secret: a.Secret}
	return c, s.secret(name+".client", a.ID+":"+a.Secret+"\n")
}

// nodeKeys writes a node's keys, and adds the one that it made itself to its member.
func (s *Stack) nodeKeys(ctx context.Context, name string, a *contractstest.Actor) error {
	for file, key := range map[string]contracts.PublicKey{"machine": a.Machine.Public, "tls": a.TLS.Public, "receipt": a.Receipt.Public} {
		if err := s.seed(filepath.Join(name, "keys", file+".seed"), key); err != nil {
			return err
		}
	}
	out, err := stack.Run(ctx, nil, filepath.Join(s.Bin, "datanode"), "keygen", "--dir", s.path(name))
	if err != nil {
		return err
	}
	// What is sealed to this node is sealed to the HPKE key that it made itself.
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == string(contracts.PurposeHPKE) {
			k := contracts.KeySpec{Key: contracts.PublicKey(f[2]), Purpose: contracts.PurposeHPKE}
			if err := s.Cast.Do(a.ID, "key.add", contracts.KeyAdd{Key: k}, nil, a.Admin, a.Check); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeNode writes a node's credentials and configuration.
func (s *Stack) writeNode(ctx context.Context, name string, a *contractstest.Actor, listen, local string) error {
	if _, err := s.NewClient(ctx, a.ID, name+"-node"); err != nil {
		return err
	}
	return s.NodeConfig(name, a, listen, local, "")
}

// NodeConfig writes a node's configuration, with more YAML at its end.
func (s *Stack) NodeConfig(name string, a *contractstest.Actor, listen, local, more string) error {
	return s.secret(name+".yaml", fmt.Sprintf(`# 数据节点配置 · a data node's configuration, made by deploy. Unknown keys are fatal.
dir: %s
trustRoot: trust-root.json
market: %s
credentials: %s-node.client
member: %s
node: %s
registeredAt: %d
listen: %q
local: %s
reportEvery: 5s
pollEvery: 1s
%s`, name, s.Base(), name, a.ID, a.Node, s.Exec.Registered[a.ID], listen, local, more))
}

// StartNode starts a data node and waits until it answers.
func (s *Stack) StartNode(ctx context.Context, name, local string) (*stack.Process, error) {
	s.say("starting the %s's data node", name)
	p, err := stack.Start(s.path("logs"), name, filepath.Join(s.Bin, "datanode"), "run", "--config", s.path(name+".yaml"))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return p, p.Ready(ctx, "http://"+local+"/healthz")
}

// StartNodes starts all nodes that don't run.
func (s *Stack) StartNodes(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	start := func(p **stack.Process, name, local string) {
		if *p == nil {
			g.Go(func() (err error) {
				*p, err = s.StartNode(ctx, name, local)
				return err
			})
		}
	}
	start(&s.Provider, "provider", s.ProviderLocal)
	start(&s.Buyer, "buyer", s.BuyerLocal)
	for _, f := range s.Further {
		start(&f.Process, f.Name, f.Local)
	}
	return g.Wait()
}

// Ended gives a process of the stack that has ended by itself, when one has. It waits until then, or until ctx ends.
func (s *Stack) Ended(ctx context.Context) *stack.Process {
	for {
		for _, p := range s.processes() {
			select {
			case <-p.Done():
				return p
			default:
			}
		}
		cases := []reflect.SelectCase{{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(ctx.Done())}}
		for _, p := range s.processes() {
			cases = append(cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(p.Done())})
		}
		if i, _, _ := reflect.Select(cases); i == 0 {
			return nil
		}
	}
}

func (s *Stack) processes() (ps []*stack.Process) {
	for _, p := range []*stack.Process{s.Witness, s.Marketd, s.Provider, s.Buyer} {
		if p != nil {
			ps = append(ps, p)
		}
	}
	for _, f := range s.Further {
		if f.Process != nil {
			ps = append(ps, f.Process)
		}
	}
	return ps
}

// Stop ends everything in reverse order.
func (s *Stack) Stop() error { return stack.StopAll(s.processes()) }
