package main

import (
	"errors"
	"net/http"

	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/node/peer"
)

// mode is one way in which this node lets its data be used, or uses another's. Every use is a metered call, which answer
// executes; what is too large for one (a table, a sealed file, the frames of a session) is fetched beside the calls, over
// the same link, after one of them opened it.
type mode struct {
	answers map[policy.Operation]operation // provider's side of a call

	// beside serves /agreements/{id}/<name>/… to the node of the agreement's buyer. The grant was found standing.
	beside map[string]besideHandler

	peer  func(*http.ServeMux) // what other nodes ask outside any agreement: who they are is this handler's to find out
	local func(*http.ServeMux) // what this member's own systems ask

	close func() error
}

// besideHandler serves what an admitted call of the agreement opened.
type besideHandler func(w http.ResponseWriter, r *http.Request, s *served, who peer.Identity)

// openModes opens every mode of this node. Each stands in a file of its own.
func (n *Node) openModes() error {
	for _, open := range []func(*Node) (*mode, error){queryMode, scoreMode, lookupMode, fileMode, statMode, psiMode, computeMode} {
		m, err := open(n)
		if err != nil {
			return err
		}
		n.modes = append(n.modes, m)
		for op, f := range m.answers {
			n.operations[op] = f
		}
		for name, f := range m.beside {
			n.beside[name] = f
		}
	}
	return nil
}

func (n *Node) closeModes() (err error) {
	for _, m := range n.modes {
		if m.close != nil {
			err = errors.Join(err, m.close())
		}
	}
	return err
}

func queryMode(n *Node) (*mode, error) {
	return &mode{answers: map[policy.Operation]operation{policy.Query: n.query}}, nil
}
