package publish_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/client"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/publish"
	"github.com/bund-exchange/bund/ledger/publish/publishtest"
)

func serve(t *testing.T, b *bench, l *publishtest.Log) (*publish.Publisher, string) {
	p, err := publish.Open(t.Context(), b.config(), l)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", p.Handler())
	mux.Handle("/entries", p.EntriesHandler(publish.Audience{
		Caller: func(r *http.Request) (contracts.ID, error) {
			if r.Header.Get("Member") == "unknown" {
				return "", errors.New("unknown")
			}
			return contracts.ID(r.Header.Get("Member")), nil
		},
		MayRead: publish.InAudience,
	}))
	srv := httptest.NewServer(mux)
	t.Cleanup(func() {
		srv.Close()
		p.Close()
	})
	return p, srv.URL
}

func get(t *testing.T, url string, header ...string) (*http.Response, []byte) {
	t.Helper()
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, b
}

func TestServe(t *testing.T) {
	b := newBench(t, "a.example")
	l := &publishtest.Log{}
	p, base := serve(t, b, l)
	if r, _ := get(t, base+"/checkpoint"); r.StatusCode != 404 {
		t.Errorf("checkpoint of an empty log: %d", r.StatusCode)
	}
	l.Fill(600)
	if err := p.RunOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.Fill(10) // not published
	const forever = "public, max-age=31536000, immutable"
	for _, c := range []struct {
		path   string
		code   int
		length int
		cache  string
		kind   string
	}{
		{"/checkpoint", 200, -1, "no-store", "text/plain; charset=utf-8"},
		{"/tile/0/000", 200, 8192, forever, "application/octet-stream"},
		{"/tile/0/002.p/88", 200, 88 * 32, forever, "application/octet-stream"},
		{"/tile/1/000.p/2", 200, 64, forever, "application/octet-stream"},
		{"/tile/entries/001", 200, 256 * 37, forever, "application/octet-stream"},
		{"/tile/entries/002.p/88", 200, 88 * 37, forever, "application/octet-stream"},
		{"/tile/entries/002.p/98", 404, -1, "", ""},
		{"/tile/0/002", 404, -1, "", ""},
		{"/tile/0/000.p/5", 404, -1, "", ""},
		{"/tile/00/000", 404, -1, "", ""},
		{"/tile/+0/000", 404, -1, "", ""},
		{"/tile/0/0", 404, -1, "", ""},
		{"/tile/0/x000/000", 404, -1, "", ""},
		{"/tile/0/000.p/0", 404, -1, "", ""},
		{"/tile/0/002.p/088", 404, -1, "", ""},
		{"/tile/64/000", 404, -1, "", ""},
		{"/tile/9/000", 404, -1, "", ""},
		{"/tile/0/000/", 404, -1, "", ""},
		{"/tile/0/", 404, -1, "", ""},
		{"/tile/0", 404, -1, "", ""},
		{"/tile/entries/..%2f..%2fcheckpoint", 404, -1, "", ""},
		{"/tile/0/%2e%2e/entries/000", 404, -1, "", ""},
		{"/tile/..%2f..%2f..%2f..%2fetc/passwd", 404, -1, "", ""},
		{"/tile/0/000%00", 404, -1, "", ""},
		{"/lock", 404, -1, "", ""},
		{"/checkpoint.new", 404, -1, "", ""},
	} {
		r, body := get(t, base+c.path)
		if r.StatusCode != c.code || c.length >= 0 && len(body) != c.length {
			t.Errorf("%s: %d with %d bytes, want %d with %d", c.path, r.StatusCode, len(body), c.code, c.length)
		}
		if c.code == 200 && (r.Header.Get("Cache-Control") != c.cache || r.Header.Get("Content-Type") != c.kind) {
			t.Errorf("%s: %v", c.path, r.Header)
		}
	}
	// Raw paths that an HTTP client would clean up never leave the folder.
	for _, path := range []string{"/tile/../checkpoint.new", "/tile/0/../../lock", "//tile//0//000", "/tile/entries/../../lock"} {
		if answer := rawGet(t, base, path); strings.Contains(answer, " 200 ") {
			t.Errorf("%s: %s", path, answer)
		}
	}
	// A foreign client reads and proves it.
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	f, err := client.NewHTTPFetcher(u, nil)
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := client.FetchRangeNodes(t.Context(), 600, f.ReadTile)
	if err != nil {
		t.Fatal(err)
	}
	r, err := publish.Factory.NewRange(0, 600, nodes)
	if err != nil {
		t.Fatal(err)
	}
	h, _ := p.Head()
	if root, _ := r.GetRootHash(nil); !bytes.Equal(root, h.Root[:]) {
		t.Error("another client reads another root")
	}
	bundle, err := client.GetEntryBundle(t.Context(), f.ReadEntryBundle, 2, 600)
	if err != nil || len(bundle.Entries) != 88 || !bytes.Equal(bundle.Entries[87], l.Leaf(599)) {
		t.Errorf("another client reads another bundle: %v", err)
	}
	resp, err := http.Post(base+"/cosign", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 200 || !strings.HasPrefix(string(body), origin+"\n610\n") {
		t.Errorf("cosign: %d %s", resp.StatusCode, body)
	}
}

func rawGet(t *testing.T, base, path string) string {
	c, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path)
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(b), "\r\n")
	return line
}

