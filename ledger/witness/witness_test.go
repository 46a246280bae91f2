package witness

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"github.com/bund-exchange/bund/ledger/publish"
)

const origin = "ledger.example/1"

// history is a log of numbered leaves in memory, with a branch from a size on.
type history struct {
	signer note.Signer
	key    string
}

func newHistory(t testing.TB) history {
	skey, vkey, err := note.GenerateKey(nil, origin)
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	return history{s, vkey}
}

func leafHash(i, branchAt uint64) []byte {
	if i >= branchAt {
		return rfc6962.DefaultHasher.HashLeaf(fmt.Appendf(nil, "other %d", i))
	}
	return rfc6962.DefaultHasher.HashLeaf(fmt.Appendf(nil, "leaf %d", i))
}

const never = 1 << 60

func root(begin, size, branchAt uint64) []byte {
	r := publish.Factory.NewEmptyRange(0)
	for i := begin; i < size; i++ {
		r.Append(leafHash(i, branchAt), nil)
	}
	if r.End() == 0 {
		return rfc6962.DefaultHasher.EmptyRoot()
	}
	h, _ := r.GetRootHash(nil)
	return h
}

func (h history) checkpoint(t testing.TB, size, branchAt uint64) []byte {
	return h.inEpoch(t, 0, size, branchAt)
}

