// Package profile describes a Hyperledger Fabric network to those who use it: where its peers and orderers are, whose
// they are, and as whom to speak to them. It is a file that an operator of an organisation keeps, network.yaml; the
// development network writes one.
package profile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"
)

// Network is a channel with all that a client of it needs. Paths are relative to the file.
type Network struct {
	Channel   string `yaml:"channel"`
	Ledger    string `yaml:"ledger"`   // id of the ledger that the chaincode was started for
	Market    string `yaml:"market"`   // names of the two definitions
	Clearing  string `yaml:"clearing"` // keys under clr/
	VenueMSP  string `yaml:"venueMSP"` // endorses everything; its peer is the one that clients read
	Custodian string `yaml:"custodianMSP"`

	Orderers []Orderer `yaml:"orderers"`
	Peers    []Peer    `yaml:"peers"`
	Users    []User    `yaml:"users"`
}

// Orderer is one ordering node.
type Orderer struct {
	Name    string `yaml:"name"`    // host name in its TLS certificate
	Address string `yaml:"address"` // host:port
	MSP     string `yaml:"msp"`
	TLSCA   string `yaml:"tlsCA"` // PEM
}

// Peer is one organisation's peer.
type Peer struct {
	Name     string `yaml:"name"` // host name in its TLS certificate
	Address  string `yaml:"address"`
	MSP      string `yaml:"msp"`
	TLSCA    string `yaml:"tlsCA"`
	Endorses bool   `yaml:"endorses"` // the regulator's does not
}

// User is an identity of an organisation that this file's owner holds the key of.
type User struct {
	Organisation string `yaml:"organisation"` // venue, custodian, provider, buyer, regulator
	MSP          string `yaml:"msp"`
	MSPDir       string `yaml:"mspDir"` // of the organisation: cacerts, tlscacerts, config.yaml
	Name         string `yaml:"name"`   // client or admin
	Cert         string `yaml:"cert"`   // PEM
	Key          string `yaml:"key"`    // PEM, PKCS #8
}

// Read reads a network file, checks it and makes its paths absolute. Unknown keys are errors.
func Read(name string) (*Network, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the network's profile: %w", err)
	}
	n := &Network{}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(n); err != nil {
		return nil, fmt.Errorf("couldn't read the network's profile %s: %w", name, err)
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("couldn't read the network's profile %s: want one document", name)
	}
	if err := n.check(); err != nil {
		return nil, fmt.Errorf("couldn't use the network's profile %s: %w", name, err)
	}
	base, err := filepath.Abs(filepath.Dir(name))
	if err != nil {
		return nil, err
	}
	for _, p := range n.paths() {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(base, *p)
		}
	}
	return n, nil
}

// Write writes the file for its owner only, with paths relative to it where they are below it.
func (n *Network) Write(name string) error {
	base, err := filepath.Abs(filepath.Dir(name))
	if err != nil {
		return err
	}
	c := *n
	c.Orderers, c.Peers, c.Users = append([]Orderer{}, n.Orderers...), append([]Peer{}, n.Peers...), append([]User{}, n.Users...)
	for _, p := range c.paths() {
		if r, err := filepath.Rel(base, *p); err == nil && filepath.IsAbs(*p) && filepath.IsLocal(r) {
			*p = r
		}
	}
	b, err := yaml.Marshal(&c)
	if err != nil {
		return err
	}
	tmp := name + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return fmt.Errorf("couldn't write the network's profile: %w", err)
	}
	return os.Rename(tmp, name)
}

func (n *Network) paths() (ps []*string) {
	for i := range n.Orderers {
		ps = append(ps, &n.Orderers[i].TLSCA)
	}
	for i := range n.Peers {
		ps = append(ps, &n.Peers[i].TLSCA)
	}
	for i := range n.Users {
		u := &n.Users[i]
		ps = append(ps, &u.MSPDir, &u.Cert, &u.Key)
	}
	return ps
}

func (n *Network) check() error {
	for _, m := range []struct{ name, value string }{{"channel", n.Channel}, {"ledger", n.Ledger}, {"market", n.Market}, {"clearing", n.Clearing},
		{"venueMSP", n.VenueMSP}, {"custodianMSP", n.Custodian}} {
		if m.value == "" {
			return fmt.Errorf("%s is missing", m.name)
		}
	}
	if len(n.Orderers) == 0 {
		return errors.New("no orderer")
	}
	if len(n.PeersOf(n.VenueMSP)) == 0 {
		return errors.New("no peer of the venue")
	}
	return nil
}

// PeersOf lists the peers of an organisation.
func (n *Network) PeersOf(msp string) (ps []Peer) {
	for _, p := range n.Peers {
		if p.MSP == msp {
			ps = append(ps, p)
		}
	}
	return ps
}

// User gives an identity by organisation and name.
func (n *Network) User(organisation, name string) (User, error) {
	for _, u := range n.Users {
		if u.Organisation == organisation && u.Name == name {
			return u, nil
		}
	}
	return User{}, fmt.Errorf("the network's profile has no %s of %s", name, organisation)
}