var bank, rival = publishtest.ID(1), publishtest.ID(2)

func page(t *testing.T, base, query, member string) publish.Page {
	t.Helper()
	r, b := get(t, base+"/entries?"+query, "Member", member)
	if r.StatusCode != 200 || r.Header.Get("Cache-Control") != "private, no-store" {
		t.Fatalf("%s: %d %s", query, r.StatusCode, b)
	}
	g, err := publish.ParsePage(b)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func positions(g publish.Page) string {
	var ps []uint64
	for _, b := range g.Bodies {
		ps = append(ps, b.Position)
	}
	return fmt.Sprint(ps)
}

func TestEntries(t *testing.T) {
	b := newBench(t)
	l := &publishtest.Log{}
	_, base := serve(t, b, l)
	toy := func(who ...contracts.ID) publishtest.Toy { return publishtest.Toy{Audience: who, Objects: who} }
	l.Append(publishtest.Toy{Public: true}, toy(bank), toy(rival), toy(bank, rival), toy(), toy(rival))
	for _, c := range []struct {
		member, query, bodies string
		next                  uint64
	}{
		{"", "from=0&to=6", "[0]", 6},
		{string(bank), "from=0&to=6", "[0 1 3]", 6},
		{string(rival), "from=0&to=6", "[0 2 3 5]", 6},
		{string(rival), "from=1&to=3", "[2]", 3},
		{string(bank), "from=4&to=5", "[]", 5},
		{string(bank), "from=0&to=9223372036854775807", "[0 1 3]", 6},
		{string(bank), "from=6&to=7", "[]", 6},
		{string(bank), "from=100&to=200&wait=1ms", "[]", 100},
	} {
		g := page(t, base, c.query, c.member)
		if positions(g) != c.bodies || g.Next != c.next {
			t.Errorf("%s as %q: %s next %d, want %s next %d", c.query, c.member, positions(g), g.Next, c.bodies, c.next)
		}
		for _, x := range g.Bodies {
			if e, err := ledger.DecodeEntry(x.Encoded); err != nil || e.Position != x.Position {
				t.Errorf("%s: body at %d: %v", c.query, x.Position, err)
			}
		}
	}
	for _, query := range []string{"", "from=0", "to=1", "from=1&to=1", "from=2&to=1", "from=-1&to=1", "from=01&to=2", "from=0&to=1&wait=31s",
		"from=0&to=1&wait=-1s", "from=0&to=1&wait=x", "from=0&to=1&from=0", "from=0&to=1&x=1", "from=0&to=9223372036854775808", "from=%zz&to=1", "from=0;to=1"} {
		if r, _ := get(t, base+"/entries?"+query); r.StatusCode != 400 {
			t.Errorf("%q: %d", query, r.StatusCode)
		}
	}
	if r, _ := get(t, base+"/entries?from=0&to=1", "Member", "unknown"); r.StatusCode != 401 {
		t.Errorf("unknown caller: %d", r.StatusCode)
	}
	if r, err := http.Post(base+"/entries?from=0&to=1", "", nil); err != nil || r.StatusCode != 405 {
		t.Errorf("POST: %v", err)
	}
	l.Fail(errors.New("disk at /var/lib/ledger"))
	if r, body := get(t, base+"/entries?from=0&to=1"); r.StatusCode != 503 || strings.Contains(string(body), "disk") {
		t.Errorf("a failing ledger: %d %s", r.StatusCode, body)
	}
}

// TestEntriesPaging: at most 2,000 positions or some megabytes a page, all of them in the end.
func TestEntriesPaging(t *testing.T) {
	b := newBench(t)
	l := &publishtest.Log{}
	_, base := serve(t, b, l)
	l.Fill(4500)
	big := publishtest.Toy{Public: true, Writes: []contracts.Write{{Key: "k", Value: make([]byte, 3<<20)}}}
	l.Append(big, big, big)
	var lengths, bodies []uint64
	for at := uint64(0); at < 4503; {
		g := page(t, base, fmt.Sprintf("from=%d&to=1000000", at), "")
		lengths, bodies = append(lengths, g.Next-g.From), append(bodies, uint64(len(g.Bodies)))
		at = g.Next
	}
	if s := fmt.Sprint(lengths, bodies); s != "[2000 2000 502 1] [2000 2000 502 1]" {
		t.Error(s)
	}
}

// TestEntriesWait: a held request is answered when the ledger grows, ahead of the checkpoint.
func TestEntriesWait(t *testing.T) {
	b := newBench(t)
	l := &publishtest.Log{}
	p, base := serve(t, b, l)
	l.Fill(3)
	got := make(chan publish.Page)
	go func() { got <- page(t, base, "from=3&to=10&wait=30s", string(bank)) }()
	l.Append(publishtest.Toy{Audience: []contracts.ID{bank}})
	if g := <-got; positions(g) != "[3]" || g.Next != 4 {
		t.Errorf("%s next %d", positions(g), g.Next)
	}
	if h, _ := p.Head(); h.Size != 0 {
		t.Error("the checkpoint was there")
	}
	// A caller that goes away, and a publisher that closes, end the wait.
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", base+"/entries?from=4&to=10&wait=30s", nil)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := http.DefaultClient.Do(r); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	go func() { got <- page(t, base, "from=4&to=10&wait=30s", "") }()
	p.Close()
	if g := <-got; len(g.Bodies) != 0 || g.Next != 4 {
		t.Errorf("%s next %d", positions(g), g.Next)
	}
}

func TestProof(t *testing.T) {
	b := newBench(t, "a.example", "b.example", "c.example")
	l := &publishtest.Log{}
	l.Fill(1000)
	p, err := publish.Open(t.Context(), b.config(), l)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var keys []string
	for _, w := range b.witnesses {
		keys = append(keys, w.Key)
	}
	policy, err := publish.NewPolicy(b.key, keys, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []uint64{0, 1, 255, 256, 511, 998, 999} {
		pr, err := p.Proof(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		pr.Extra = l.Entry(i).Encoded
		file := pr.Marshal()
		read, err := publish.ParseProof(file)
		if err != nil || !bytes.Equal(read.Marshal(), file) {
			t.Fatalf("%d: %v", i, err)
		}
		e, v, err := read.VerifyEntry(policy, read.Extra)
		if err != nil || e.Position != i || !v.Witnessed || !v.SeenAt.Equal(now()) || v.Size != 1000 {
			t.Fatalf("%d: %v %+v", i, err, v)
		}
		if _, err := read.Verify(policy, l.Leaf((i+1)%1000)); err == nil {
			t.Errorf("%d: another leaf verifies", i)
		}
		if _, _, err := read.VerifyEntry(policy, l.Entry((i+1)%1000).Encoded); err == nil {
			t.Errorf("%d: another entry verifies", i)
		}
		read.Index++
		if _, err := read.Verify(policy, l.Leaf(i)); err == nil {
			t.Errorf("%d: another index verifies", i)
		}
	}
	if _, err := p.Proof(t.Context(), 1000); err == nil {
		t.Error("proof of what isn't published")
	}
	// Every byte of a proof file counts, but for what is not authenticated: the extra data, the signatures of unknown
	// keys, and whether two of three cosignatures are enough.
	pr, err := p.Proof(t.Context(), 77)
	if err != nil {
		t.Fatal(err)
	}
	file := pr.Marshal()
	for i := range file {
		bad := bytes.Clone(file)
		bad[i] ^= 2
		read, err := publish.ParseProof(bad)
		if err != nil {
			continue
		}
		if v, err := read.Verify(policy, l.Leaf(77)); err == nil && v.Witnessed && len(v.Cosignatures) == 3 {
			t.Fatalf("byte %d of\n%s\nmay change", i, file)
		}
	}
	// Without a quorum it is the log's word only.
	alone, err := publish.NewPolicy(b.key, keys[:1], 1)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := pr.Verify(alone, l.Leaf(77)); err != nil || !v.Witnessed {
		t.Errorf("one of one: %+v %v", v, err)
	}
	none, err := publish.NewPolicy(b.key, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := pr.Verify(none, l.Leaf(77)); err != nil || v.Witnessed {
		t.Errorf("no witness: %+v %v", v, err)
	}
}

func TestConsistency(t *testing.T) {
	b := newBench(t)
	l := &publishtest.Log{}
	l.Fill(700)
	p, err := publish.Open(t.Context(), b.config(), l)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	root := func(n uint64) (h [32]byte) {
		if n == 0 {
			return [32]byte(rfc6962.DefaultHasher.EmptyRoot())
		}
		r := publish.Factory.NewEmptyRange(0)
		for i := range n {
			r.Append(publish.LeafHash(l.Leaf(i)), nil)
		}
		x, _ := r.GetRootHash(nil)
		return [32]byte(x)
	}
	for _, s := range [][2]uint64{{0, 700}, {1, 700}, {256, 700}, {300, 512}, {699, 700}, {700, 700}} {
		hs, err := p.Consistency(t.Context(), s[0], s[1])
		if err != nil {
			t.Fatal(err)
		}
		if err := publish.VerifyConsistency(s[0], s[1], hs, root(s[0]), root(s[1])); err != nil {
			t.Errorf("%v: %v", s, err)
		}
		if s[0] > 0 && publish.VerifyConsistency(s[0], s[1], hs, root(s[0]-1), root(s[1])) == nil {
			t.Errorf("%v: another root verifies", s)
		}
	}
	for _, s := range [][2]uint64{{1, 701}, {3, 2}} {
		if _, err := p.Consistency(t.Context(), s[0], s[1]); err == nil {
			t.Errorf("%v has a proof", s)
		}
	}
}
