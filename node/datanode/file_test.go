package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/node/gate"
	"github.com/bund-exchange/bund/node/meter"
	"github.com/bund-exchange/bund/node/peer"
	"github.com/bund-exchange/bund/privacy/envelope"
)

const directorySchema = `key: usc
asOf: asof
fields:
  - {name: asof, title: 截止日, titleEn: as of, type: date}
  - {name: usc, title: 统一社会信用代码, titleEn: credit code, type: text, format: credit_code}
  - {name: name, title: 名称, titleEn: name, type: text}
  - {name: staff, title: 从业人数, titleEn: staff, type: integer, nullable: true, empty: 不详, emptyEn: unknown}
`

// directoryRows are enough for three chunks.
const directoryRows = 16_000

func directoryCSV() string {
	var b strings.Builder
	b.WriteString("staff,usc,asof,name\n")
	for i := range directoryRows {
		staff := fmt.Sprint(i)
		if i == 77 {
			staff = ""
		}
		fmt.Fprintf(&b, "%s,%s,2026-02-28,\"机构 %d, \"\"%s\"\"\"\n", staff, contracts.SyntheticCreditCode(uint32(20_000+i)), i, strings.Repeat("x", 100))
	}
	return b.String()
}

// newFileWorld sells a directory as sealed files.
func newFileWorld(t testing.TB) *world {
	t.Helper()
	p := newProxy(t)
	w := newWorldOf(t, product{schema: directorySchema, fields: []string{"name", "staff", "usc"}, csv: directoryCSV(), modes: []policy.Operation{policy.File},
		edit: func(f *contracts.Facts) {
			f.Grade, f.CreditInfo, f.Policy.ConsentRequired = "L1", false, false
			f.Modes, f.Policy.Operations = []policy.Operation{policy.File}, []policy.Operation{policy.File}
		}}, p.l.Addr().String(), "127.0.0.1:0")
	w.provider.proxy = p
	return w
}

// addHPKE makes a node's HPKE key and adds it to its member.
func (m *testMarket) addHPKE(x *testNode, a *contractstest.Actor) *envelope.Key {
	m.t.Helper()
	seed := m.Random()
	ok(m.t, os.WriteFile(filepath.Join(filepath.Dir(x.config), "node", "keys", "hpke.seed"), []byte(hex.EncodeToString(seed[:])+"\n"), 0o600))
	k := envelope.NewKey(seed)
	m.catchUp()
	ok(m.t, m.Do(a.ID, "key.add", contracts.KeyAdd{Key: contracts.KeySpec{Key: k.Public(), Purpose: contracts.PurposeHPKE}}, nil, a.Admin, a.Check))
	return k
}

type fileAnswer struct {
	Outcome string         `json:"outcome"`
	File    contracts.Hash `json:"file"`
	Bytes   int64          `json:"bytes"`
	Chunks  int64          `json:"chunks"`
	Rows    int64          `json:"rows"`
	Have    int64          `json:"have"`
	Nonce   string         `json:"nonce"`
	Receipt localReceipt   `json:"receipt"`
}

func (w *world) file(d *contractstest.Deal, edit func(query)) (*fileAnswer, error) {
	q := query{"agreement": d.Agreement, "fields": []string{"usc", "staff"}, "purpose": "pre_loan"}
	if edit != nil {
		edit(q)
	}
	a := new(fileAnswer)
	if err := w.bank.ask(http.MethodPost, "/v1/files", q, a); err != nil {
		return nil, err
	}
	return a, nil
}

func (w *world) agreeFile() *contractstest.Deal {
	return w.m.agree(func(o *contracts.Offer, _ *contracts.Terms) {
		o.Policy.Operations, o.Policy.ConsentRequired = []policy.Operation{policy.File}, false
	})
}

// fetch runs datanode fetch by the node's clock, with a configuration that has the address the node got. It gives what
// the command printed.
func (x *testNode) fetch(args ...string) (string, error) {
	var errs bytes.Buffer
	err := fetchFile(&command{ctx: x.t.Context(), args: append([]string{"--config", x.asking()}, args...), err: &errs, log: quiet, now: x.clock.now})
	return errs.String(), err
}

