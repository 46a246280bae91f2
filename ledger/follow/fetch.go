package follow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/transparency-dev/tessera/api/layout"

	"github.com/bund-exchange/bund/ledger/publish"
)

// remote reads the published log over HTTP. The client authenticates itself; nothing here is believed before it is
// verified.
type remote struct {
	url     string
	hc      *http.Client
	timeout time.Duration
}

// statusError is an answer other than 200.
type statusError struct {
	path   string
	status int
}

func (e *statusError) Error() string { return fmt.Sprintf("%s answered %d", e.path, e.status) }

func isNotFound(err error) bool {
	var e *statusError
	return errors.As(err, &e) && e.status == http.StatusNotFound
}

func (r remote) do(ctx context.Context, method, path, query string, limit int, wait time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout+wait)
	defer cancel()
	u := r.url + path
	if query != "" {
		u += "?" + query
	}
	req, err := http.NewRequestWithContext(ctx, method, u, nil)
	if err != nil {
		return nil, err
	}
	resp, err := r.hc.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		io.Copy(io.Discard, io.LimitReader(resp.Body, 4<<10)) // so that the connection can be used again
		return nil, &statusError{path, resp.StatusCode}
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, int64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("couldn't read %s: %w", path, err)
	}
	if len(b) > limit {
		return nil, fmt.Errorf("%s is longer than %d bytes", path, limit)
	}
	return b, nil
}

const (
	checkpointLimit = 64 << 10
	bundleLimit     = 256 * (2 + 1<<16)
	tileLimit       = 256 * 32
)

func (r remote) checkpoint(ctx context.Context) ([]byte, error) {
	return r.do(ctx, http.MethodGet, "/checkpoint", "", checkpointLimit, 0)
}

func (r remote) cosign(ctx context.Context) ([]byte, error) {
	return r.do(ctx, http.MethodPost, "/cosign", "", checkpointLimit, 0)
}

// leaves reads the leaves of one bundle that a tree of size has. A partial bundle may have been collected since; the
// full one begins with the same leaves.
func (r remote) leaves(ctx context.Context, index, size uint64) ([][]byte, error) {
	w := layout.PartialTileSize(0, index, size)
	b, err := r.do(ctx, http.MethodGet, "/"+layout.EntriesPath(index, w), "", bundleLimit, 0)
	if w > 0 && isNotFound(err) {
		b, err = r.do(ctx, http.MethodGet, "/"+layout.EntriesPath(index, 0), "", bundleLimit, 0)
	}
	if err != nil {
		return nil, err
	}
	leaves, err := publish.ParseBundle(b)
	if err != nil {
		return nil, fmt.Errorf("entry bundle %d: %w", index, err)
	}
	want := int(w)
	if w == 0 {
		want = layout.EntryBundleWidth
	}
	if len(leaves) < want {
		return nil, fmt.Errorf("entry bundle %d has %d leaves, want %d", index, len(leaves), want)
	}
	return leaves[:want], nil
}

// tile is a client.TileFetcherFunc.
func (r remote) tile(ctx context.Context, level, index uint64, w uint8) ([]byte, error) {
	b, err := r.do(ctx, http.MethodGet, "/"+layout.TilePath(level, index, w), "", tileLimit, 0)
	if w > 0 && isNotFound(err) {
		b, err = r.do(ctx, http.MethodGet, "/"+layout.TilePath(level, index, 0), "", tileLimit, 0)
	}
	if err != nil {
		return nil, err
	}
	want := 32 * int(w)
	if w == 0 {
		want = tileLimit
	}
	if len(b) < want {
		return nil, fmt.Errorf("tile %d/%d has %d bytes, want %d", level, index, len(b), want)
	}
	return b[:want], nil
}

func (r remote) page(ctx context.Context, from, to uint64, wait time.Duration) (publish.Page, error) {
	q := fmt.Sprintf("from=%d&to=%d", from, to)
	if wait > 0 {
		q += "&wait=" + wait.String()
	}
	b, err := r.do(ctx, http.MethodGet, "/entries", q, publish.MaxPageBytes, wait)
	if err != nil {
		return publish.Page{}, err
	}
	g, err := publish.ParsePage(b)
	if err != nil {
		return publish.Page{}, err
	}
	if g.From != from || g.Next > to {
		return publish.Page{}, fmt.Errorf("%w: asked for %d to %d, got %d to %d", ErrGap, from, to, g.From, g.Next)
	}
	return g, nil
}
