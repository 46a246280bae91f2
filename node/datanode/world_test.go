package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/node/compute"
)

// childEnv makes the test's binary run a node: its value is "offset-ns config".
const childEnv = "DATANODE_TEST_CHILD"

func TestMain(m *testing.M) {
	if compute.IsChild(os.Args) {
		os.Exit(compute.Main())
	}
	if v := os.Getenv(childEnv); v != "" {
		offset, config, _ := strings.Cut(v, " ")
		fmt.Fprintln(os.Stderr, runChild(offset, config))
		os.Exit(1)
	}
	testscript.Main(m, map[string]func(){"datanode": main})
}

func runChild(offset, config string) error {
	ns, err := strconv.ParseInt(offset, 10, 64)
	if err != nil {
		return err
	}
	cfg, err := ReadConfig(config)
	if err != nil {
		return err
	}
	n, err := openNode(cfg, newLog(os.Stderr), func() time.Time { return time.Now().Add(time.Duration(ns)) })
	if err != nil {
		return err
	}
	return n.Run(context.Background())
}

const testSchema = `key: usc
asOf: asof
fields:
  - {name: usc, title: 统一社会信用代码, titleEn: credit code, type: text, format: credit_code}
  - {name: asof, title: 截止日, titleEn: as of, type: date}
  - {name: invoiced_12m, title: 近12月开票额, titleEn: invoiced in 12 months, type: decimal, unit: yuan, scale: 2}
  - {name: red_ratio, title: 红冲率, titleEn: share of red invoices, type: decimal, scale: 4}
  - {name: tax_score, title: 纳税评分, titleEn: tax score, type: integer}
`

// companies are the subjects in the test's dataset; one more is in none.
var companies = func() (cs []contracts.CreditCode) {
	for i := range 21 {
		cs = append(cs, contracts.SyntheticCreditCode(uint32(7000+i)))
	}
	return cs
}()

func testCSV() string {
	var b strings.Builder
	b.WriteString("usc,asof,invoiced_12m,red_ratio,tax_score\n")
	for i, c := range companies[:20] {
		fmt.Fprintf(&b, "%s,2026-01-31,%d.25,0.01,%d\n%s,2026-02-28,%d.75,0.02,%d\n", c, 1000+i, 60+i, c, 2000+i, 70+i)
	}
	return b.String()
}

// proxy stands between two nodes on the wire.
type proxy struct {
	l      net.Listener
	target atomic.Value // string
	lose   atomic.Int64 // answers that are lost with their connection

	mu    sync.Mutex
	conns map[net.Conn]bool
}

func newProxy(t testing.TB) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	p := &proxy{l: l, conns: map[net.Conn]bool{}}
	p.target.Store("")
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.carry(c) })
		}
	})
	t.Cleanup(func() { l.Close(); p.cut(); wg.Wait() })
	return p
}

func (p *proxy) carry(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", p.target.Load().(string))
	if err != nil {
		return
	}
	defer out.Close()
	p.mu.Lock()
	p.conns[in], p.conns[out] = true, true
	p.mu.Unlock()
	go func() { io.Copy(out, in); out.Close() }()
	buf := make([]byte, 64<<10)
	for {
		n, err := out.Read(buf)
		if err != nil || p.lose.Load() > 0 && p.lose.Add(-1) >= 0 {
			return
		}
		if _, err := in.Write(buf[:n]); err != nil {
			return
		}
	}
}

// cut breaks every connection.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
	clear(p.conns)
}

// testNode is a data node, in this process or in one of its own.
type testNode struct {
	t      testing.TB
	m      *testMarket
	name   string
	config string
	clock  *testClock
	proxy  *proxy // to its peers' side, if it serves

	patience time.Duration // of local requests, if not the node's own
	find     func(contracts.ID) (looker, bool)

	n    *Node // in this process
	stop context.CancelFunc
	done chan error

	child *exec.Cmd

	local string
	log   *logBuffer
}

