package publish_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/ledger/publish"
	"github.com/bund-exchange/bund/ledger/publish/publishtest"
)

// read opens a reader of a publisher's folder, with a ledger of its own.
func read(t *testing.T, b *bench, own publish.Source, ask func(context.Context) ([]byte, error)) (*publish.Reader, string) {
	t.Helper()
	r, err := publish.OpenReader(t.Context(), b.config(), own, ask)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(r.Handler())
	t.Cleanup(func() { srv.Close(); r.Close() })
	return r, srv.URL
}

func unasked(context.Context) ([]byte, error) { return nil, errors.New("unexpected request") }

// What a reader serves is byte for byte what the publisher serves.
func TestReaderServesTheSame(t *testing.T) {
	b := newBench(t, "a.example")
	l := &publishtest.Log{}
	r, behind := read(t, b, l, unasked)
	if _, ok := r.Head(); ok {
		t.Error("a head before anything is published")
	}
	if resp, _ := get(t, behind+"/checkpoint"); resp.StatusCode != 404 {
		t.Errorf("status %d", resp.StatusCode)
	}
	l.Fill(600)
	p, first := serve(t, b, l)
	for _, path := range []string{"/checkpoint", "/tile/0/000", "/tile/0/002.p/88", "/tile/1/000.p/2", "/tile/entries/000", "/tile/entries/002.p/88",
		"/tile/0/002", "/tile/0/002.p/89", "/tile/0/003.p/1", "/tile/7/000.p/1", "/tile/8/000.p/1", "/tile/7/x036/028/797/018/963/968", "/tile/0/x999/x999/x999/x999/999"} {
		want, wantBody := get(t, first+path)
		have, body := get(t, behind+path)
		if have.StatusCode != want.StatusCode || !bytes.Equal(body, wantBody) || have.Header.Get("Cache-Control") != want.Header.Get("Cache-Control") {
			t.Errorf("%s: status %d, want %d", path, have.StatusCode, want.StatusCode)
		}
	}
	want, err := p.Proof(t.Context(), 599)
	if err != nil {
		t.Fatal(err)
	}
	if have, err := r.Proof(t.Context(), 599); err != nil || !bytes.Equal(have.Marshal(), want.Marshal()) {
		t.Errorf("another proof (%v)", err)
	}
	if s := r.Status(t.Context()); s.Size != 600 || s.Height != 600 || s.Broken != nil || !s.Fresh.Equal(now()) {
		t.Errorf("%+v", s)
	}
	l.Fill(1)
	if err := p.RunOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	if h, _ := r.Head(); h.Size != 601 {
		t.Errorf("the reader stays at %d", h.Size)
	}
}

// A head that the ledger here lacks entries of is waited for, and not shown before.
func TestReaderBehind(t *testing.T) {
	b := newBench(t)
	l := &publishtest.Log{}
	l.Fill(5)
	b.mustOpen(l)
	own := l.Prefix(3)
	r, _ := read(t, b, own, unasked)
	if h, ok := r.Head(); ok {
		t.Errorf("a head of %d entries, the ledger has 3", h.Size)
	}
	own.Fill(2)
	if h, _ := r.Head(); h.Size != 5 {
		t.Errorf("size %d", h.Size)
	}
	l.Fill(4)
	b.mustOpen(l)
	if h, _ := r.Head(); h.Size != 5 || r.Status(t.Context()).Broken != nil {
		t.Errorf("size %d, %+v", h.Size, r.Status(t.Context()))
	}
	// The request comes first, then the entries.
	waited := &waited{Log: own, then: func() { own.Fill(4) }}
	r, base := read(t, b, waited, unasked)
	if resp, body := get(t, base+"/tile/0/000.p/9"); resp.StatusCode != 200 {
		t.Errorf("status %d: %s", resp.StatusCode, body)
	}
	if h, _ := r.Head(); h.Size != 9 {
		t.Errorf("size %d", h.Size)
	}
}

// waited does something when it is waited for.
type waited struct {
	*publishtest.Log
	then func()
}

func (w *waited) Wait(ctx context.Context, from uint64) error {
	if w.then != nil {
		w.then()
		w.then = nil
	}
	return w.Log.Wait(ctx, from)
}

