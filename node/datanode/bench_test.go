package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"golang.org/x/sys/unix"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/node/gate"
	"github.com/bund-exchange/bund/node/meter"
	"github.com/bund-exchange/bund/node/vault"
	"github.com/bund-exchange/bund/server/pg/pgtest"
)

// BenchmarkMetered measures what gate and meter add to a call between two nodes: both in this process, 64 callers,
// keep-alive TLS, JSON; each call with a consent of its company. Bare is the same lookup behind the same TLS, by
// net/http alone. CPU is the process's, so both sides together; rounds of bare and metered calls alternate.
//
//	go test ./node/datanode -run '^$' -bench Metered -benchtime 1x
//
// node.metered_us and node.metered_ratio_memory are of a lookup in memory; node.metered_ratio is of 20 fields of a table
// in a PostgreSQL on this machine (pgtest's), whose CPU counts too.
var (
	benchCalls  = flag.Int("figure.calls", 10_000, "calls of a round")
	benchRounds = flag.Int("figure.rounds", 5, "rounds of bare and of metered calls")
	benchTable  = flag.Bool("figure.table", true, "measure the lookup in PostgreSQL, too")
)

const (
	benchCallers = 64
	benchRows    = 1000
)

// benchProduct sells 20 fields; its rows are imported by the benchmark itself.
func benchProduct() (p product, csv string) {
	p = product{schema: "key: usc\nfields:\n  - {name: usc, title: 统一社会信用代码, titleEn: credit code, type: text, format: credit_code}\n"}
	head, rows := "usc", make([]string, benchRows)
	for i := range rows {
		rows[i] = string(benchSubject(i))
	}
	for f := range 20 {
		name := fmt.Sprintf("f%02d", f)
		p.fields = append(p.fields, name)
		p.schema += fmt.Sprintf("  - {name: %s, title: 指标, titleEn: figure, type: decimal, scale: 4}\n", name)
		head += "," + name
		for i := range rows {
			rows[i] += fmt.Sprintf(",%d.%d", (i*7919+f*104729)%1_000_000, f%9+1)
		}
	}
	return p, head + "\n" + strings.Join(rows, "\n") + "\n"
}

func benchSubject(i int) contracts.CreditCode {
	return contracts.SyntheticCreditCode(uint32(900_000 + i))
}

// inMemory answers from a map.
type inMemory map[string]vault.Answer

func (m inMemory) Lookup(_ context.Context, q vault.Query) vault.Answer {
	a, ok := m[q.Key]
	if !ok {
		return vault.Answer{Outcome: vault.NotFound}
	}
	return a
}

