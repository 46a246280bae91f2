package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/node/peer"
	"github.com/bund-exchange/bund/privacy/stats"
)

// statistics is joint statistics, all roles. Between the nodes of a task, outside any agreement:
//
//	GET  /statistics/{task}/key          contributor, aggregator → aggregator: the id of its HPKE key
//	POST /statistics/{task}/reports      contributor → both aggregators: an upload
//	POST /statistics/{task}/verify-key   leader → helper, sealed
//	POST /statistics/{task}/job          leader → helper
//	POST /statistics/{task}/order        leader → helper: close a batch
//	POST /statistics/{task}/close        collector → leader: close batch n, if there is enough in it
//	POST /statistics/{task}/share        collector → both: the share of batch n, sealed to its key
//
// Who may is asked of the ledger with every request. Results are sold as any other product is, by metered calls.
type statistics struct {
	n     *Node
	store *statStore

	ctx  context.Context // ends with the node
	stop context.CancelFunc
	runs sync.WaitGroup

	mu    sync.Mutex
	tasks map[contracts.ID]*aggregating
	links map[contracts.ID]*peer.Link // by node
}

func statMode(n *Node) (*mode, error) {
	store, err := openStatStore(n.cfg.Dir)
	if err != nil {
		return nil, err
	}
	s := &statistics{n: n, store: store, tasks: map[contracts.ID]*aggregating{}, links: map[contracts.ID]*peer.Link{}}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return &mode{
		answers: map[policy.Operation]operation{policy.JointStatistics: s.answer},
		peer:    s.peer,
		local:   s.local,
		close:   s.close,
	}, nil
}

func (s *statistics) close() error {
	s.stop()
	s.runs.Wait()
	s.mu.Lock()
	for _, l := range s.links {
		l.CloseIdleConnections()
	}
	s.mu.Unlock()
	return s.store.db.Close()
}

// onLedger gives a task as this node has followed it. It is in the audience of those only that it is in itself.
func (s *statistics) onLedger(id contracts.ID) (t *contracts.StatisticsTask, err error) {
	err = s.n.readBoth(func(st contracts.State) error {
		b, err := st.Get(contracts.KeyStatistics(id))
		if err != nil {
			return err
		}
		if b == nil {
			return &contracts.Refusal{Code: "statistics.unknown", Detail: "this member is in no such task, or this node has not followed it yet"}
		}
		t, err = contracts.Read[contracts.StatisticsTask](b)
		return err
	})
	return t, err
}

// taskOf puts a task into the protocol's shape.
func taskOf(id contracts.ID, t *contracts.StatisticsTask) *stats.Task {
	return &stats.Task{ID: id, Measure: t.Measure, MinBatch: t.MinBatch, EpsilonMicro: t.EpsilonMicro, Aggregators: [2]contracts.ID(t.Aggregators), Collector: t.Collector}
}

// takesPart asks whether this node's own member may act in a task now.
func (s *statistics) takesPart(ctx context.Context, id contracts.ID, as string) (*contracts.StatisticsTask, error) {
	return s.n.gate.TakesPart(ctx, contracts.Part{Task: id, Peer: s.n.cfg.Member, Node: s.n.cfg.Node, As: as})
}

// nodeOnLedger gives a node in service: whose it is and where it is reached.
func (s *statistics) nodeOnLedger(id contracts.ID) (x *contracts.Node, err error) {
	err = s.n.readBoth(func(st contracts.State) error {
		b, err := st.Get(contracts.KeyNode(id))
		if err != nil {
			return err
		}
		if b != nil {
			if x, err = contracts.Read[contracts.Node](b); err != nil {
				return err
			}
		}
		if b == nil || x.Retired != 0 || x.URL == "" {
			return &contracts.Refusal{Code: "node.unknown", Detail: "an aggregator's node is not in service"}
		}
		return nil
	})
	return x, err
}

// link gives the link to a node; it is kept.
func (s *statistics) link(node contracts.ID) (*peer.Link, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.links[node]; l != nil {
		return l, nil
	}
	l, err := s.n.pins.Link(node)
	if err == nil {
		s.links[node] = l
	}
	return l, err
}

