package cast

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/deploy/market"
)

// atOnce bounds how many stories are submitted side by side. The sample's largest scene has thirteen.
const atOnce = 16

// Exec submits the cast's commands: the genesis to a ledger in the making, all others through the API.
type Exec struct {
	stack *Stack
	ctx   context.Context

	mu         sync.Mutex             // of what is learnt from answers, while stories are submitted
	Last       *market.Accepted       // of what was accepted the one that stands last on the ledger
	Registered map[contracts.ID]int64 // positions of node registrations by member

	telling *story // what is being told, nil outside Together
}

// story is commands that are submitted one after the other.
type story struct {
	title    string
	commands []command
}

type command struct {
	contracts.Submission
	kind   string
	member contracts.ID
}

// Submit implements contractstest.Executor.
func (e *Exec) Submit(ctx context.Context, sub contracts.Submission) error {
	var env contracts.Envelope
	if err := canon.Unmarshal(sub.Raw, &env); err != nil {
		return err
	}
	if env.Kind == "genesis" {
		return e.stack.genesis(e.ctx, sub)
	}
	c := command{sub, env.Kind, contracts.ID(env.Member)}
	if e.telling != nil {
		e.telling.commands = append(e.telling.commands, c)
		return nil
	}
	return e.send(ctx, c)
}

func (e *Exec) send(ctx context.Context, c command) error {
	a, err := e.stack.Venue.Submit(ctx, c.Submission)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.Last == nil || e.Last.Position < a.Position {
		e.Last = a
	}
	if c.kind == "node.register" {
		e.Registered[c.member] = a.Position
	}
	return nil
}

// Together has all stories told before it submits anything of them: none may ask the ledger for what it has submitted
// itself. The first error ends it. A story within a story is part of that.
func (e *Exec) Together(stories []func() error) error {
	if e.telling != nil {
		return inOrder(stories)
	}
	told := make([]story, len(stories))
	defer func() { e.telling = nil }()
	for i, tell := range stories {
		e.telling = &told[i]
		if err := tell(); err != nil {
			return told[i].failed(err)
		}
	}
	g, ctx := errgroup.WithContext(e.ctx)
	g.SetLimit(atOnce)
	for _, s := range told {
		g.Go(func() error {
			for _, c := range s.commands {
				if err := e.send(ctx, c); err != nil {
					return s.failed(fmt.Errorf("%s: %w", c.kind, err))
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func inOrder(stories []func() error) error {
	for _, tell := range stories {
		if err := tell(); err != nil {
			return err
		}
	}
	return nil
}

// Title says what the story that is being told tries, for the error should it fail; outside Together nothing.
func (e *Exec) Title(format string, args ...any) {
	if e.telling != nil {
		e.telling.title = fmt.Sprintf(format, args...)
	}
}

func (s *story) failed(err error) error {
	if s.title == "" {
		return err
	}
	return fmt.Errorf("couldn't %s: %w", s.title, err)
}

// Get reads a product version by the API, for the contract's text.
func (e *Exec) Get(key string) ([]byte, error) {
	id, ok := strings.CutPrefix(key, "version/")
	if !ok {
		return nil, fmt.Errorf("%s is not public", key)
	}
	var r market.Record
	path := "/versions/" + id
	if e.Last != nil {
		path += fmt.Sprintf("?min_position=%d", e.Last.Position)
	}
	if _, err := e.stack.Venue.JSON(e.ctx, http.MethodGet, path, nil, &r); err != nil {
		return nil, err
	}
	return r.Record, nil
}