// logBuffer keeps what a node logs.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (x *testNode) start() {
	x.t.Helper()
	cfg, err := ReadConfig(x.config)
	ok(x.t, err)
	x.n, err = openNode(cfg, newLog(x.log), x.clock.now)
	ok(x.t, err)
	if x.patience > 0 {
		x.n.patience = x.patience
	}
	if x.find != nil {
		x.n.find = x.find
	}
	ctx, stop := context.WithCancel(context.Background())
	x.stop, x.done = stop, make(chan error, 1)
	go func(n *Node) { x.done <- n.Run(ctx) }(x.n)
	select {
	case <-x.n.listening:
	case err := <-x.done:
		x.t.Fatal(err)
	}
	x.local = x.n.localAddr
	if x.proxy != nil {
		x.proxy.target.Store(x.n.peerAddr)
	}
}

// end ends a node in this process, cleanly.
func (x *testNode) end() {
	x.t.Helper()
	if x.n == nil {
		return
	}
	x.stop()
	if err := <-x.done; err != nil {
		x.t.Errorf("%s: %v", x.name, err)
	}
	if err := x.n.Close(); err != nil {
		x.t.Errorf("%s: %v", x.name, err)
	}
	x.n = nil
	if x.proxy != nil {
		x.proxy.target.Store("")
		x.proxy.cut()
	}
}

// startChild starts the node as a process of its own.
func (x *testNode) startChild() {
	x.t.Helper()
	x.child = exec.Command(os.Args[0])
	x.child.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", childEnv, x.clock.offset.Load(), x.config))
	errs, err := x.child.StderrPipe()
	ok(x.t, err)
	ok(x.t, x.child.Start())
	lines := bufio.NewScanner(io.TeeReader(errs, x.log))
	for lines.Scan() {
		if l := lines.Text(); strings.Contains(l, "data node is up") {
			x.local = field(l, "local")
			if x.proxy != nil {
				x.proxy.target.Store(field(l, "peers"))
			}
			go io.Copy(x.log, errs)
			return
		}
	}
	x.t.Fatalf("%s did not start:\n%s", x.name, x.log)
}

func field(line, name string) string {
	_, rest, _ := strings.Cut(line, " "+name+"=")
	v, _, _ := strings.Cut(rest, " ")
	return v
}

// kill ends the process as a power cut would, but for what the system had not written.
func (x *testNode) kill() {
	if x.child == nil {
		return
	}
	x.child.Process.Kill()
	x.child.Wait()
	x.child = nil
	if x.proxy != nil {
		x.proxy.target.Store("")
		x.proxy.cut()
	}
}

// ask calls the node's local API.
func (x *testNode) ask(method, path string, body, out any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	token, err := readSeed(filepath.Join(filepath.Dir(x.config), "node", "local.token"), false)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+x.local+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+hex.EncodeToString(token[:]))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if b, err = io.ReadAll(resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		p := &refusedAnswer{body: b}
		if err := json.Unmarshal(b, &p.problem); err != nil {
			return fmt.Errorf("status %d: %s", resp.StatusCode, b)
		}
		if p.Status != resp.StatusCode {
			return fmt.Errorf("status %d in the body of a %d", p.Status, resp.StatusCode)
		}
		return p
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, out)
}

type refusedAnswer struct {
	problem
	body []byte
}

func (r *refusedAnswer) Error() string { return string(r.body) }

func codeOf(err error) string {
	var r *refusedAnswer
	switch {
	case err == nil:
		return ""
	case errors.As(err, &r):
		return r.Code
	}
	return "error: " + err.Error()
}

// sub runs a subtest that the world belongs to while it lasts.
func (w *world) sub(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) {
		was := w.t
		w.t = t
		defer func() { w.t = was }()
		f(t)
	})
}

// followed waits until a node has followed all that is on the ledger now.
func (w *world) followed(x *testNode) {
	w.t.Helper()
	height, err := w.m.ledger.Height(w.t.Context())
	ok(w.t, err)
	until(w.t, "following", func() error {
		var s struct{ Followed uint64 }
		if err := x.ask(http.MethodGet, "/v1/status", nil, &s); err != nil {
			return err
		}
		if s.Followed < height {
			return fmt.Errorf("%d of %d", s.Followed, height)
		}
		return nil
	})
}