func BenchmarkMetered(b *testing.B) {
	p, csv := benchProduct()
	l, err := net.Listen("tcp", "127.0.0.1:0") // a free port, and no proxy
	ok(b, err)
	addr := l.Addr().String()
	l.Close()
	w := newWorldOf(b, p, addr, addr)
	tables := benchTables(b)
	v, err := vault.Open(vault.Config{Dir: b.TempDir(), Now: w.m.clock.now, Tables: tables})
	ok(b, err)
	defer v.Close()
	schema, err := vault.ReadSchema([]byte(p.schema))
	ok(b, err)
	ds, err := v.Import(b.Context(), "bench", schema, vault.CSV(strings.NewReader(csv)), contracts.Millis(w.m.clock.now().UnixMilli())-1)
	ok(b, err)
	memory := inMemory{}
	for i := range benchRows {
		q := vault.Query{Key: string(benchSubject(i)), Fields: p.fields}
		memory[q.Key] = ds.Lookup(b.Context(), q)
	}
	var present atomic.Value
	w.provider.find = func(contracts.ID) (looker, bool) { return present.Load().(*source).looker, true }
	present.Store(&source{memory})

	d := w.m.agree(func(o *contracts.Offer, t *contracts.Terms) {
		o.QuotaCalls, o.MaxStaleSec = 1_000_000_000, 600
		t.UnitPrice, t.WindowAmount, t.WindowCalls, t.FlatFee = 100, 10_000_000, 20_000, 0
	})
	w.provider.start()
	w.bank.start()
	var subjects []contracts.CreditCode
	for i := range benchRows {
		subjects = append(subjects, benchSubject(i))
	}
	for batch := range slices.Chunk(subjects, 200) {
		w.registerConsents(batch, 1_000_000_000)
	}
	bodies := make([][]byte, benchRows)
	for i, s := range subjects {
		c := w.consents[s]
		key, err := hexKey(c.Key)
		ok(b, err)
		bodies[i] = gate.Request{Consent: c.ID, ConsentKey: key, Fields: p.fields, Operation: policy.Query, Purpose: policy.PreLoan, Subject: s}.Bytes()
	}
	until(b, "the agreement at the bank", func() error {
		if w.bank.n.consumer(d.Agreement) == nil {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	receipts := w.bank.n.consumer(d.Agreement).receipts
	metered := func(i int64) error {
		a, err := receipts.Call(b.Context(), meter.NewNonce(w.bank.clock.now()), bodies[i%benchRows])
		if err != nil {
			return err
		}
		return foundIn(a.Body)
	}
	until(b, "the first call", func() error { return metered(benchRows - 1) }) // the last consent is followed
	bare := bareCall(b, func(q vault.Query) vault.Answer { return present.Load().(*source).Lookup(b.Context(), q) }, p.fields, subjects)

	groups := w.provider.n.provider.Groups
	us, memoryRatio := rounds(b, bare, metered, nil, groups)
	ratio := 0.0
	if *benchTable {
		present.Store(&source{ds})
		_, ratio = rounds(b, bare, metered, tables, groups)
	}
	fmt.Printf("figure node.metered_us %.1f us\n", us)
	if *benchTable {
		fmt.Printf("figure node.metered_ratio %.2f ratio\n", ratio)
	}
	fmt.Printf("figure node.metered_ratio_memory %.2f ratio\n", memoryRatio)
}

// source lets an atomic.Value hold lookers of different types.
type source struct{ looker }

func hexKey(s string) ([]byte, error) {
	k := make([]byte, 32)
	_, err := fmt.Sscanf(s, "%x", &k)
	return k, err
}

// benchTables opens the PostgreSQL that the vault looks up in.
func benchTables(b *testing.B) *sqlx.DB {
	db := pgtest.New(b)
	db.SetMaxOpenConns(benchCallers) // first: it bounds what may stay idle
	db.SetMaxIdleConns(benchCallers)
	return db
}

func foundIn(body []byte) error {
	var a Body
	if err := json.Unmarshal(body, &a); err != nil {
		return err
	}
	if a.Outcome != "FOUND" || len(a.Values) != 20 {
		return fmt.Errorf("answered %s with %d values", a.Outcome, len(a.Values))
	}
	return nil
}

// bareCall is the same question without gate and meter.
func bareCall(b *testing.B, look func(vault.Query) vault.Answer, fields []string, subjects []contracts.CreditCode) func(int64) error {
	type question struct {
		Fields    []string `json:"fields"`
		Operation string   `json:"operation"`
		Purpose   string   `json:"purpose"`
		Subject   string   `json:"subject"`
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var q question
		if err == nil {
			err = json.Unmarshal(body, &q)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		a := look(vault.Query{Key: q.Subject, Fields: q.Fields})
		w.Header().Set("Content-Type", "application/json")
		w.Write(canon.Marshal(Body{Outcome: string(a.Outcome), Values: a.Map(), Detail: a.Detail}))
	}))
	s.StartTLS()
	b.Cleanup(s.Close)
	t := s.Client().Transport.(*http.Transport)
	t.MaxIdleConnsPerHost, t.TLSClientConfig.MinVersion = benchCallers, tls.VersionTLS13
	bodies := make([][]byte, len(subjects))
	for i, c := range subjects {
		bodies[i], _ = json.Marshal(question{fields, "query", "pre_loan", string(c)})
	}
	return func(i int64) error {
		resp, err := s.Client().Post(s.URL+"/call", "application/json", bytes.NewReader(bodies[i%int64(len(bodies))]))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		return foundIn(body)
	}
}

// rounds gives the medians of what metering adds to a call, in µs of CPU, and of the ratio.
func rounds(b *testing.B, bare, metered func(int64) error, db *sqlx.DB, groups func() int64) (us, ratio float64) {
	var added, ratios []float64
	drive(b, bare, 4*benchCallers, nil)
	drive(b, metered, 4*benchCallers, nil)
	for range *benchRounds {
		x, before := drive(b, bare, *benchCalls, db), groups()
		y := drive(b, metered, *benchCalls, db)
		added, ratios = append(added, y-x), append(ratios, y/x)
		b.Logf("bare %.1f µs, metered %.1f µs, %.1f receipts in a group", x, y, float64(*benchCalls)/float64(groups()-before))
	}
	slices.Sort(added)
	slices.Sort(ratios)
	return added[len(added)/2], ratios[len(ratios)/2]
}

// drive makes calls and gives the CPU of one in µs.
func drive(b *testing.B, call func(int64) error, calls int, db *sqlx.DB) float64 {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	before := cpuTime(b) + serverTime(b, db)
	for range benchCallers {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(calls); i = next.Add(1) {
				if err := call(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	used := cpuTime(b) + serverTime(b, db) - before
	if b.Failed() {
		b.FailNow()
	}
	return float64(used.Nanoseconds()) / 1e3 / float64(calls)
}

func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	ok(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// serverTime is the CPU of the processes that serve our connections to PostgreSQL. They stay as long as the pool.
func serverTime(b *testing.B, db *sqlx.DB) (sum time.Duration) {
	if db == nil {
		return 0
	}
	var pids []int
	ok(b, db.SelectContext(b.Context(), &pids, `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'`))
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		ok(b, err)
		_, rest, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest)
		for _, f := range fields[11:13] { // utime, stime, in hundredths of a second
			ticks, err := strconv.ParseInt(f, 10, 64)
			ok(b, err)
			sum += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	return sum
}
