package session

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
)

// maxWaitSec bounds how long a request for a frame that isn't there waits.
const maxWaitSec = 30

// Handler serves the shelf's sessions to other nodes, under /agreements/{id}/sessions/{sid}/. peer says which node has
// sent a request; it was authenticated before. A session of another node is answered as one that isn't there.
func (s *Shelf) Handler(peer func(*http.Request) contracts.ID) http.Handler {
	m := http.NewServeMux()
	serve := func(pattern string, f func(http.ResponseWriter, *http.Request, *Session) error) {
		m.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			x, ok := s.Session(contracts.ID(r.PathValue("id")), contracts.ID(r.PathValue("sid")))
			if !ok || x.Terms.Peer != peer(r) {
				answerError(w, refuse(Unknown, "this peer has no such session here"))
				return
			}
			if !s.now().Before(x.Terms.ExpiresAt.Time()) {
				if err := x.end(Outcome{Code: Expired}); err != nil {
					answerError(w, err)
					return
				}
			}
			if err := f(w, r, x); err != nil {
				answerError(w, err)
			}
		})
	}
	serve("GET /agreements/{id}/sessions/{sid}/frames", getStatus)
	serve("PUT /agreements/{id}/sessions/{sid}/frames/{n}", putFrame)
	serve("GET /agreements/{id}/sessions/{sid}/frames/{n}", getFrame)
	serve("POST /agreements/{id}/sessions/{sid}/end", postEnd)
	return m
}

func getStatus(w http.ResponseWriter, _ *http.Request, x *Session) error {
	answerCanon(w, x.status())
	return nil
}

func (x *Session) status() status {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.outcome != nil {
		return status{Code: x.outcome.Code, Ended: true, Received: x.outcome.Received, Sent: x.outcome.Sent}
	}
	if x.in == nil {
		return status{}
	}
	return status{Received: int64(x.in.count()), Sent: int64(x.out.count())}
}

func putFrame(w http.ResponseWriter, r *http.Request, x *Session) error {
	n, err := parseNumber(r.PathValue("n"))
	if err != nil {
		return err
	}
	b, err := readAll(r.Body, MaxFrameBytes)
	if err != nil {
		return err
	}
	if err := x.put(n, b); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

var errWaited = errors.New("waited long enough")

func getFrame(w http.ResponseWriter, r *http.Request, x *Session) error {
	n, err := parseNumber(r.PathValue("n"))
	if err != nil {
		return err
	}
	wait, err := parseWait(r.URL.RawQuery)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(r.Context(), wait, errWaited)
	defer cancel()
	b, err := x.frame(ctx, n, func() *frameLog { return x.out })
	if errors.Is(err, errWaited) {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Write(b)
	return nil
}

// parseWait reads a query that is nothing, or wait=sec alone.
func parseWait(query string) (time.Duration, error) {
	if query == "" {
		return 0, nil
	}
	const name = "wait="
	if len(query) > len(name) && query[:len(name)] == name {
		if sec, err := strconv.Atoi(query[len(name):]); err == nil && strconv.Itoa(sec) == query[len(name):] && sec >= 0 && sec <= maxWaitSec {
			return time.Duration(sec) * time.Second, nil
		}
	}
	return 0, refuse(Malformed, "the query is wait=0 to wait=30, or nothing")
}

// postEnd takes the other side's word that it has ended. Where this side has ended before, nothing changes.
func postEnd(w http.ResponseWriter, r *http.Request, x *Session) error {
	b, err := readAll(r.Body, maxSmallBytes)
	if err != nil {
		return err
	}
	var e ending
	if err := canon.Unmarshal(b, &e); err != nil {
		return refuse(Malformed, "the body is not how a session ends")
	}
	if e.Code != "" {
		err = x.end(Outcome{Code: e.Code, ByPeer: true})
	} else {
		err = x.release()
	}
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}