// What is published differs from what the ledger here has: the reader says so, and stays with what it has seen.
func TestReaderFindsFork(t *testing.T) {
	b := newBench(t)
	l := &publishtest.Log{}
	l.Fill(5)
	b.mustOpen(l)
	own := l.Prefix(5)
	r, base := read(t, b, own, unasked)
	saved := copyDir(t, b.dir)

	own.Append(publishtest.Toy{})
	l.Fill(1)
	b.mustOpen(l)
	for range 2 {
		if h, _ := r.Head(); h.Size != 5 || !errors.Is(r.Status(t.Context()).Broken, publish.ErrDiffers) {
			t.Fatalf("size %d, %+v", h.Size, r.Status(t.Context()))
		}
	}
	if resp, _ := get(t, base+"/tile/0/000.p/6"); resp.StatusCode != 404 {
		t.Errorf("a tile of it is served: %d", resp.StatusCode)
	}
	if _, err := publish.OpenReader(t.Context(), b.config(), own, unasked); !errors.Is(err, publish.ErrDiffers) {
		t.Errorf("a reader opens on it: %v", err)
	}

	// The folder again as it was: what is shown is what was.
	if err := os.RemoveAll(b.dir); err != nil {
		t.Fatal(err)
	}
	b.dir = saved
	r, _ = read(t, b, own, unasked)
	checkpoint := filepath.Join(b.dir, "checkpoint")
	good, err := os.ReadFile(checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	for what, bad := range map[string][]byte{"another signature": bytes.Replace(good, []byte("\n5\n"), []byte("\n4\n"), 1), "nothing": {}} {
		if err := os.WriteFile(checkpoint, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if h, _ := r.Head(); h.Size != 5 || !errors.Is(r.Status(t.Context()).Broken, publish.ErrDiffers) {
			t.Errorf("%s: size %d, %+v", what, h.Size, r.Status(t.Context()))
		}
	}
	if err := os.WriteFile(checkpoint, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if h, _ := r.Head(); h.Size != 5 || r.Status(t.Context()).Broken != nil {
		t.Errorf("size %d, %+v", h.Size, r.Status(t.Context()))
	}
}

// An older checkpoint in the folder, of a publisher that was late, is no news.
func TestReaderNeverGoesBack(t *testing.T) {
	b := newBench(t)
	l := &publishtest.Log{}
	l.Fill(3)
	b.mustOpen(l)
	r, _ := read(t, b, l, unasked)
	old, err := os.ReadFile(filepath.Join(b.dir, "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	l.Fill(1)
	b.mustOpen(l)
	if h, _ := r.Head(); h.Size != 4 {
		t.Fatalf("size %d", h.Size)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "checkpoint"), old, 0o600); err != nil {
		t.Fatal(err)
	}
	if h, _ := r.Head(); h.Size != 4 || r.Status(t.Context()).Broken != nil {
		t.Errorf("size %d, %+v", h.Size, r.Status(t.Context()))
	}
}

// A reader has the publisher cosign, and answers with that checkpoint once its own ledger has the entries.
func TestReaderCosigns(t *testing.T) {
	b := newBench(t, "a.example")
	l := &publishtest.Log{}
	l.Fill(2)
	p, _ := serve(t, b, l)
	own := &waited{Log: l.Prefix(2)}
	var failure error
	r, base := read(t, b, own, func(ctx context.Context) ([]byte, error) {
		h, err := p.Cosign(ctx)
		return h.Signed, errors.Join(err, failure)
	})
	l.Fill(3)
	own.then = func() { own.Fill(3) }
	h, err := r.Cosign(t.Context())
	if err != nil || h.Size != 5 || len(h.Cosignatures) != 1 {
		t.Fatalf("%+v, %v", h, err)
	}
	if resp, body := post(t, base+"/cosign"); resp != 200 || !strings.HasPrefix(body, fmt.Sprintf("%s\n5\n", origin)) {
		t.Errorf("status %d: %s", resp, body)
	}
	failure = errors.New("nobody publishes")
	if resp, _ := post(t, base+"/cosign"); resp != 503 {
		t.Errorf("status %d", resp)
	}
	r.Close()
	if _, err := r.Cosign(t.Context()); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("closed: %v", err)
	}
}

func post(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Post(url, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}