func (h history) inEpoch(t testing.TB, epoch, size, branchAt uint64) []byte {
	c := publish.Checkpoint{Origin: origin, Epoch: epoch, Size: size, Root: [32]byte(root(0, size, branchAt))}
	b, err := note.Sign(&note.Note{Text: c.Text()}, h.signer)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// prove builds a consistency proof node by node, without the code under test.
func prove(t testing.TB, from, to, branchAt uint64) (lines string) {
	if from == 0 || from == to {
		return ""
	}
	n, err := proof.Consistency(from, to)
	if err != nil {
		t.Fatal(err)
	}
	var hs [][]byte
	for _, id := range n.IDs {
		hs = append(hs, node(id, branchAt))
	}
	hs, err = n.Rehash(hs, rfc6962.DefaultHasher.HashChildren)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range hs {
		lines += base64.StdEncoding.EncodeToString(x) + "\n"
	}
	return lines
}

func node(id compact.NodeID, branchAt uint64) []byte {
	begin, end := id.Coverage()
	return root(begin, end, branchAt)
}

func (h history) body(t testing.TB, old, size, branchAt uint64) []byte {
	return fmt.Appendf(nil, "old %d\n%s\n%s", old, prove(t, old, size, branchAt), h.checkpoint(t, size, branchAt))
}

type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func begin(t testing.TB, h history) (*Witness, Config, *clock) {
	skey, _, err := note.GenerateKey(nil, "regulator.example")
	if err != nil {
		t.Fatal(err)
	}
	c := &clock{time.Unix(1_800_000_000, 0)}
	cfg := Config{Dir: filepath.Join(t.TempDir(), "w"), LogKey: h.key, Key: skey, Begin: true, Now: c.now, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	w, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	cfg.Begin = false
	return w, cfg, c
}

func reopen(t *testing.T, w *Witness, cfg Config) *Witness {
	t.Helper()
	w.Close()
	w, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func TestProtocol(t *testing.T) {
	h := newHistory(t)
	w, cfg, c := begin(t, h)
	srv := httptest.NewServer(w.Handler())
	defer srv.Close()
	v, err := fnote.NewVerifierForCosignatureV1(w.VerifierKey())
	if err != nil {
		t.Fatal(err)
	}
	stranger := newHistory(t)
	post := func(body []byte) (int, string, string) {
		r, err := http.Post(srv.URL+"/add-checkpoint", "", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, r.Header.Get("Content-Type"), string(b)
	}
	size := "text/x.tlog.size"
	for _, s := range []struct {
		name string
		body []byte
		code int
		say  string // exact body of a 409 that names a size
	}{
		{"question on an empty witness", h.body(t, 0, 0, never), 200, ""},
		{"first", h.body(t, 0, 100, never), 200, ""},
		{"question", h.body(t, 0, 0, never), 409, "100\n"},
		{"same size again", h.body(t, 100, 100, never), 200, ""},
		{"same size with a proof", append(fmt.Appendf(nil, "old 100\n%s\n", prove(t, 50, 100, never)), h.checkpoint(t, 100, never)...), 422, ""},
		{"growth", h.body(t, 100, 300, never), 200, ""},
		{"old size behind", h.body(t, 100, 400, never), 409, "300\n"},
		{"smaller checkpoint", h.body(t, 200, 250, never), 409, "300\n"},
		{"old above the checkpoint", append([]byte("old 300\n\n"), h.checkpoint(t, 200, never)...), 400, ""},
		{"another history", h.body(t, 300, 400, 250), 422, ""},
		{"another root at the same size", h.body(t, 300, 300, 299), 409, ""},
		{"no proof", append([]byte("old 300\n\n"), h.checkpoint(t, 400, never)...), 422, ""},
		{"another log's key", stranger.body(t, 300, 400, never), 403, ""},
		{"another origin", bytes.Replace(h.body(t, 300, 400, never), []byte("\n"+origin+"\n"), []byte("\nother.example\n"), 1), 404, ""},
		{"leading zero", bytes.Replace(h.body(t, 300, 400, never), []byte("old 300"), []byte("old 0300"), 1), 400, ""},
		{"growth again", h.body(t, 300, 400, never), 200, ""},
	} {
		code, kind, say := post(s.body)
		if code != s.code {
			t.Fatalf("%s: answered %d %q, want %d", s.name, code, say, s.code)
		}
		if s.say != "" && (say != s.say || kind != size) || s.say == "" && kind == size {
			t.Errorf("%s: said %q as %s", s.name, say, kind)
		}
		if code == 200 {
			_, cp, _ := bytes.Cut(s.body, []byte("\n\n"))
			n, err := note.Open(append(bytes.Clone(cp), say...), note.VerifierList(v))
			if err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
			if at, err := fnote.CoSigV1Timestamp(n.Sigs[0]); err != nil || !at.Equal(c.t) {
				t.Errorf("%s: signed at %v, %v", s.name, at, err)
			}
		}
		c.t = c.t.Add(time.Second)
	}
	if last, ok := w.Last(); !ok || last.Size != 400 {
		t.Errorf("last is %d", last.Size)
	}
	if r, err := http.Get(srv.URL + "/add-checkpoint"); err != nil || r.StatusCode != 405 {
		t.Errorf("GET: %v %v", r.StatusCode, err)
	}
	// Both checkpoints of each conflict are kept, and hold.
	files, err := filepath.Glob(filepath.Join(cfg.Dir, evidenceDir, "*"))
	if err != nil || len(files) != 3 {
		t.Fatalf("evidence: %v %v", files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil || bytes.Count(b, []byte("\n"+origin+"\n"))+bytes.Count(b, []byte("\n— "+origin)) < 4 {
			t.Errorf("%s: %v\n%s", f, err, b)
		}
	}
	// A new process knows what was signed.
	w = reopen(t, w, cfg)
	if a := w.add(h.body(t, 0, 0, never)); a.status != 409 || a.size != 400 {
		t.Errorf("after a restart: %+v", a)
	}
}

func TestState(t *testing.T) {
	h := newHistory(t)
	w, cfg, _ := begin(t, h)
	if a := w.add(h.body(t, 0, 7, never)); a.status != 200 {
		t.Fatal(a)
	}
	if _, err := Open(cfg); !errors.Is(err, ErrInUse) {
		t.Errorf("two processes: %v", err)
	}
	w.Close()
	if a := w.add(h.body(t, 7, 8, never)); a.status != 503 {
		t.Errorf("a closed witness answers %d", a.status)
	}
	cfg.Begin = true
	if _, err := Open(cfg); !errors.Is(err, ErrState) {
		t.Errorf("Begin over a state: %v", err)
	}
	cfg.Begin = false
	name := filepath.Join(cfg.Dir, stateName)
	state, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	// Every byte of the state counts.
	for i := range state {
		bad := bytes.Clone(state)
		bad[i] ^= 1
		if err := os.WriteFile(name, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if w, err := Open(cfg); err == nil {
			w.Close()
			t.Fatalf("opened with byte %d of %q changed", i, state)
		}
	}
	for _, c := range []struct {
		name  string
		state []byte
		want  error
	}{{"cut short", state[:len(state)-10], nil}, {"lost", nil, ErrNoState}} {
		os.Remove(name)
		if c.state != nil {
			os.WriteFile(name, c.state, 0o600)
		}
		if _, err := Open(cfg); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	cfg.Dir = filepath.Join(cfg.Dir, "never")
	if _, err := Open(cfg); !errors.Is(err, ErrNoState) {
		t.Errorf("no folder: %v", err)
	}
}

// TestUnsaved: what could not be made durable is not signed, nor anything after it.
func TestUnsaved(t *testing.T) {
	h := newHistory(t)
	w, cfg, _ := begin(t, h)
	// A folder in the way of the new state file: the write fails for root too.
	if err := os.Mkdir(filepath.Join(cfg.Dir, stateName+".new"), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if a := w.add(h.body(t, 0, 7, never)); a.status != 503 || a.lines != "" || strings.Contains(a.why, cfg.Dir) {
			t.Fatalf("%+v", a)
		}
	}
	if err := os.Remove(filepath.Join(cfg.Dir, stateName+".new")); err != nil {
		t.Fatal(err)
	}
	w = reopen(t, w, cfg)
	if a := w.add(h.body(t, 0, 7, never)); a.status != 200 {
		t.Fatalf("%+v", a)
	}
}

func TestKeys(t *testing.T) {
	skey, vkey, err := note.GenerateKey(nil, "w.example")
	if err != nil {
		t.Fatal(err)
	}
	c, err := parseCosigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	want, err := fnote.VKeyToCosignatureV1(vkey)
	if err != nil || c.verifierKey() != want {
		t.Errorf("verifier key %s, want %s, %v", c.verifierKey(), want, err)
	}
	for _, bad := range []string{"", skey[1:], skey[:len(skey)-2], strings.Replace(skey, "w.example", "x.example", 1), strings.Replace(skey, "KEY", "KEX", 1), vkey, skey + "x"} {
		if _, err := parseCosigner(bad); err == nil || len(bad) > 10 && strings.Contains(err.Error(), bad[len(bad)-10:]) {
			t.Errorf("%d characters: %v", len(bad), err)
		}
	}
	h := newHistory(t)
	logSkey, _, _ := note.GenerateKey(nil, origin)
	if _, err := Open(Config{Dir: t.TempDir(), LogKey: h.key, Key: logSkey, Begin: true}); err == nil {
		t.Error("a witness with the log's name opened")
	}
}

func FuzzRequest(f *testing.F) {
	h := newHistory(f)
	f.Add(h.body(f, 0, 5, never))
	f.Add(h.body(f, 5, 9, never))
	f.Add([]byte("old 0\n\n"))
	f.Add([]byte("old 18446744073709551615\n\nx"))
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := parseRequest(b)
		if err != nil {
			return
		}
		// One way to write each request.
		out := fmt.Appendf(nil, "old %d\n", q.old)
		for _, p := range q.proof {
			out = append(out, base64.StdEncoding.EncodeToString(p)+"\n"...)
		}
		out = append(append(out, '\n'), q.signed...)
		if !bytes.Equal(out, b) || len(q.proof) > maxProof {
			t.Fatalf("%q is read, but would be written %q", b, out)
		}
	})
}

// FuzzAdd: whatever is sent, the state only grows along one history.
func FuzzAdd(f *testing.F) {
	h := newHistory(f)
	w, _, _ := begin(f, h)
	if a := w.add(h.body(f, 0, 5, never)); a.status != 200 {
		f.Fatal(a)
	}
	f.Add(h.body(f, 5, 9, 3))
	f.Add(h.body(f, 5, 5, 3))
	f.Add(h.body(f, 4, 5, never))
	f.Fuzz(func(t *testing.T, b []byte) {
		w.add(b)
		if last, _ := w.Last(); last.Root != [32]byte(root(0, last.Size, never)) {
			t.Fatalf("cosigned another history with %q", b)
		}
	})
}

func BenchmarkSameSize(b *testing.B) {
	h := newHistory(b)
	w, _, _ := begin(b, h)
	w.add(h.body(b, 0, 1000, never))
	body := h.body(b, 1000, 1000, never)
	for b.Loop() {
		if a := w.add(body); a.status != 200 {
			b.Fatal(a)
		}
	}
}
