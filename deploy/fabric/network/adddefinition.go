package network

import (
	"context"
	"fmt"
	"slices"
)

// AddDefinition puts a further chaincode definition on the channel of a running network, with a program of its own beside
// each endorsing peer and the market's policy, for measurements: Upgrade would give it the market's program. Asked again
// with the same program it does what is still to be done.
func (n *Network) AddDefinition(ctx context.Context, name, program string) error {
	return n.change(func() error {
		digest, err := keepProgram(n.dir, program)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(n.layout.Definitions, func(d definition) bool { return d.Name == name })
		switch {
		case n.layout.Next != nil:
			return fmt.Errorf("couldn't add the definition %s: an upgrade is not finished", name)
		case i >= 0 && n.layout.Definitions[i].Program != digest:
			return fmt.Errorf("couldn't add the definition %s: it is there, with another program", name)
		case i < 0 && len(n.layout.Definitions) == maxDefinitions:
			return fmt.Errorf("couldn't add the definition %s: a network has at most %d", name, maxDefinitions)
		case i < 0:
			n.layout.Definitions = append(n.layout.Definitions, definition{Name: name, Policy: marketPolicy, Sequence: 1, Program: digest})
			if err := n.writeLayout(); err != nil {
				return err
			}
		}
		return n.up(ctx)
	})
}
