package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/privacy/lookup"
)

// tableFetch is the fetching of a whole table, which goes on behind the request that began it, and after a broken
// connection or a restart where it stopped.
type tableFetch struct {
	of    atomic.Int64 // bytes
	have  atomic.Int64
	ended chan struct{}
	err   error
}

// limits of what is taken from a provider.
const (
	maxHeadMessage   = 64 << 10
	maxBucketMessage = 256 << 20
	fetchTries       = 20 // without a byte more
)

// whole gives the committed table, fetching it where it isn't here. While that takes longer than ctx, it goes on.
func (l *lookups) whole(ctx context.Context, c *consumer, k *lookup.Commitment) (*openedTable, error) {
	l.opening.Lock()
	t := l.fetched[k.Root]
	l.opening.Unlock()
	if t != nil {
		return t, nil
	}
	f := l.fetch(c, k)
	select {
	case <-f.ended:
	case <-ctx.Done():
		return nil, fmt.Errorf("the table is still being fetched, %d of %d bytes are here: %w", f.have.Load(), f.of.Load(), ctx.Err())
	}
	if f.err != nil {
		return nil, f.err
	}
	l.opening.Lock()
	defer l.opening.Unlock()
	if t = l.fetched[k.Root]; t == nil {
		return nil, errors.New("couldn't keep the table: its epoch is over")
	}
	return t, nil
}

// fetch begins to fetch a table, or joins whoever did.
func (l *lookups) fetch(c *consumer, k *lookup.Commitment) *tableFetch {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.fetching[k.Root]; f != nil {
		select {
		case <-f.ended: // begin anew: it failed, or is there
		default:
			return f
		}
	}
	f := &tableFetch{ended: make(chan struct{})}
	l.fetching[k.Root] = f
	l.behind.Go(func() {
		defer close(f.ended)
		f.err = l.fetchTable(l.ctx, f, c, k)
	})
	return f
}

func (l *lookups) fetchTable(ctx context.Context, f *tableFetch, c *consumer, k *lookup.Commitment) error {
	name := l.fetchedPath(k)
	err := l.take(ctx, name, k)
	var damaged *contracts.Refusal
	switch {
	case errors.As(err, &damaged):
		l.n.log.Error("a lookup table is damaged here, it is fetched anew", "version", k.Version, "epoch", k.Epoch, "err", err)
		if err := os.Remove(name); err != nil {
			return fmt.Errorf("couldn't remove a damaged table: %w", err)
		}
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	h, err := l.head(ctx, c, k)
	if err != nil {
		return err
	}
	f.of.Store(h.TableBytes())
	part, err := os.OpenFile(name+".part", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("couldn't keep table: %w", err)
	}
	defer part.Close()
	for tries := 0; ; {
		at, err := part.Seek(0, io.SeekEnd)
		if err != nil {
			return fmt.Errorf("couldn't keep table: %w", err)
		}
		f.have.Store(at)
		if at >= h.TableBytes() {
			break
		}
		err = l.fetchRest(ctx, part, at, f, c, k)
		var r *contracts.Refusal
		if errors.As(err, &r) || ctx.Err() != nil {
			return err
		}
		if now, _ := part.Seek(0, io.SeekEnd); now > at {
			tries = 0
		} else if tries++; tries == fetchTries {
			return fmt.Errorf("couldn't fetch table: %w", err)
		}
		rest(ctx, time.Duration(tries+1)*50*time.Millisecond)
	}
	if err := errors.Join(part.Truncate(h.TableBytes()), part.Sync()); err != nil {
		return fmt.Errorf("couldn't keep table: %w", err)
	}
	if err := l.take(ctx, name+".part", k); err != nil {
		var r *contracts.Refusal
		if errors.As(err, &r) {
			return errors.Join(err, os.Remove(name+".part"))
		}
		return err
	}
	return os.Rename(name+".part", name)
}

// rest waits, or until ctx ends.
func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// take opens a table that is here, and forgets those of the product's earlier epochs but the last, whose
// answers may still be on their way.
func (l *lookups) take(ctx context.Context, path string, k *lookup.Commitment) error {
	l.opening.Lock()
	defer l.opening.Unlock()
	t, err := l.openTable(ctx, path, k)
	if err != nil {
		return err
	}
	for root, old := range l.fetched {
		if old.Head().Version == k.Version && old.Head().Epoch < k.Epoch-1 {
			delete(l.fetched, root)
		}
	}
	if err := forgetEpochs(filepath.Join(l.dir, "fetched"), k.Version, k.Epoch-1); err != nil {
		return err
	}
	l.fetched[k.Root] = t
	return nil
}

// fetchRest appends what is missing from at on, for as long as the connection holds.
func (l *lookups) fetchRest(ctx context.Context, part *os.File, at int64, f *tableFetch, c *consumer, k *lookup.Commitment) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stalled := time.AfterFunc(requestTimeout, cancel)
	defer stalled.Stop()
	resp, err := l.get(ctx, c, "table", map[string]string{"Range": "bytes=" + strconv.FormatInt(at, 10) + "-", "If-Range": `"` + string(k.Root) + `"`})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK && at > 0 || resp.Header.Get("ETag") != `"`+string(k.Root)+`"` {
		return &contracts.Refusal{Code: "lookup.table", Detail: "the provider's node serves another table than the committed one"}
	}
	_, err = io.Copy(part, io.TeeReader(io.LimitReader(resp.Body, f.of.Load()-at), arrived(func(n int) {
		f.have.Add(int64(n))
		stalled.Reset(requestTimeout)
	})))
	return errors.Join(err, part.Sync())
}

