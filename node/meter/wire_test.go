package meter

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// An id is good for one request, once, for its life.
func TestRequestIDs(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	serve := func(id RequestID, body string) (*Answer, error) {
		return w.l.Serve(ctx, &Call{ID: id, Epoch: 1, Body: []byte(body)})
	}
	id := w.requestID(`"a"`)
	first, err := serve(id, `"a"`)
	if err != nil {
		t.Fatal(err)
	}
	again, err := serve(id, `"a"`)
	if err != nil || !bytes.Equal(again.Body, first.Body) || !bytes.Equal(again.Receipt.Leaf, first.Receipt.Leaf) || w.execs.Load() != 1 {
		t.Fatalf("lost answer wasn't served again free: %v", err)
	}
	if _, err := serve(id, `"altered"`); !refused(err, IDReused) {
		t.Errorf("altered request: %v", err)
	}
	other := id
	other[20]++
	if _, err := serve(other, `"a"`); !refused(err, IDReused) {
		t.Errorf("altered tag: %v", err)
	}
	for name, at := range map[string]time.Duration{"old": -2 * time.Minute, "future": time.Minute} {
		x := w.c.requests.make(NewNonce(time.Now().Add(at)), Digest{}, 1)
		if _, err := serve(x, `"a"`); !refused(err, RequestExpired) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.l.Serve(ctx, &Call{ID: w.requestID("x"), Epoch: 2, Body: []byte("x")}); !refused(err, EpochMismatch) {
		t.Errorf("epoch: %v", err)
	}
	for _, when := range []string{"acknowledged", "restarted"} {
		w.settle()
		if _, err := serve(id, `"a"`); !refused(err, AlreadyAcknowledged) {
			t.Errorf("%s: %v", when, err)
		}
		if _, err := serve(id, `"altered"`); !refused(err, IDReused) {
			t.Errorf("%s, altered: %v", when, err)
		}
		w.restartProvider()
	}
	if w.execs.Load() != 1 || w.l.State().Size != 1 {
		t.Error("executed or billed more than once")
	}
}

// A refused call and a failed call are billed nothing and leave no leaf, and give back what they reserved.
func TestRefusedAndFailedCalls(t *testing.T) {
	w := newWorld(t, windowOf(2))
	w.refuse = func(c *Call) *Refusal {
		if bytes.Contains(c.Body, []byte("forbidden")) {
			return &Refusal{Code: "GRANT_FIELD", Detail: "field is not granted"}
		}
		return nil
	}
	for range 5 {
		if err := w.call(1, "forbidden"); !refused(err, "GRANT_FIELD") {
			t.Fatal(err)
		}
		if err := w.call(1, "fails"); !errors.Is(err, ErrOutcomeUnknown) {
			t.Fatal(err)
		}
	}
	w.must(1, "noconsent")
	w.must(1, "missing")
	w.settle()
	w.agreed(2, 1)
}

func TestMalformedMessages(t *testing.T) {
	w := newWorld(t)
	id := w.requestID("{}").String()
	ask := func(method, path, body string, header ...string) int {
		r := httptest.NewRequest(method, "https://provider.example/agreements/a"+path, strings.NewReader(body))
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		rec := httptest.NewRecorder()
		w.l.Handler().ServeHTTP(rec, r)
		return rec.Code
	}
	for name, x := range map[string]struct{ got, want int }{
		"no id":             {ask("POST", "/call", "{}", HeaderEpoch, "1"), 400},
		"short id":          {ask("POST", "/call", "{}", HeaderEpoch, "1", HeaderRequest, id[:42]), 400},
		"padded id":         {ask("POST", "/call", "{}", HeaderEpoch, "1", HeaderRequest, id+"="), 400},
		"loose last bits":   {ask("POST", "/call", "{}", HeaderEpoch, "1", HeaderRequest, strings.Repeat("A", 42)+"B"), 400},
		"no epoch":          {ask("POST", "/call", "{}", HeaderRequest, id), 400},
		"epoch with zero":   {ask("POST", "/call", "{}", HeaderEpoch, "01", HeaderRequest, id), 400},
		"too long":          {ask("POST", "/call", strings.Repeat("x", MaxRequestBytes+1), HeaderEpoch, "1", HeaderRequest, id), 400},
		"short ack":         {ask("POST", "/ack", "x"), 400},
		"long ack":          {ask("POST", "/ack", strings.Repeat("x", SignedSize+1)), 400},
		"ack of epoch 0":    {ask("POST", "/ack", strings.Repeat("\x00", SignedSize)), 400},
		"leaves of nowhere": {ask("GET", "/leaves?epoch=1", ""), 400},
		"leaves from −1":    {ask("GET", "/leaves?epoch=1&from=-1", ""), 400},
		"leaves, doubled":   {ask("GET", "/leaves?epoch=1&from=0&from=1", ""), 400},
		"answer of nowhere": {ask("GET", "/answer?epoch=1&seq=x", ""), 400},
		"answer past end":   {ask("GET", "/answer?epoch=1&seq=9", ""), 409},
		"leaves, no epoch":  {ask("GET", "/leaves?epoch=9&from=0", ""), 409},
		"unknown":           {ask("GET", "/call", ""), 404},
		"state":             {ask("GET", "/state", ""), 200},
	} {
		if x.got != x.want {
			t.Errorf("%s: status %d, want %d", name, x.got, x.want)
		}
	}
	if _, err := ParseReceipt(base64.RawStdEncoding.EncodeToString(make([]byte, receiptSize-1))); err == nil {
		t.Error("short receipt was read")
	}
	for _, b := range []string{`{}`, `{"code":"X"}`, `{"type":"/docs/reference/refusals#X","title":"refused","status":409,"code":"X","code":"X"}` + "\n",
		`{"type":"/docs/reference/refusals#X","title":"refused","status":409,"CODE":"X"}` + "\n"} {
		if r, err := readRefusal([]byte(b)); err == nil {
			t.Errorf("%s was read as %v", b, r)
		}
	}
	if r, err := readRefusal([]byte(`{"type":"/docs/reference/refusals#X","title":"refused","status":409,"code":"X","size":"3"}` + "\n")); err != nil || r.Size != 3 {
		t.Error(err)
	}
}
