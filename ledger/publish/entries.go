package publish

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
)

// Audience decides who reads entry bodies.
type Audience struct {
	// Caller names the authenticated member behind a request, "" for nobody in particular. An error is answered 401.
	Caller func(*http.Request) (contracts.ID, error)
	// MayRead reports whether the body goes to caller. InAudience is the rule for members; venue and regulators read all.
	MayRead func(caller contracts.ID, e *ledger.Entry) bool
}

// InAudience is a member's right to a body: it is public, or the member stands in its audience.
func InAudience(caller contracts.ID, e *ledger.Entry) bool {
	return e.Public || caller != "" && slices.Contains(e.Audience, caller)
}

// maxWait bounds how long a request for entries that don't exist yet is held.
const maxWait = 30 * time.Second

// EntriesHandler serves GET /entries?from=&to=[&wait=30s]: a Page of the bodies in [from, to) that the caller may read.
// Next advances over withheld bodies, so that asking from Next comes to the end. When the ledger has nothing at from,
// the request is held for up to wait, then answered with an empty page. Entries are served as soon as they are durable,
// ahead of the checkpoint: a stop order must not wait for one.
func (f *face) EntriesHandler(a Audience) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		caller, err := a.Caller(r)
		if err != nil {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		q, err := parseEntriesQuery(r.URL.RawQuery)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		g, err := f.page(r.Context(), q, func(e *ledger.Entry) bool { return a.MayRead(caller, e) })
		if err != nil {
			if r.Context().Err() == nil {
				f.cfg.Log.ErrorContext(r.Context(), "couldn't read entries", "from", q.from, "err", err)
			}
			http.Error(w, "couldn't read entries", http.StatusServiceUnavailable)
			return
		}
		b := g.Marshal()
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Cache-Control", "private, no-store")
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		w.Write(b)
	})
}

type entriesQuery struct {
	from, to uint64
	wait     time.Duration
}

func parseEntriesQuery(raw string) (entriesQuery, error) {
	var q entriesQuery
	v, err := url.ParseQuery(raw)
	if err != nil {
		return q, errors.New("query is malformed")
	}
	for k, x := range v {
		if len(x) != 1 {
			return q, errors.New("query has a parameter twice")
		}
		switch k {
		case "from":
			q.from, err = parseDecimal(x[0])
		case "to":
			q.to, err = parseDecimal(x[0])
		case "wait":
			if q.wait, err = time.ParseDuration(x[0]); err == nil && (q.wait < 0 || q.wait > maxWait) {
				err = errors.New("want at most 30s")
			}
		default:
			return q, errors.New("query has an unknown parameter")
		}
		if err != nil {
			return q, errors.New(k + " is malformed")
		}
	}
	if !v.Has("from") || !v.Has("to") || q.to <= q.from {
		return q, errors.New("want from below to")
	}
	return q, nil
}

func (f *face) page(ctx context.Context, q entriesQuery, mayRead func(*ledger.Entry) bool) (Page, error) {
	height, err := f.waitHeight(ctx, q.from, q.wait)
	if err != nil {
		return Page{}, err
	}
	g := Page{From: q.from, Next: q.from}
	to := min(q.to, height, q.from+MaxPagePositions)
	for size := 0; g.Next < to; {
		es, err := f.src.Entries(ctx, g.Next, int(min(to-g.Next, 256)))
		if err != nil {
			return Page{}, err
		}
		if len(es) == 0 || es[0].Position != g.Next {
			return Page{}, errors.New("the ledger gave no entry where it has one")
		}
		for _, e := range es {
			g.Next++
			if !mayRead(e.Entry) {
				continue
			}
			g.Bodies = append(g.Bodies, Body{Position: e.Position, Encoded: e.Encoded})
			if size += len(e.Encoded); size >= pageBudget {
				return g, nil
			}
		}
	}
	return g, nil
}

// waitHeight gives the ledger's height, waiting until it passes from, at most d.
func (f *face) waitHeight(ctx context.Context, from uint64, d time.Duration) (uint64, error) {
	height, err := f.src.Height(ctx)
	if err != nil || height > from || d == 0 {
		return height, err
	}
	waiting, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	defer context.AfterFunc(f.stopped, cancel)()
	if err := f.src.Wait(waiting, from); err != nil && waiting.Err() == nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	return f.src.Height(ctx)
}