// arrived is told how much came.
type arrived func(n int)

func (a arrived) Write(b []byte) (int, error) { a(len(b)); return len(b), nil }

// head gives the table's head, found to be of the committed table.
func (l *lookups) head(ctx context.Context, c *consumer, k *lookup.Commitment) (*lookup.Head, error) {
	msg, err := l.message(ctx, c, "head", maxHeadMessage)
	if err != nil {
		return nil, err
	}
	return lookup.OpenHead(msg, k)
}

// buckets fetches those in which the rows would be, in ascending order.
func (l *lookups) buckets(ctx context.Context, c *consumer, k *lookup.Commitment, numbers []uint32) (lookup.Buckets, error) {
	bs := lookup.Buckets{}
	for _, n := range numbers {
		msg, err := l.message(ctx, c, "bucket/"+strconv.FormatUint(uint64(n), 10), maxBucketMessage)
		if err != nil {
			return nil, err
		}
		if bs[n], err = lookup.OpenBucket(msg, k, n); err != nil {
			return nil, err
		}
	}
	return bs, nil
}

func (l *lookups) message(ctx context.Context, c *consumer, what string, most int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, err := l.get(ctx, c, what, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	if err == nil && int64(len(b)) > most {
		err = errors.New("the answer is too long")
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't fetch %s: %w", what, err)
	}
	return b, nil
}

// get asks the provider's node for a part of the table, beside the calls.
func (l *lookups) get(ctx context.Context, c *consumer, what string, header map[string]string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.server.url, "/")+"/agreements/"+string(c.id)+"/lookup/"+what, nil)
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		r.Header.Set(k, v)
	}
	resp, err := c.link.RoundTrip(r)
	if err != nil {
		return nil, fmt.Errorf("couldn't ask the provider's node: %w", err)
	}
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, peerRefusal(resp)
}

// localFetch fetches a table ahead, or says how far that has come.
func (l *lookups) localFetch(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Agreement contracts.ID `json:"agreement"`
	}
	if !decode(w, r, &q) {
		return
	}
	c, k, err := l.using(q.Agreement)
	if err != nil {
		l.n.localError(w, r, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	defer cancel()
	t, err := l.whole(ctx, c, k.commitment)
	switch {
	case err == nil:
		answer(w, map[string]any{"state": "fetched", "have": t.Size(), "of": t.Size(), "epoch": k.commitment.Epoch, "rows": k.commitment.Rows})
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil:
		l.mu.Lock()
		f := l.fetching[k.commitment.Root]
		l.mu.Unlock()
		answer(w, map[string]any{"state": "fetching", "have": f.have.Load(), "of": f.of.Load(), "epoch": k.commitment.Epoch, "rows": k.commitment.Rows})
	default:
		l.n.localError(w, r, err)
	}
}
