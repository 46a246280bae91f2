package blockaudit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/golang/protobuf/proto"
	"github.com/hyperledger/fabric-protos-go/peer/lifecycle"
)

// Definition is a chaincode definition in force on the channel.
type Definition struct {
	Name     string `json:"name"`
	Sequence int64  `json:"sequence"`
	Version  string `json:"version"`
	Policy   string `json:"policy"` // of endorsement, for people

	plugin      string
	parameter   []byte
	collections bool
}

const lifecycleNamespace = "_lifecycle"

// definition reads a definition out of lifecycle's state; nil when the channel has none of that name.
func (s *state) definition(name string) (*Definition, error) {
	value := func(key string) []byte { return s.values[place{lifecycleNamespace, "", key}] }
	b := value("namespaces/metadata/" + name)
	if b == nil {
		return nil, nil
	}
	var meta lifecycle.StateMetadata
	if err := proto.Unmarshal(b, &meta); err != nil {
		return nil, fmt.Errorf("the definition of %s is malformed: %w", clip(name), err)
	}
	if meta.Datatype != "ChaincodeDefinition" {
		return nil, fmt.Errorf("%s is a %s, no chaincode", clip(name), clip(meta.Datatype))
	}
	field := func(f string, into proto.Message) (*lifecycle.StateData, error) {
		var d lifecycle.StateData
		err := proto.Unmarshal(value("namespaces/fields/"+name+"/"+f), &d)
		if err == nil && into != nil {
			err = proto.Unmarshal(d.GetBytes(), into)
		}
		if err != nil {
			return nil, fmt.Errorf("the %s of %s is malformed: %w", f, clip(name), err)
		}
		return &d, nil
	}
	sequence, err := field("Sequence", nil)
	if err != nil {
		return nil, err
	}
	var endorsement lifecycle.ChaincodeEndorsementInfo
	if _, err := field("EndorsementInfo", &endorsement); err != nil {
		return nil, err
	}
	var validation lifecycle.ChaincodeValidationInfo
	if _, err := field("ValidationInfo", &validation); err != nil {
		return nil, err
	}
	collections, err := field("Collections", nil)
	if err != nil {
		return nil, err
	}
	return &Definition{Name: name, Sequence: sequence.GetInt64(), Version: endorsement.Version, plugin: validation.ValidationPlugin,
		parameter: validation.ValidationParameter, collections: len(collections.GetBytes()) > 0}, nil
}

// definitions gives all of them, by name.
func (s *state) definitions(c *channel) (all []Definition) {
	for p := range s.values {
		name, ok := strings.CutPrefix(p.key, "namespaces/metadata/")
		if !ok {
			continue
		}
		d, err := s.definition(name)
		if err != nil || d == nil {
			continue
		}
		if policy, err := c.applicationPolicy(d.parameter); err == nil {
			d.Policy = policy.String()
		}
		all = append(all, *d)
	}
	slices.SortFunc(all, func(a, b Definition) int { return strings.Compare(a.Name, b.Name) })
	return all
}