// TestSealedDelivery walks a dataset from one node's vault into a file of the other's, over connections that break.
func TestSealedDelivery(t *testing.T) {
	t.Parallel()
	w := newFileWorld(t)
	m := w.m
	d := w.agreeFile()
	w.provider.start()
	w.bank.start()
	if _, err := w.file(d, nil); codeOf(err) != "hpke.key" {
		t.Errorf("without a key: %v", err)
	}
	w.bank.end()
	key := m.addHPKE(w.bank, m.Buyer)
	w.bank.start()
	w.followed(w.provider)

	out := filepath.Join(t.TempDir(), "directory.csv")
	fetch := func(to string) (string, error) {
		return w.bank.fetch("--agreement", string(d.Agreement), "--fields", "usc,staff,name", "--purpose", "pre_loan", "--out", to)
	}
	until(t, "the first file", func() error {
		said, err := fetch(out)
		if err == nil && !strings.HasSuffix(said, fmt.Sprintf("3 of 3 MiB\n%d rows in %s\n", directoryRows, out)) {
			t.Errorf("said %s", said)
		}
		return err
	})
	billed := int64(1)
	got, err := os.ReadFile(out)
	ok(t, err)
	w.sub(t, "content", func(t *testing.T) { checkDirectory(t, got) })
	for _, left := range []string{".fetch", ".part"} {
		if _, err := os.Stat(out + left); err == nil {
			t.Errorf("%s is left", left)
		}
	}
	if _, err := fetch(out); err == nil || !strings.Contains(err.Error(), "there already") {
		t.Errorf("a second time into one file: %v", err)
	}
	w.agreed(d, billed)

	// An answer that is lost and connections that break between the chunks: what was paid once is fetched once.
	a, err := w.file(d, nil)
	ok(t, err)
	billed++
	if a.Chunks != 1 || a.Rows != directoryRows || a.Have != 0 || a.Outcome != "FOUND" || a.Receipt.Units != 1 {
		t.Errorf("%+v", a)
	}
	w.sub(t, "broken", func(t *testing.T) { billed += w.brokenDelivery(t, d) })
	w.sub(t, "refused", func(t *testing.T) { w.fileRefusals(t, d, a, key) })
	w.sub(t, "damaged here", func(t *testing.T) { w.damagedDelivery(t, a) })
	w.agreed(d, billed)

	// Only the newest files are kept, and after a revocation none is served.
	b, err := w.file(d, nil)
	ok(t, err)
	for range keptFiles {
		_, err := w.file(d, nil)
		ok(t, err)
	}
	billed += 1 + keptFiles
	if err := w.chunks(b.File, 1, nil); codeOf(err) != "file.unknown" {
		t.Errorf("an old file: %v", err)
	}
	a, err = w.file(d, func(q query) { q["fields"] = []string{"name", "staff", "usc"} })
	ok(t, err)
	billed++
	ok(t, w.chunks(a.File, 1, nil))
	w.agreed(d, billed)
	m.catchUp()
	ok(t, m.Do(m.Regulator.ID, "freeze.order", contracts.FreezeOrder{Target: d.Agreement, Order: contracts.HashOf("test/order"), Reason: "test"}, nil, m.Regulator.Two()...))
	w.followed(w.provider)
	if err := w.chunks(a.File, 1, nil); codeOf(err) != "freeze.frozen" {
		t.Errorf("frozen: %v", err)
	}
	if _, err := w.file(d, nil); codeOf(err) != "freeze.frozen" {
		t.Errorf("frozen: %v", err)
	}
	ok(t, m.Do(m.Regulator.ID, "freeze.lift", contracts.FreezeOrder{Target: d.Agreement, Order: contracts.HashOf("test/lift"), Reason: "test"}, nil, m.Regulator.Two()...))
	w.followed(w.provider)
	ok(t, w.chunks(a.File, 9, nil))

	// A revoked key is sealed to no more, and what was sealed to it still opens.
	ok(t, m.Do(m.Buyer.ID, "key.revoke", contracts.KeyRevoke{Key: key.ID(), Reason: "test"}, nil, m.Buyer.Admin))
	w.followed(w.provider)
	if _, err := w.file(d, nil); codeOf(err) != "hpke.key" {
		t.Errorf("a revoked key: %v", err)
	}
	if n, err := w.content(a.File); err != nil || n != a.Bytes {
		t.Errorf("opened %d of %d bytes, %v", n, a.Bytes, err)
	}
	for name, log := range map[string]string{"provider": w.provider.log.String(), "bank": w.bank.log.String()} {
		if strings.Contains(log, "机构") || strings.Contains(log, string(contracts.SyntheticCreditCode(20_000))) {
			t.Errorf("the %s's log holds content", name)
		}
	}
}

// checkDirectory holds the file against the rows that were imported.
func checkDirectory(t *testing.T, got []byte) {
	lines := map[string]bool{}
	for i := range directoryRows {
		staff := fmt.Sprint(i)
		if i == 77 {
			staff = ""
		}
		lines[fmt.Sprintf("%s,%s,\"机构 %d, \"\"%s\"\"\"", contracts.SyntheticCreditCode(uint32(20_000+i)), staff, i, strings.Repeat("x", 100))] = true
	}
	all := strings.Split(strings.TrimSuffix(string(got), "\n"), "\n")
	if all[0] != "usc,staff,name" || len(all) != directoryRows+1 {
		t.Fatalf("%d lines under %q", len(all), all[0])
	}
	for _, l := range all[1:] {
		if !lines[l] {
			t.Fatalf("%q was not imported, or is there twice", l)
		}
		delete(lines, l)
	}
}

