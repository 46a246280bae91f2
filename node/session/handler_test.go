package session

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
)

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func newRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }

func ask(s *Shelf, peer contracts.ID, method, path string, body []byte) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	r.Header.Set("Test-Peer", string(peer))
	w := newRecorder()
	s.Handler(asBank).ServeHTTP(w, r)
	return w
}

// TestHandlerRefuses: each thing that a request can be wrong in, by its code.
func TestHandlerRefuses(t *testing.T) {
	s := openShelf(t, t.TempDir(), nil)
	x := create(t, s, terms(bank))
	fill(t, x, 2)
	at := "/agreements/" + string(agreement) + "/sessions/" + string(sid)
	for _, c := range []struct {
		name, method, path string
		peer               contracts.ID
		body               []byte
		code               contracts.Code
	}{
		{"another peer", "GET", at + "/frames", provider, nil, Unknown},
		{"no peer", "PUT", at + "/frames/2", "", nil, Unknown},
		{"another session", "GET", "/agreements/" + string(agreement) + "/sessions/" + string(bank) + "/frames", bank, nil, Unknown},
		{"another agreement", "GET", "/agreements/" + string(bank) + "/sessions/" + string(sid) + "/frames", bank, nil, Unknown},
		{"number with a zero", "PUT", at + "/frames/02", bank, nil, Malformed},
		{"number with a sign", "GET", at + "/frames/+1", bank, nil, Malformed},
		{"negative number", "GET", at + "/frames/-1", bank, nil, Malformed},
		{"number above any", "PUT", at + "/frames/1099511627776", bank, nil, Malformed},
		{"wait too long", "GET", at + "/frames/0?wait=31", bank, nil, Malformed},
		{"wait with a zero", "GET", at + "/frames/0?wait=01", bank, nil, Malformed},
		{"another parameter", "GET", at + "/frames/0?wait=1&x=1", bank, nil, Malformed},
		{"frame too large", "PUT", at + "/frames/2", bank, make([]byte, MaxFrameBytes+1), TooLarge},
		{"gap", "PUT", at + "/frames/3", bank, nil, Gap},
		{"changed", "PUT", at + "/frames/1", bank, []byte("x"), Changed},
		{"end that is none", "POST", at + "/end", bank, []byte(`{"code":"a", "x":""}`), Malformed},
		{"end with a text for a code", "POST", at + "/end", bank, canon.Marshal(ending{"psi.size\nfoo"}), Malformed},
	} {
		w := ask(s, c.peer, c.method, c.path, c.body)
		var p problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != http.StatusConflict || p.Code != c.code {
			t.Errorf("%s: %d %s, want %s", c.name, w.Code, w.Body, c.code)
		}
	}
	if w := ask(s, bank, "DELETE", at+"/frames/0", nil); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("DELETE: %d", w.Code)
	}
	if _, ended := x.Outcome(); ended || x.received() != 2 {
		t.Error("a refused request changed the session")
	}
}

// TestHandlerServes: what a client that knows nothing of this package would see.
func TestHandlerServes(t *testing.T) {
	s := openShelf(t, t.TempDir(), nil)
	x := create(t, s, terms(bank))
	fill(t, x, 2)
	at := "/agreements/" + string(agreement) + "/sessions/" + string(sid)
	want := func(w *httptest.ResponseRecorder, code int, body string) {
		t.Helper()
		if w.Code != code || w.Body.String() != body {
			t.Errorf("%d %q, want %d %q", w.Code, w.Body, code, body)
		}
	}
	want(ask(s, bank, "GET", at+"/frames", nil), 200, `{"code":"","ended":false,"received":"2","sent":"2"}`)
	want(ask(s, bank, "GET", at+"/frames/1", nil), 200, string(frame(2)))
	want(ask(s, bank, "GET", at+"/frames/2?wait=0", nil), 204, "")
	want(ask(s, bank, "PUT", at+"/frames/1", frame(1)), 204, "")
	want(ask(s, bank, "PUT", at+"/frames/2", []byte("new")), 204, "")
	want(ask(s, bank, "GET", at+"/frames", nil), 200, `{"code":"","ended":false,"received":"3","sent":"2"}`)
	want(ask(s, bank, "POST", at+"/end", canon.Marshal(ending{"psi.size"})), 204, "")
	want(ask(s, bank, "GET", at+"/frames", nil), 200, `{"code":"psi.size","ended":true,"received":"3","sent":"2"}`)
	if w := ask(s, bank, "PUT", at+"/frames/3", nil); w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), `"session.ended"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	want(ask(s, bank, "POST", at+"/end", canon.Marshal(ending{})), 204, "")
}

func FuzzStatus(f *testing.F) {
	f.Add([]byte(`{"code":"","ended":false,"received":"3","sent":"2"}`))
	f.Add([]byte(`{"code":"psi.size","ended":true,"received":"3","sent":"-2"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var st status
		if canon.Unmarshal(b, &st) == nil && (!bytes.Equal(canon.Marshal(st), b) || st.Received < 0 || st.Sent < 0) {
			t.Fatalf("%s is read as %+v", b, st)
		}
	})
}

func FuzzTerms(f *testing.F) {
	f.Add(canon.Marshal(terms(bank)))
	f.Add(canon.Marshal(Outcome{Code: "psi.size", ByPeer: true, Received: 1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if tm, err := parseTerms(b); err == nil && !bytes.Equal(canon.Marshal(tm), b) {
			t.Fatalf("%s is read as %+v", b, tm)
		}
		if o, err := parseOutcome(b); err == nil && !bytes.Equal(canon.Marshal(o), b) {
			t.Fatalf("%s is read as %+v", b, o)
		}
	})
}

func FuzzFrameLog(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 0, 0, 0, 0, 9})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		path := dir + "/in"
		file, _, err := openFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteAt(b, 0); err != nil {
			t.Fatal(err)
		}
		file.Close()
		l, err := openFrameLog(openFile, path, 1<<20)
		if err != nil {
			return
		}
		defer l.f.Close()
		for i := range l.count() {
			at, end := l.span(i)
			if _, err := l.read(i, at, end); err != nil {
				t.Fatalf("frame %d was counted and can't be read: %v", i, err)
			}
		}
	})
}