// until asks again until there is no error.
func until(t testing.TB, what string, ask func() error) {
	t.Helper()
	end := time.Now().Add(30 * time.Second)
	for {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

type consentHeld struct {
	ID  contracts.ID `json:"consent"`
	Key string       `json:"consentKey"`
}

type callAnswer struct {
	Outcome string            `json:"outcome"`
	Values  map[string]string `json:"values"`
	Nonce   string            `json:"nonce"`
	AsOf    int64             `json:"asOf"`
	Receipt localReceipt      `json:"receipt"`
}

// world is a market with a provider's and a bank's node, and consents of all companies.
type world struct {
	t        testing.TB
	m        *testMarket
	provider *testNode
	bank     *testNode
	consents map[contracts.CreditCode]consentHeld
}

func newTestWorld(t testing.TB, modes ...policy.Operation) *world {
	t.Helper()
	p := newProxy(t)
	w := newWorldOf(t, product{schema: testSchema, fields: contractstest.Fields, csv: testCSV(), modes: modes}, p.l.Addr().String(), "127.0.0.1:0")
	w.provider.proxy = p
	return w
}

// newWorldOf has the provider's node listen, while other nodes reach it at addr.
func newWorldOf(t testing.TB, sold product, addr, listen string) *world {
	t.Helper()
	w := &world{t: t, m: newTestMarket(t, "https://"+addr, sold), consents: map[contracts.CreditCode]consentHeld{}}
	m := w.m
	w.provider = w.node("provider", m.Provider, listen, fmt.Sprintf("datasets:\n  - product: %s\n    dataset: tax\n%s", m.listing.Product, sold.config))
	w.bank = w.node("bank", m.Buyer, "", "")
	if sold.csv != "" {
		w.importCSV(sold.csv)
	}
	return w
}

// node makes an actor's node; it ends with the test.
func (w *world) node(name string, a *contractstest.Actor, listen, more string) *testNode {
	t, m := w.t, w.m
	x := &testNode{t: t, m: m, name: name, config: m.folder(a, listen, more), clock: new(testClock), log: new(logBuffer)}
	x.clock.offset.Store(m.clock.offset.Load())
	t.Cleanup(func() {
		x.kill()
		x.end()
		if t.Failed() {
			t.Logf("log of the %s:\n%s", name, x.log)
		}
	})
	return x
}

// newTrade is a world whose nodes run and trade under one deal, with two companies' consents and so many billed calls.
func newTrade(t testing.TB) (w *world, d *contractstest.Deal, billed int64) {
	t.Helper()
	w = newTestWorld(t)
	d = w.m.agree(nil)
	w.provider.start()
	w.bank.start()
	w.registerConsents(companies[:2], 1000)
	return w, d, w.ready(d)
}

// importCSV imports the dataset by the command, with the provider's node stopped.
func (w *world) importCSV(csv string) {
	w.t.Helper()
	dir := w.t.TempDir()
	schema, file := filepath.Join(dir, "schema.yaml"), filepath.Join(dir, "tax.csv")
	ok(w.t, os.WriteFile(schema, []byte(w.m.product.schema), 0o600))
	ok(w.t, os.WriteFile(file, []byte(csv), 0o600))
	var out, errs bytes.Buffer
	if code := run(w.t.Context(), []string{"import", "--config", w.provider.config, "--dataset", "tax", "--schema", schema, "--csv", file}, nil, &out, &errs); code != 0 {
		w.t.Fatalf("import: exit %d: %s", code, errs.String())
	}
}

// registerConsents gets consents of companies from the bank's channel.
func (w *world) registerConsents(cs []contracts.CreditCode, maxCalls int64) {
	w.t.Helper()
	now := w.bank.clock.now()
	var in []map[string]any
	for _, c := range cs {
		in = append(in, map[string]any{"product": w.m.listing.Product, "node": w.m.Provider.Node, "subject": c, "purpose": "pre_loan", "fields": w.m.product.fields,
			"from": now.Add(-time.Minute).UnixMilli(), "to": now.Add(48 * time.Hour).UnixMilli(), "maxCalls": maxCalls,
			"evidence": map[string]any{"signerRole": "legal_representative", "realName": "bank_face_to_face", "textVersion": "v3",
				"original": contracts.HashOf("test/original", []byte(c)), "caSignature": contracts.HashOf("test/ca", []byte(c))}})
	}
	var a struct {
		Consents []consentHeld `json:"consents"`
	}
	ok(w.t, w.bank.ask(http.MethodPost, "/v1/consents", map[string]any{"consents": in}, &a))
	for i, c := range a.Consents {
		w.consents[cs[i]] = c
	}
}

type query map[string]any

// call asks for company i under a deal.
func (w *world) call(d *contractstest.Deal, i int, edit func(query)) (*callAnswer, error) {
	c := w.consents[companies[i]]
	q := query{"agreement": d.Agreement, "subject": companies[i], "fields": []string{"invoiced_12m", "tax_score"}, "purpose": "pre_loan", "consent": c.ID, "consentKey": c.Key}
	if edit != nil {
		edit(q)
	}
	a := new(callAnswer)
	if err := w.bank.ask(http.MethodPost, "/v1/calls", q, a); err != nil {
		return nil, err
	}
	return a, nil
}

// ready waits until a call under the deal is answered; it gives how many were.
func (w *world) ready(d *contractstest.Deal) int64 {
	w.t.Helper()
	until(w.t, "the first call", func() error { _, err := w.call(d, 0, nil); return err })
	return 1
}

// refused demands that eight equal calls are refused with one code.
func (w *world) refused(code string, d *contractstest.Deal, i int, edit func(query)) {
	w.t.Helper()
	for try := range 8 {
		_, err := w.call(d, i, edit)
		if got := codeOf(err); got != code {
			w.t.Fatalf("try %d: got %q, want %q", try, got, code)
		}
	}
}

// stopped waits until a stop has reached the provider's node; it gives how many calls went through before.
func (w *world) stopped(code string, d *contractstest.Deal, i int) (billed int64) {
	w.t.Helper()
	until(w.t, code, func() error {
		_, err := w.call(d, i, nil)
		switch got := codeOf(err); got {
		case code:
			return nil
		case "":
			billed++
			return errors.New("still served")
		default:
			return err
		}
	})
	return billed
}

func (w *world) view(x *testNode, d *contractstest.Deal) (localAgreement, error) {
	var a struct {
		Agreements []localAgreement `json:"agreements"`
	}
	if err := x.ask(http.MethodGet, "/v1/agreements", nil, &a); err != nil {
		return localAgreement{}, err
	}
	for _, v := range a.Agreements {
		if v.Agreement == d.Agreement {
			return v, nil
		}
	}
	return localAgreement{}, fmt.Errorf("the %s doesn't know the agreement", x.name)
}

// agreed waits until both nodes stand at the same size, all acknowledged, with so many billed calls.
func (w *world) agreed(d *contractstest.Deal, billed int64) localAgreement {
	w.t.Helper()
	var p, c localAgreement
	until(w.t, "both nodes agree", func() (err error) {
		if p, err = w.view(w.provider, d); err != nil {
			return err
		}
		if c, err = w.view(w.bank, d); err != nil {
			return err
		}
		switch {
		case p.Provider == nil || c.Consumer == nil:
			return errors.New("a log is not open")
		case c.Breach != "" || len(c.Consumer.Objections) > 0:
			w.t.Fatalf("breach %q, objections %v", c.Breach, c.Consumer.Objections)
		case p.Provider.Acked != p.Provider.Size || c.Consumer.Acked != p.Provider.Size || c.Consumer.Confirmed != p.Provider.Size:
			return fmt.Errorf("provider %+v, bank %+v", p.Provider, c.Consumer)
		}
		return nil
	})
	if p.Provider.Totals != c.Consumer.Totals || p.Provider.Totals.Calls != billed {
		w.t.Fatalf("provider %+v, bank %+v, want %d billed calls", p.Provider, c.Consumer, billed)
	}
	return p
}

// dealOf is a deal as the contract's text needs it.
func dealOf(offer contracts.Offer, terms contracts.Terms, o contracts.Opening) *contractstest.Deal {
	return &contractstest.Deal{Offer: offer, Terms: terms, Salt: o.Salt}
}
