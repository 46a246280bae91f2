package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/node/meter"
	"github.com/bund-exchange/bund/node/peer"
	"github.com/bund-exchange/bund/node/session"
	"github.com/bund-exchange/bund/privacy/psi"
)

// intersecting is set intersection, both sides. One metered call opens a session, for as many units as the bank's list
// is announced to have; its frames go beside the calls. Sessions stand in <dir>/sessions, what a bank asked and found in
// <dir>/psi. All of it goes on after a restart of either node.
type intersecting struct {
	n     *Node
	dir   string
	shelf *session.Shelf

	ctx  context.Context // of all that runs beside requests
	stop context.CancelFunc
	runs sync.WaitGroup

	mu       sync.Mutex
	progress map[contracts.ID]psi.Progress // by session
	waiting  map[contracts.ID]string       // why an intersection stands still
	asked    map[contracts.ID]*asked       // of a bank, by session
}

// psiFrameElements is how many points a frame holds in sessions that this node opens. A variable for tests.
var psiFrameElements int64 = psi.DefaultFrameElements

// Life and bounds of a session.
const (
	psiLife       = 48 * time.Hour
	psiMaxSender  = 1 << 27        // of a provider's list, so that a bank's disk isn't filled with points that never end
	psiMaxIDs     = meter.MaxUnits // of the bank's list
	psiProtocol   = "psi"
	psiSweep      = time.Minute
	psiOpenWithin = 30 * time.Second // one try of the opening call
	psiPause      = time.Second      // after a failure, doubling
	psiLongPause  = time.Minute
)

func psiMode(n *Node) (_ *mode, err error) {
	p := &intersecting{n: n, dir: filepath.Join(n.cfg.Dir, "psi"), progress: map[contracts.ID]psi.Progress{}, waiting: map[contracts.ID]string{},
		asked: map[contracts.ID]*asked{}}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return nil, fmt.Errorf("couldn't make the folder of intersections: %w", err)
	}
	if p.shelf, err = session.OpenShelf(session.Config{Dir: filepath.Join(n.cfg.Dir, "sessions"), Now: n.now}); err != nil {
		return nil, err
	}
	p.ctx, p.stop = context.WithCancel(context.Background())
	if err := errors.Join(p.resumeServed(), p.resumeAsked()); err != nil {
		return nil, errors.Join(err, p.close())
	}
	p.runs.Go(p.sweep)
	frames := p.shelf.Handler(func(r *http.Request) contracts.ID { return r.Context().Value(peerKey{}).(contracts.ID) })
	return &mode{
		answers: map[policy.Operation]operation{policy.PSI: p.answer},
		beside: map[string]besideHandler{"sessions": func(w http.ResponseWriter, r *http.Request, _ *served, who peer.Identity) {
			frames.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), peerKey{}, who.Node)))
		}},
		local: p.local,
		close: p.close,
	}, nil
}

type peerKey struct{}

func (p *intersecting) close() error {
	p.stop()
	p.runs.Wait()
	return p.shelf.Close()
}

// sweep ends sessions whose time is over.
func (p *intersecting) sweep() {
	t := time.NewTicker(psiSweep)
	defer t.Stop()
	for {
		if err := p.shelf.Sweep(); err != nil {
			p.n.log.Error("couldn't end sessions", "err", err)
		}
		select {
		case <-t.C:
		case <-p.ctx.Done():
			return
		}
	}
}

// psiTerms are what both sides make of an opened session; a session's note on the provider's shelf.
type psiTerms struct {
	Dataset       string         `json:"dataset,omitempty"` // the provider's
	Digest        contracts.Hash `json:"digest,omitempty"`
	FrameElements int64          `json:"frameElements"`
	Padding       string         `json:"padding"`
	ReceiverMax   int64          `json:"receiverMax"`
	SenderMax     int64          `json:"senderMax"`
}

// Check reports terms that no session of ours has.
func (t psiTerms) Check() error {
	if _, err := psi.ParsePadding(t.Padding); err != nil {
		return err
	}
	if t.FrameElements < 1 || t.FrameElements > psi.MaxFrameElements || t.ReceiverMax < 1 || t.ReceiverMax > psiMaxIDs || t.SenderMax < 1 || t.SenderMax > psiMaxSender {
		return errors.New("sizes are out of bounds")
	}
	return nil
}

// params binds the terms to one session of two nodes.
func (t *psiTerms) params(agreement, id, sender, receiver contracts.ID) psi.Params {
	padding, _ := psi.ParsePadding(t.Padding)
	return psi.Params{Session: contracts.HashOf("bund/psi/session/v1", []byte(agreement), []byte(id), []byte(sender), []byte(receiver)).Bytes(),
		SenderMax: uint64(t.SenderMax), ReceiverMax: uint64(t.ReceiverMax), Padding: padding, FrameElements: uint32(t.FrameElements)}
}

// side makes this node's side of an intersection.
func (p *intersecting) side(x *session.Session, params psi.Params) *psi.Session {
	return &psi.Session{Params: params, Link: x.Frames(), Spool: x.Tapes, Store: x.Record,
		Workers:    max(1, runtime.GOMAXPROCS(0)-1), // calls are answered beside
		OnProgress: func(g psi.Progress) { p.tell(x.Terms.ID, g) }}
}

func (p *intersecting) tell(id contracts.ID, g psi.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.progress[id] = g
	delete(p.waiting, id)
}

// wait pauses a run after its n-th failure in a row; it reports whether to go on.
func (p *intersecting) wait(id contracts.ID, n int, why string) bool {
	p.mu.Lock()
	p.waiting[id] = why
	p.mu.Unlock()
	t := time.NewTimer(min(psiPause<<min(n, 10), psiLongPause))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.ctx.Done():
		return false
	}
}
