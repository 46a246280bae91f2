package blockaudit

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/golang/protobuf/proto"
	"github.com/hyperledger/fabric-protos-go/common"
)

// element is one group, value or policy of a config, without what stands below it.
type element struct {
	path   []string // groups above
	key    string
	group  *common.ConfigGroup // one of the three
	value  *common.ConfigValue
	policy *common.ConfigPolicy
}

func (e *element) version() uint64 {
	switch {
	case e.group != nil:
		return e.group.Version
	case e.value != nil:
		return e.value.Version
	}
	return e.policy.Version
}

func (e *element) modPolicy() string {
	switch {
	case e.group != nil:
		return e.group.ModPolicy
	case e.value != nil:
		return e.value.ModPolicy
	}
	return e.policy.ModPolicy
}

// elements takes a config apart. The keys of the result say what kind of element it is and where it stands.
func elements(root *common.ConfigGroup) (map[string]*element, error) {
	m := map[string]*element{}
	var walk func(path []string, key string, g *common.ConfigGroup) error
	add := func(kind string, e *element) error {
		if e.key == "" || len(e.key) > 249 || e.key == "." || e.key == ".." || strings.Trim(e.key, nameCharacters) != "" {
			return fmt.Errorf("%q is no name of an element", clip(e.key))
		}
		m[kind+strings.Join(append(slices.Clone(e.path), e.key), "/")] = e
		return nil
	}
	walk = func(path []string, key string, g *common.ConfigGroup) error {
		if len(path) > maxNesting {
			return errors.New("the groups are nested too deep")
		}
		if g == nil {
			return fmt.Errorf("the group %q is empty", clip(key))
		}
		if err := add("group ", &element{path: path, key: key, group: g}); err != nil {
			return err
		}
		inner := append(slices.Clone(path), key)
		for k, x := range g.Groups {
			if err := walk(inner, k, x); err != nil {
				return err
			}
		}
		for k, x := range g.Values {
			if x == nil {
				return fmt.Errorf("the value %q is empty", clip(k))
			}
			if err := add("value ", &element{path: inner, key: k, value: x}); err != nil {
				return err
			}
		}
		for k, x := range g.Policies {
			if x == nil {
				return fmt.Errorf("the policy %q is empty", clip(k))
			}
			if err := add("policy ", &element{path: inner, key: k, policy: x}); err != nil {
				return err
			}
		}
		return nil
	}
	if root == nil {
		return m, nil
	}
	return m, walk(nil, rootGroup, root)
}

const nameCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-"

// follows checks that next is the config that the signed update in it makes of c's, and that those signed whom the
// policies of what it changes ask for.
func (c *channel) follows(next *common.ConfigEnvelope) error {
	if want := c.config.Sequence + 1; next.GetConfig().GetSequence() != want {
		return fmt.Errorf("the config has sequence %d: want %d", next.GetConfig().GetSequence(), want)
	}
	update, signatures, err := parseUpdate(next.LastUpdate)
	if err != nil {
		return err
	}
	if update.ChannelId != c.id {
		return fmt.Errorf("the update is for the channel %q", clip(update.ChannelId))
	}
	old, err := elements(c.config.ChannelGroup)
	if err != nil {
		return err
	}
	read, err := elements(update.ReadSet)
	if err != nil {
		return err
	}
	write, err := elements(update.WriteSet)
	if err != nil {
		return err
	}
	for k, e := range read {
		if old[k] == nil {
			return fmt.Errorf("the update read %s, which is not there", clip(k))
		}
		if old[k].version() != e.version() {
			return fmt.Errorf("the update read version %d of %s, which has version %d", e.version(), clip(k), old[k].version())
		}
	}
	by := c.signers(signatures)
	result, changed := maps.Clone(old), 0
	for _, k := range slices.Sorted(maps.Keys(write)) {
		e := write[k]
		if read[k] != nil && read[k].version() == e.version() {
			continue
		}
		changed++
		if err := c.mayChange(k, old[k], e, by); err != nil {
			return err
		}
		result[k] = e
	}
	if changed == 0 {
		return errors.New("the update changes nothing")
	}
	for k := range write {
		if result[k] == nil {
			return fmt.Errorf("the update writes %s, which is not in the result", clip(k))
		}
	}
	made, err := assemble(result, rootGroup)
	if err != nil {
		return err
	}
	if !proto.Equal(made, next.Config.ChannelGroup) {
		return errors.New("the config is not what its update makes of the one before")
	}
	return nil
}

