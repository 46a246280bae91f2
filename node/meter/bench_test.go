package meter

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The benchmarks measure what metering adds to a call over TLS with keep-alive and JSON, 64 callers, both sides in
// this process: compare cpu-µs/call of Metered with that of Bare in one run.
//
//	go test -run - -bench 'Call' -benchtime 5s ./node/meter

const benchCallers = 64

type benchCompany struct {
	Code, Name, Region, Industry, TaxGrade, Status, Legal, Phone, Address, Bank string
	Founded, Staff                                                              int
	Revenue, Profit, Vat, Income, Social, Power, Debt, Late                     int64
}

type benchRequest struct {
	Subject string   `json:"subject"`
	Purpose string   `json:"purpose"`
	Fields  []string `json:"fields"`
}

var benchData = sync.OnceValue(func() map[string]*benchCompany {
	m := map[string]*benchCompany{}
	for i := range 10000 {
		n := int64(i)
		c := &benchCompany{Code: fmt.Sprintf("91310000MA%08d", i), Name: fmt.Sprintf("上海第%d贸易有限公司", i), Region: "310115", Industry: "F5199",
			TaxGrade: "B", Status: "active", Legal: "张三", Phone: "02100000000", Address: "上海市浦东新区世纪大道100号", Bank: "310000000000",
			Founded: 2001 + i%20, Staff: i % 300, Revenue: n * 12345, Profit: n * 345, Vat: n * 123, Income: n * 45, Social: n * 67, Power: n * 89,
			Debt: n * 10, Late: n % 3}
		m[c.Code] = c
	}
	return m
})

func benchLookup(body []byte) ([]byte, Outcome) {
	var r benchRequest
	if json.Unmarshal(body, &r) != nil {
		return []byte(`{}`), BadRequest
	}
	c := benchData()[r.Subject]
	if c == nil {
		return []byte(`{"found":false}`), NotFound
	}
	b, _ := json.Marshal(c)
	return b, Found
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// drive makes b.N calls from 64 callers and reports CPU of both sides.
func drive(b *testing.B, call func(body []byte) ([]byte, error)) {
	one := func(i int64) {
		body, _ := json.Marshal(benchRequest{fmt.Sprintf("91310000MA%08d", i*7919%10500), "credit.preloan", []string{"Revenue", "Profit", "Vat", "TaxGrade"}})
		a, err := call(body)
		if err != nil {
			b.Error(err)
			return
		}
		var c benchCompany
		if err := json.Unmarshal(a, &c); err != nil {
			b.Error(err)
		}
	}
	run := func(total int64) {
		var next atomic.Int64
		var wg sync.WaitGroup
		for range benchCallers {
			wg.Go(func() {
				for i := next.Add(1); i <= total; i = next.Add(1) {
					one(i)
				}
			})
		}
		wg.Wait()
	}
	run(2 * benchCallers)
	b.ResetTimer()
	before, start := cpuTime(), time.Now()
	run(int64(b.N))
	used, wall := cpuTime()-before, time.Since(start)
	b.StopTimer()
	b.ReportMetric(float64(used.Nanoseconds())/1e3/float64(b.N), "cpu-µs/call")
	b.ReportMetric(float64(b.N)/wall.Seconds(), "calls/s")
}

func benchServer(b *testing.B, h http.Handler) *httptest.Server {
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // connections that the client dialled and didn't need
	s.StartTLS()
	b.Cleanup(s.Close)
	s.Client().Transport.(*http.Transport).MaxIdleConnsPerHost = 2 * benchCallers
	return s
}

func BenchmarkBareCall(b *testing.B) {
	m := http.NewServeMux()
	m.HandleFunc("POST /call", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		a, _ := benchLookup(body)
		w.Header().Set("Content-Type", "application/json")
		w.Write(a)
	})
	s := benchServer(b, m)
	drive(b, func(body []byte) ([]byte, error) {
		rs, err := s.Client().Post(s.URL+"/call", "application/json", bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		defer rs.Body.Close()
		return io.ReadAll(rs.Body)
	})
}

func BenchmarkMeteredCall(b *testing.B) {
	_, pk, _ := ed25519.GenerateKey(rand.Reader)
	_, ck, _ := ed25519.GenerateKey(rand.Reader)
	terms := Terms{Agreement: "000102030405060708090a0b0c0d0e0f", PriceMicro: priceMicro, BillNotFound: true, WindowFen: 1 << 30, WindowCalls: 20000,
		EscrowFen: 1 << 40, QuotaCalls: 1 << 40, TTLSec: 600, SkewSec: 30, Provider: pub(pk), Consumer: pub(ck)}
	dir := b.TempDir()
	p, err := OpenProvider(ProviderConfig{Dir: filepath.Join(dir, "provider"), Fence: 1, Key: pk, SealKey: make([]byte, 32), Log: quiet})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	l, err := p.Open(context.Background(), Fixed(terms), Backend{
		Admit: func(context.Context, *Call) *Refusal { return nil },
		Execute: func(_ context.Context, c *Call) (Result, error) {
			a, o := benchLookup(c.Body)
			return Result{Body: a, Outcome: o, AsOf: 1700000000000}, nil
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	m := http.NewServeMux()
	m.Handle("/agreements/a/{op}", l.Handler())
	s := benchServer(b, m)
	j, err := OpenJournal(filepath.Join(dir, "consumer.db"), make([]byte, 32))
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	c, err := OpenConsumer(ConsumerConfig{Schedule: Fixed(terms), Key: ck, RequestKey: make([]byte, 32), Journal: j, Client: s.Client(),
		URL: s.URL + "/agreements/a", Log: quiet})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { c.Run(ctx) })
	groups := p.Groups()
	drive(b, func(body []byte) ([]byte, error) {
		a, err := c.Call(ctx, NewNonce(time.Now()), body)
		if err != nil {
			return nil, err
		}
		return a.Body, nil
	})
	b.ReportMetric(float64(b.N)/float64(p.Groups()-groups), "calls/group")
	stop()
	wg.Wait()
}
