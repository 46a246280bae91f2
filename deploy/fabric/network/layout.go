package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// layout is what a network consists of. It is written before anything else, so that an interrupted start is continued
// and never guessed at.
type layout struct {
	Format        int            `json:"format"`
	Ledger        string         `json:"ledger"`
	BasePort      int            `json:"basePort"`
	Orderers      int            `json:"orderers"`
	Organisations []Organisation `json:"organisations"`
	Peers         []peer         `json:"peers"`
	Definitions   []definition   `json:"definitions"`

	Next   []definition `json:"next,omitempty"`   // what an upgrade is about to replace Definitions by
	Adding *adding      `json:"adding,omitempty"` // the last of Peers, until it is one like the others
}

// format counts the ways in which networks have been made that a later fabricnet can't go on with. Packages of the first
// held addresses.
const format = 2

// adding is a peer that is being added.
type adding struct {
	Organisation string `json:"organisation"`
	Snapshot     string `json:"snapshot,omitempty"` // folder of the snapshot that it begins with; "": the first block
}

// served lists the definitions that processes run for.
func (l *layout) served() []definition { return slices.Concat(l.Definitions, l.Next) }

// definition is a chaincode definition as it stands on the channel, or is to stand there.
type definition struct {
	Name     string `json:"name"`
	Other    string `json:"other"` // the definition that this one asks for keys
	Policy   string `json:"policy"`
	Sequence int    `json:"sequence"`
	Program  string `json:"program"` // SHA-256 of the binary, hex
}

const (
	market   = "market"
	clearing = "clearing"

	both         = "AND('VenueMSP.peer','CustodianMSP.peer')"
	marketPolicy = "AND('VenueMSP.peer', OR('CustodianMSP.peer','ProviderMSP.peer','BuyerMSP.peer'))"
)

func newLayout(c Config, program string) *layout {
	l := &layout{Format: format, Ledger: c.Ledger, BasePort: c.BasePort, Orderers: c.Orderers, Organisations: Founders()}
	for _, o := range l.Organisations {
		l.Peers = append(l.Peers, peer{o.Name, 1})
	}
	l.Definitions = []definition{
		{market, clearing, marketPolicy, 1, program},
		{clearing, market, both, 1, program},
	}
	return l
}

func readLayout(file string) (*layout, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	l := &layout{}
	if err := json.Unmarshal(b, l); err != nil {
		return nil, fmt.Errorf("couldn't read %s: %w", file, err)
	}
	return l, nil
}

func (l *layout) write(file string) error {
	b, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(file, append(b, '\n'))
}

// agrees says what of a configuration contradicts a network that exists. A zero value asks for what there is.
func (l *layout) agrees(c Config) error {
	if l.Format != format {
		return errors.New("another version of fabricnet made it and must run it; fabricnet down --wipe removes it, ledger and all")
	}
	var errs []error
	if c.BasePort != 0 && c.BasePort != l.BasePort {
		errs = append(errs, fmt.Errorf("its base port is %d, not %d: addresses are in the channel's configuration", l.BasePort, c.BasePort))
	}
	if c.Orderers != 0 && c.Orderers != l.Orderers {
		errs = append(errs, fmt.Errorf("its orderers are %d, not %d: that can't be changed", l.Orderers, c.Orderers))
	}
	if c.Ledger != "" && c.Ledger != l.Ledger {
		errs = append(errs, fmt.Errorf("its ledger is %s, not %s", l.Ledger, c.Ledger))
	}
	return errors.Join(errs...)
}

func (l *layout) organisation(name string) (Organisation, int, bool) {
	for i, o := range l.Organisations {
		if o.Name == name {
			return o, i, true
		}
	}
	return Organisation{}, 0, false
}

// names lists the organisations for somebody who named another.
func (l *layout) names() string {
	var names []string
	for _, o := range l.Organisations {
		names = append(names, o.Name)
	}
	return strings.Join(names, ", ")
}

func (l *layout) endorses(p peer) bool {
	o, _, _ := l.organisation(p.Organisation)
	return o.Endorses
}

// replaceFile writes a file whole or not at all.
func replaceFile(name string, b []byte) error {
	if err := os.WriteFile(name+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}
