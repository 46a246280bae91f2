package blockaudit

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/golang/protobuf/proto"
	"github.com/hyperledger/fabric-protos-go/common"
	"github.com/hyperledger/fabric-protos-go/msp"
	"github.com/hyperledger/fabric-protos-go/orderer"
)

// channel is a channel under one config: who is on it and which policies hold. It is safe for concurrent use.
type channel struct {
	id            string
	block         uint64 // that the config stands in
	config        *common.Config
	organisations map[string]*organisation // by MSP id
	members       map[string]string        // MSP ids of the application's organisations, to the names of their groups
	policies      *policies
	consensus     string

	identities sync.Map // serialised identity to *known
}

type known struct {
	id  *identity
	err error
}

// signed is somebody's signature, not yet believed.
type signed struct{ data, identity, signature []byte }

const rootGroup = "Channel"

func newChannel(id string, config *common.Config) (*channel, error) {
	if config.GetChannelGroup() == nil {
		return nil, errors.New("the config is empty")
	}
	c := &channel{id: id, config: config, organisations: map[string]*organisation{}, members: map[string]string{}}
	root := config.ChannelGroup
	application, orderers := root.Groups["Application"], root.Groups["Orderer"]
	if application == nil || orderers == nil {
		return nil, errors.New("the config is of no application channel")
	}
	level, err := capabilities(root)
	if err != nil {
		return nil, err
	}
	if !level["V1_4_3"] && !level["V2_0"] && !level["V3_0"] {
		return nil, errors.New("the channel's capabilities are older than Fabric 1.4.3: its rules are not these")
	}
	app, err := capabilities(application)
	if err != nil {
		return nil, err
	}
	if !app["V2_0"] && !app["V2_5"] {
		return nil, errors.New("the application's capabilities are older than Fabric 2.0: its rules are not these")
	}
	var consensus orderer.ConsensusType
	if err := proto.Unmarshal(orderers.Values["ConsensusType"].GetValue(), &consensus); err != nil {
		return nil, fmt.Errorf("the consensus type is malformed: %w", err)
	}
	c.consensus = consensus.Type
	seen := map[string][]byte{}
	for _, part := range []*common.ConfigGroup{application, orderers} {
		for _, name := range slices.Sorted(maps.Keys(part.Groups)) {
			value := part.Groups[name].GetValues()["MSP"].GetValue()
			var conf msp.MSPConfig
			if err := proto.Unmarshal(value, &conf); err != nil {
				return nil, fmt.Errorf("the MSP of %s is malformed: %w", clip(name), err)
			}
			o, err := newOrganisation(&conf, level["V3_0"])
			if err != nil {
				return nil, fmt.Errorf("the organisation %s: %w", clip(name), err)
			}
			if old, twice := seen[o.id]; twice && string(old) != string(value) {
				return nil, fmt.Errorf("the MSP %s stands in the config in two versions", clip(o.id))
			}
			seen[o.id], c.organisations[o.id] = value, o
			if part == application {
				c.members[o.id] = name
			}
		}
	}
	c.policies, err = newPolicies(rootGroup, root, maxNesting)
	return c, err
}

func capabilities(g *common.ConfigGroup) (map[string]bool, error) {
	var c common.Capabilities
	if err := proto.Unmarshal(g.GetValues()["Capabilities"].GetValue(), &c); err != nil {
		return nil, fmt.Errorf("the capabilities are malformed: %w", err)
	}
	m := map[string]bool{}
	for name := range c.Capabilities {
		m[name] = true
	}
	return m, nil
}

// identity gives who a serialised identity is.
func (c *channel) identity(serialised []byte) (*identity, error) {
	if k, ok := c.identities.Load(string(serialised)); ok {
		return k.(*known).id, k.(*known).err
	}
	id, err := newIdentity(c.organisations, serialised)
	c.identities.Store(string(serialised), &known{id, err})
	return id, err
}

// signers gives who of a set really signed, each once.
func (c *channel) signers(set []signed) (by []*identity) {
	seen := map[string]bool{}
	for _, s := range set {
		id, err := c.identity(s.identity)
		if err != nil || seen[id.key] || id.verify(s.data, s.signature) != nil {
			continue
		}
		seen[id.key] = true
		by = append(by, id)
	}
	return by
}