// tell sends a message of a task to a node and gives its answer. A refusal of its is a *contracts.Refusal.
func (s *statistics) tell(ctx context.Context, node, task contracts.ID, method, what string, body []byte) ([]byte, error) {
	x, err := s.nodeOnLedger(node)
	if err != nil {
		return nil, err
	}
	l, err := s.link(node)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(x.URL, "/")+"/statistics/"+string(task)+"/"+what, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := l.RoundTrip(r)
	if err != nil {
		return nil, fmt.Errorf("couldn't reach node %s: %w", node, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, peerRefusal(resp)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("couldn't reach node %s: %w", node, err)
	}
	return b, nil
}

// role gives this node's part in a task's aggregation, -1 for none.
func (s *statistics) role(t *contracts.StatisticsTask) int {
	return slices.Index(t.Aggregators, s.n.cfg.Node)
}

// statHandler answers one message between nodes of a task, from a node that may send it.
type statHandler func(ctx context.Context, id contracts.ID, t *contracts.StatisticsTask, who peer.Identity, body []byte) ([]byte, error)

func (s *statistics) peer(m *http.ServeMux) {
	for _, x := range []struct {
		route, as string
		most      int64
		answer    statHandler
	}{
		{"GET /statistics/{task}/key", "", 1 << 10, s.serveKey},
		{"POST /statistics/{task}/reports", "contributor", stats.MaxUploadBytes + 1<<20, s.serveReports},
		{"POST /statistics/{task}/verify-key", "aggregator", 1 << 10, s.serveVerifyKey},
		{"POST /statistics/{task}/job", "aggregator", stats.MaxJobBytes, s.serveJob},
		{"POST /statistics/{task}/order", "aggregator", 1 << 10, s.serveOrder},
		{"POST /statistics/{task}/close", "collector", 1 << 10, s.serveClose},
		{"POST /statistics/{task}/share", "collector", 1 << 10, s.serveShare},
	} {
		m.HandleFunc(x.route, func(w http.ResponseWriter, r *http.Request) {
			who, ok := s.n.caller(w, r)
			if !ok {
				return
			}
			id := contracts.ID(r.PathValue("task"))
			body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, x.most))
			if err != nil || id.Check() != nil {
				refuse(w, http.StatusBadRequest, "request.malformed", "no message of a task, or one that is too long")
				return
			}
			b, err := s.serve(r.Context(), id, who, x.as, body, x.answer)
			var refusal *contracts.Refusal
			switch {
			case errors.As(err, &refusal):
				refusePeer(w, refusal.Code, refusal.Detail)
			case err != nil:
				s.n.log.ErrorContext(r.Context(), "couldn't answer a node of a joint statistic", "task", id, "from", who.Node, "err", err)
				refuse(w, http.StatusServiceUnavailable, "failure", "this node failed, try again")
			default:
				w.Header().Set("Content-Type", "application/octet-stream")
				w.Write(b)
			}
		})
	}
}

// serve asks the ledger whether the peer may, and lets the handler answer. With as "" any role will do.
func (s *statistics) serve(ctx context.Context, id contracts.ID, who peer.Identity, as string, body []byte, h statHandler) ([]byte, error) {
	roles := []string{as}
	if as == "" {
		roles = []string{"contributor", "aggregator", "collector"}
	}
	var t *contracts.StatisticsTask
	var err error
	for _, as := range roles {
		t, err = s.n.gate.TakesPart(ctx, contracts.Part{Task: id, Peer: who.Member, Node: who.Node, As: as})
		var no *contracts.Refusal
		if !errors.As(err, &no) || no.Code != "statistics.unknown" { // it is that, allowed now or not
			break
		}
	}
	if err != nil {
		return nil, err
	}
	if s.role(t) < 0 {
		return nil, &contracts.Refusal{Code: "statistics.unknown", Detail: "this node is no aggregator of the task"}
	}
	return h(ctx, id, t, who, body)
}