func (w *world) chunks(file contracts.Hash, most int, out any) error {
	return w.bank.ask(http.MethodPost, "/v1/files/"+string(file)+"/chunks", map[string]int{"most": most}, out)
}

// content reads an opened file and gives its size.
func (w *world) content(file contracts.Hash) (int64, error) {
	token, err := readSeed(filepath.Join(filepath.Dir(w.bank.config), "node", "local.token"), false)
	if err != nil {
		return 0, err
	}
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "http://"+w.bank.local+"/v1/files/"+string(file)+"/content", nil)
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "Bearer "+hex.EncodeToString(token[:]))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		p := new(refusedAnswer)
		p.body, _ = io.ReadAll(resp.Body)
		json.Unmarshal(p.body, &p.problem)
		return 0, p
	}
	return io.Copy(io.Discard, resp.Body)
}

// brokenDelivery fetches through connections that break and nodes that are killed, and pays once.
func (w *world) brokenDelivery(t *testing.T, d *contractstest.Deal) (billed int64) {
	all := func(q query) { q["fields"] = []string{"name", "usc", "staff"} }
	w.provider.proxy.lose.Store(1)
	a, err := w.file(d, all)
	ok(t, err)
	w.provider.proxy.lose.Store(0)
	b, err := w.file(d, func(q query) { all(q); q["nonce"] = a.Nonce })
	ok(t, err)
	if b.File != a.File || b.Receipt != a.Receipt || a.Chunks != 3 {
		t.Fatalf("%+v, then %+v", a, b)
	}
	var at struct{ Have, Chunks int64 }
	ok(t, w.chunks(a.File, 1, &at))
	w.provider.proxy.cut() // idle connections
	w.provider.proxy.lose.Store(2)
	w.chunks(a.File, 1, &at) // may fail; what came stays
	w.provider.proxy.lose.Store(0)
	// Cut in the middle of a chunk, and both nodes stop.
	if at.Have < 1 || at.Have > 2 {
		t.Fatalf("%+v", at)
	}
	part := filepath.Join(filepath.Dir(w.bank.config), "node", "files", "fetched", string(a.File)+".sealed")
	w.bank.end()
	f, err := os.OpenFile(part, os.O_APPEND|os.O_WRONLY, 0)
	ok(t, err)
	_, err = f.Write(make([]byte, 1000)) // of a write that a crash tore
	ok(t, err)
	ok(t, f.Close())
	w.provider.end()
	w.bank.start()
	if _, err := w.content(a.File); codeOf(err) != "file.unknown" {
		t.Errorf("opened a file that isn't whole: %v", err)
	}
	until(t, "a failure while the provider is away", func() error {
		if err := w.chunks(a.File, 1, nil); codeOf(err) != "failure" {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
	w.provider.start()
	until(t, "the rest", func() error { return w.chunks(a.File, 9, &at) })
	if at.Have != 3 {
		t.Errorf("%+v", at)
	}
	if n, err := w.content(a.File); err != nil || n != a.Bytes {
		t.Errorf("%d of %d bytes, %v", n, a.Bytes, err)
	}

	// The command too goes on where it was, with what it paid for: here behind a call whose answer it never saw.
	out := filepath.Join(t.TempDir(), "again.csv")
	st := fileState{Request: localFileRequest{Agreement: d.Agreement, Fields: []string{"name", "usc", "staff"}, Purpose: policy.PreLoan, Nonce: a.Nonce}}
	ok(t, writeState(out+".fetch", &st))
	_, err = w.bank.fetch("--agreement", string(d.Agreement), "--fields", "name,usc,staff", "--purpose", "pre_loan", "--out", out)
	ok(t, err)
	if info, err := os.Stat(out); err != nil || info.Size() != a.Bytes {
		t.Error(info, err)
	}
	ok(t, writeState(out+"2.fetch", &st))
	_, err = w.bank.fetch("--agreement", string(d.Agreement), "--fields", "usc", "--purpose", "pre_loan", "--out", out+"2")
	if err == nil || !strings.Contains(err.Error(), "another fetch") {
		t.Error(err)
	}
	return 1
}

// fileRefusals are those that lie in the request, as the bank's systems make it and as a dishonest node could.
func (w *world) fileRefusals(t *testing.T, d *contractstest.Deal, a *fileAnswer, key *envelope.Key) {
	for code, edit := range map[string]func(query){
		"policy.purpose": func(q query) { q["purpose"] = "post_loan" }, "policy.field": func(q query) { q["fields"] = []string{"legal_rep"} },
		"agreement.unknown": func(q query) { q["agreement"] = w.m.Buyer.ID }, "request.malformed": func(q query) { q["fields"] = []string{} },
	} {
		if _, err := w.file(d, edit); codeOf(err) != code {
			t.Errorf("%s: %v", code, err)
		}
	}
	n := w.bank.n
	ask := func(payload []byte) error {
		_, err := n.use(t.Context(), d.Agreement, meter.NewNonce(n.now()), gate.Request{Fields: []string{"usc"}, Operation: policy.File, Purpose: policy.PreLoan, Payload: payload})
		return err
	}
	for name, c := range map[string]struct {
		payload []byte
		code    contracts.Code
	}{
		"another member's key": {canon.Marshal(recipient{w.m.Provider.Receipt.Public.ID()}), "hpke.key"}, "a receipt key": {canon.Marshal(recipient{w.m.Buyer.Receipt.Public.ID()}), "hpke.key"},
		"no key": {canon.Marshal(recipient{d.Agreement}), "hpke.key"}, "no id": {[]byte("{}"), "request.malformed"}, "more": {append(canon.Marshal(recipient{key.ID()}), ' '), "request.malformed"},
	} {
		if err := ask(c.payload); err == nil || !strings.Contains(err.Error(), string(c.code)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Chunks: of the file as it was sealed, for the buyer only, by their own numbers.
	link, err := peer.Pins{Key: n.keys.TLS, Read: n.readBoth, Now: n.now}.Link(w.m.Provider.Node)
	ok(t, err)
	defer link.CloseIdleConnections()
	get := func(method, path string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, w.m.NodeURL+"/agreements/"+string(d.Agreement)+"/file/"+path, nil)
		ok(t, err)
		resp, err := link.RoundTrip(r)
		ok(t, err)
		defer resp.Body.Close()
		return resp.StatusCode
	}
	file := string(a.File)
	if got := get(http.MethodGet, file+"/0"); got != http.StatusOK {
		t.Errorf("the chunk: %d", got)
	}
	for path, want := range map[string]int{file + "/1": 409, file + "/99999999": 409, file + "/00": 404, file + "/-1": 404, file + "/+0": 404, file: 404, file + "/0/0": 404,
		strings.Repeat("0", 64) + "/0": 409, "..%2f..%2fkeys/0": 404, file[:63] + "/0": 404} {
		if got := get(http.MethodGet, path); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	if got := get(http.MethodPut, file+"/0"); got != 404 {
		t.Errorf("PUT: %d", got)
	}
	for _, path := range []string{"/v1/files/xyz", "/v1/files/" + strings.Repeat("0", 64)} {
		if err := w.bank.ask(http.MethodGet, path, nil, nil); err == nil {
			t.Errorf("%s was answered", path)
		}
	}
}

// damagedDelivery damages what was fetched: it isn't given, and is fetched again.
func (w *world) damagedDelivery(t *testing.T, a *fileAnswer) {
	ok(t, w.chunks(a.File, 9, nil))
	part := filepath.Join(filepath.Dir(w.bank.config), "node", "files", "fetched", string(a.File)+".sealed")
	b, err := os.ReadFile(part)
	ok(t, err)
	b[len(b)/2] ^= 1
	ok(t, os.WriteFile(part, b, 0o600))
	if _, err := w.content(a.File); codeOf(err) != "failure" {
		t.Errorf("damaged: %v", err)
	}
	var at struct{ Have int64 }
	ok(t, w.bank.ask(http.MethodGet, "/v1/files/"+string(a.File), nil, &at))
	if at.Have != 0 {
		t.Errorf("%d chunks of a damaged file", at.Have)
	}
	ok(t, w.chunks(a.File, 9, nil))
	if n, err := w.content(a.File); err != nil || n != a.Bytes {
		t.Errorf("%d bytes, %v", n, err)
	}
	ok(t, w.bank.ask(http.MethodDelete, "/v1/files/"+string(a.File), nil, nil))
	if _, err := w.content(a.File); codeOf(err) != "file.unknown" {
		t.Errorf("forgotten: %v", err)
	}
}

// An empty value alone in its line is a row too.
func TestRowsOfOneColumn(t *testing.T) {
	c := newRowCounter()
	io.WriteString(c, "staff\n1\n\"\"\n2\n")
	if n, err := c.end(); n != 4 || err != nil {
		t.Error(n, err)
	}
	c = newRowCounter()
	io.WriteString(c, "a,b\n1,2\n3\n")
	if _, err := c.end(); err == nil {
		t.Error("took a row of another width")
	}
}