func parseUpdate(e *common.Envelope) (*common.ConfigUpdate, []signed, error) {
	var payload common.Payload
	var header common.ChannelHeader
	var signedUpdate common.ConfigUpdateEnvelope
	var update common.ConfigUpdate
	if err := proto.Unmarshal(e.GetPayload(), &payload); err != nil {
		return nil, nil, fmt.Errorf("the update is malformed: %w", err)
	}
	if err := proto.Unmarshal(payload.GetHeader().GetChannelHeader(), &header); err != nil {
		return nil, nil, fmt.Errorf("the update is malformed: %w", err)
	}
	if common.HeaderType(header.Type) != common.HeaderType_CONFIG_UPDATE {
		return nil, nil, errors.New("the config has no update in it")
	}
	if err := proto.Unmarshal(payload.Data, &signedUpdate); err != nil {
		return nil, nil, fmt.Errorf("the update is malformed: %w", err)
	}
	if err := proto.Unmarshal(signedUpdate.ConfigUpdate, &update); err != nil {
		return nil, nil, fmt.Errorf("the update is malformed: %w", err)
	}
	var signatures []signed
	for _, s := range signedUpdate.Signatures {
		var h common.SignatureHeader
		if err := proto.Unmarshal(s.GetSignatureHeader(), &h); err != nil {
			return nil, nil, fmt.Errorf("a signature of the update is malformed: %w", err)
		}
		signatures = append(signatures, signed{data: bytes.Join([][]byte{s.SignatureHeader, signedUpdate.ConfigUpdate}, nil), identity: h.Creator, signature: s.Signature})
	}
	return &update, signatures, nil
}

// mayChange checks one element of an update; old is nil for a new one.
func (c *channel) mayChange(name string, old, e *element, by []*identity) error {
	if e.modPolicy() == "" {
		return fmt.Errorf("%s names no policy for its changes", clip(name))
	}
	if old == nil {
		if e.version() != 0 {
			return fmt.Errorf("%s is new and has version %d", clip(name), e.version())
		}
		return nil // who may add is for the policy of the group, which changes with it
	}
	if e.version() != old.version()+1 {
		return fmt.Errorf("%s goes from version %d to %d", clip(name), old.version(), e.version())
	}
	if p := c.policyOf(old); !p.satisfied(by) {
		return fmt.Errorf("the change of %s is not signed as %s asks (%s)", clip(name), clip(old.modPolicy()), p)
	}
	return nil
}

// policyOf gives the policy that a change of an element needs.
func (c *channel) policyOf(e *element) policy {
	name, at := e.modPolicy(), c.policies
	if name == "" {
		return noPolicy{}
	}
	if !strings.HasPrefix(name, "/") && len(e.path) > 0 {
		groups := slices.Clone(e.path[1:])
		if e.group != nil {
			groups = append(groups, e.key)
		}
		for _, g := range groups {
			if at = at.groups[g]; at == nil {
				return noPolicy{name}
			}
		}
	}
	return at.get(name)
}

// assemble puts a config together again.
func assemble(m map[string]*element, path string) (*common.ConfigGroup, error) {
	e := m["group "+path]
	if e == nil {
		return nil, fmt.Errorf("the group %s is missing", clip(path))
	}
	g := &common.ConfigGroup{Version: e.group.Version, ModPolicy: orAdmins(e.group.ModPolicy), Groups: map[string]*common.ConfigGroup{},
		Values: map[string]*common.ConfigValue{}, Policies: map[string]*common.ConfigPolicy{}}
	for k := range e.group.Groups {
		var err error
		if g.Groups[k], err = assemble(m, path+"/"+k); err != nil {
			return nil, err
		}
	}
	for k := range e.group.Values {
		x := m["value "+path+"/"+k]
		if x == nil {
			return nil, fmt.Errorf("the value %s of %s is missing", clip(k), clip(path))
		}
		v := proto.Clone(x.value).(*common.ConfigValue)
		v.ModPolicy = orAdmins(v.ModPolicy)
		g.Values[k] = v
	}
	for k := range e.group.Policies {
		x := m["policy "+path+"/"+k]
		if x == nil {
			return nil, fmt.Errorf("the policy %s of %s is missing", clip(k), clip(path))
		}
		p := proto.Clone(x.policy).(*common.ConfigPolicy)
		p.ModPolicy = orAdmins(p.ModPolicy)
		g.Policies[k] = p
	}
	return g, nil
}

// orAdmins is what Fabric puts where a config names no policy for changes.
func orAdmins(name string) string {
	if name == "" {
		return "Admins"
	}
	return name
}
