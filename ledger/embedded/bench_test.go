package embedded

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/ledgertest"
)

// Benchmarks print figures and assert nothing about time:
//
//	go test ./ledger/embedded -run '^$' -bench . -benchtime 1x -timeout 20m
var (
	benchSec     = flag.Int("figure.sec", 60, "seconds of ledger.submit256; the others take a part of it")
	benchDir     = flag.String("figure.dir", "", "folder on the disk to measure; a temporary one by default")
	benchEntries = flag.Int("figure.entries", 1_000_000, "entries of ledger.reopen_1m_s")
)

func figure(name string, value any, unit string) {
	switch v := value.(type) {
	case float64:
		fmt.Printf("figure %s %.3f %s\n", name, v, unit)
	default:
		fmt.Printf("figure %s %v %s\n", name, v, unit)
	}
}

var machineOnce sync.Once

// bench gives a folder on the measured disk and prints, once, what machine it is.
func benchFolder(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp(*benchDir, "bund-bench")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	machineOnce.Do(func() {
		var u unix.Utsname
		unix.Uname(&u)
		var st unix.Statfs_t
		unix.Statfs(dir, &st)
		cpus, _ := os.ReadFile("/proc/cpuinfo")
		model := "unknown"
		for line := range strings.Lines(string(cpus)) {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
				model = strings.TrimSpace(v)
			}
		}
		load, _ := os.ReadFile("/proc/loadavg")
		fmt.Printf("\nmachine %s; %d cores; kernel %s; file system %#x; load %s\n", model, strings.Count(string(cpus), "processor\t"),
			unix.ByteSliceToString(u.Release[:]), st.Type, strings.TrimSpace(string(load)))
	})
	return dir
}

func cpu() time.Duration {
	var r unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// load submits commands from many callers until they are used up or the time is, and gives how many were acknowledged.
func load(b *testing.B, l *Ledger, subs []contracts.Submission, callers int, d time.Duration) (acked int, took time.Duration, latency []time.Duration) {
	b.Helper()
	var next atomic.Int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	began := time.Now()
	for range callers {
		wg.Go(func() {
			var mine []time.Duration
			for time.Since(began) < d {
				i := int(next.Add(1)) - 1
				if i >= len(subs) {
					break
				}
				t := time.Now()
				if _, err := l.Submit(context.Background(), subs[i]); err != nil {
					b.Errorf("command %d: %v", i, err)
					break
				}
				mine = append(mine, time.Since(t))
			}
			mu.Lock()
			latency = append(latency, mine...)
			mu.Unlock()
		})
	}
	wg.Wait()
	took = time.Since(began)
	slices.Sort(latency)
	return len(latency), took, latency
}

// BenchmarkSubmit: commands of the kind consent.register, signed with ed25519 beforehand, acknowledged as durable.
func BenchmarkSubmit(b *testing.B) {
	for range b.N {
		cfg := Config{Dir: benchFolder(b), LedgerID: "bund.bench/1", Key: operator, Openings: newShelf(), Log: quiet}
		l, err := Open(cfg)
		if err != nil {
			b.Fatal(err)
		}
		m := ledgertest.NewMarket(cfg.LedgerID, l, 1)
		if err := m.Open(); err != nil {
			b.Fatal(err)
		}
		for _, x := range []struct {
			callers, sec, signed int
		}{{256, *benchSec, *benchSec * 20_000}, {1, max(1, *benchSec/6), *benchSec * 1_000}} {
			subs := m.Consents(x.signed, uint64(1000+x.callers))
			c := cpu()
			n, took, lat := load(b, l, subs, x.callers, time.Duration(x.sec)*time.Second)
			if n == 0 {
				b.Fatal("nothing was acknowledged")
			}
			name := fmt.Sprintf("ledger.submit%d", x.callers)
			figure(name, float64(n)/took.Seconds(), "commands/s")
			figure(name+"_cpu_us", float64((cpu()-c).Microseconds())/float64(n), "us/command")
			figure(name+"_p50_ms", lat[n/2].Seconds()*1000, "ms")
			figure(name+"_p99_ms", lat[n*99/100].Seconds()*1000, "ms")
		}
		h := l.Health()
		figure("ledger.store_lag", h.Height-h.Stored, "entries")
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// groupCommit gathers what callers bring while the last write was under way, and writes it once.
type groupCommit struct {
	queue chan *groupCall
	write func([]*groupCall) error
}

type groupCall struct {
	payload []byte
	done    chan struct{}
}

func (g *groupCommit) run() error {
	for c := range g.queue {
		batch := []*groupCall{c}
	drain:
		for len(batch) < maxBatch {
			select {
			case c, ok := <-g.queue:
				if !ok {
					break drain
				}
				batch = append(batch, c)
			default:
				break drain
			}
		}
		if err := g.write(batch); err != nil {
			return err
		}
		for _, c := range batch {
			c.done <- struct{}{}
		}
	}
	return nil
}

// measure gives appends a second of 256 writers.
func (g *groupCommit) measure(b *testing.B, payload []byte, d time.Duration) float64 {
	g.queue = make(chan *groupCall, maxQueue)
	ended := make(chan error)
	go func() { ended <- g.run() }()
	var n atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for range 256 {
		wg.Go(func() {
			c := &groupCall{payload: payload, done: make(chan struct{}, 1)}
			for time.Since(began) < d {
				g.queue <- c
				<-c.done
				n.Add(1)
			}
		})
	}
	wg.Wait()
	close(g.queue)
	took := time.Since(began)
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	return float64(n.Load()) / took.Seconds()
}

// BenchmarkLog: the log layer alone (entry encoding, hash chain, crc, segments), 300-byte records, against a bare append
// and fdatasync of the same bytes, in turns.
func BenchmarkLog(b *testing.B) {
	for range b.N {
		dir := benchFolder(b)
		var ratios, ours, bares []float64
		for round := range 5 {
			d := time.Duration(max(1, *benchSec/20)) * time.Second
			e := &ledger.Entry{Time: testTime, Rulebook: 1}
			e.Raw = make([]byte, 300-len(e.Encode()))
			files := Dir(filepath.Join(dir, fmt.Sprint("log", round)))
			if err := os.Mkdir(string(files), 0o700); err != nil {
				b.Fatal(err)
			}
			w, err := openWAL(files, "bund.bench/1", 64<<20, mutation{}, mark{}, nil)
			if err != nil {
				b.Fatal(err)
			}
			g := &groupCommit{write: func(cs []*groupCall) error {
				es := make([]*ledger.Stored, len(cs))
				next, prev := w.next, w.last
				for i, c := range cs {
					x := *e
					x.Position, x.Prev, x.Raw = next, prev, c.payload
					enc := x.Encode()
					es[i] = &ledger.Stored{Entry: &x, Encoded: enc, Hash: ledger.Hash(enc)}
					next, prev = next+1, es[i].Hash
				}
				return w.append(es)
			}}
			log := g.measure(b, e.Raw, d)
			w.close()

			f, err := files.Create("bare")
			if err != nil {
				b.Fatal(err)
			}
			var buf []byte
			g = &groupCommit{write: func(cs []*groupCall) error {
				buf = buf[:0]
				for _, c := range cs {
					buf = append(buf, c.payload...)
				}
				if err := f.Append(buf); err != nil {
					return err
				}
				return f.Sync()
			}}
			bare := g.measure(b, make([]byte, 300), d)
			f.Close()
			os.RemoveAll(string(files))
			ratios, ours, bares = append(ratios, log/bare), append(ours, log), append(bares, bare)
		}
		slices.Sort(ratios)
		slices.Sort(ours)
		slices.Sort(bares)
		figure("ledger.wal_ratio", ratios[len(ratios)/2], "ratio")
		figure("ledger.wal_appends", ours[len(ours)/2], "records/s")
		figure("ledger.bare_appends", bares[len(bares)/2], "records/s")
	}
}

// BenchmarkReopen: a ledger of a million entries, opened from a ledger snapshot and a tail of the log, and from its own
// state store.
func BenchmarkReopen(b *testing.B) {
	for range b.N {
		cfg := Config{Dir: benchFolder(b), LedgerID: testLedger, Key: operator, Rules: Rules{ledgertest.Decode, ledgertest.Apply}, Log: quiet}
		l, err := Open(cfg)
		if err != nil {
			b.Fatal(err)
		}
		grow := func(l *Ledger, to int) {
			value := strings.Repeat("v", 400)
			for h, _ := l.Height(context.Background()); int(h) < to; h, _ = l.Height(context.Background()) {
				n := min(maxBatch, to-int(h))
				subs := make([]contracts.Submission, n)
				now := contracts.Millis(time.Now().UnixMilli())
				for i := range subs {
					id := fmt.Sprint(int(h) + i)
					subs[i] = ledgertest.Line(ledgertest.CommandID(now, id), "put", "k"+id, value)
				}
				rs, err := l.SubmitAll(context.Background(), subs)
				if err != nil {
					b.Fatal(err)
				}
				for _, r := range rs {
					if r.Err != nil {
						b.Fatal(r.Err)
					}
				}
			}
		}
		tail := *benchEntries / 100
		grow(l, *benchEntries-tail)
		shots := filepath.Join(cfg.Dir, "snapshots")
		began := time.Now()
		s, err := l.Snapshot(shots)
		if err != nil {
			b.Fatal(err)
		}
		figure("ledger.snapshot_1m_s", time.Since(began).Seconds(), "s")
		grow(l, *benchEntries)
		_, want, err := l.StateHash()
		if err != nil {
			b.Fatal(err)
		}
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
		began = time.Now()
		if l, err = Open(cfg); err != nil {
			b.Fatal(err)
		}
		figure("ledger.restart_1m_s", time.Since(began).Seconds(), "s")
		l.Close()
		if err := os.Remove(statePath(cfg.Dir)); err != nil {
			b.Fatal(err)
		}
		began = time.Now()
		if _, err := AdoptSnapshot(cfg, snapshotPath(shots, s.Height)); err != nil {
			b.Fatal(err)
		}
		adopted := time.Since(began)
		if l, err = Open(cfg); err != nil {
			b.Fatal(err)
		}
		figure("ledger.reopen_1m_s", time.Since(began).Seconds(), "s")
		figure("ledger.adopt_1m_s", adopted.Seconds(), "s")
		n, got, err := l.StateHash()
		if err != nil || n != uint64(*benchEntries) || got != want {
			b.Fatalf("another state at %d: %v", n, err)
		}
		st, _ := os.Stat(statePath(cfg.Dir))
		figure("ledger.store_1m_mb", float64(st.Size())/1e6, "MB")
		l.Close()
	}
}

// BenchmarkCuts: the crash test on a larger workload.
func BenchmarkCuts(b *testing.B) {
	for range b.N {
		benchFolder(b)
		c := cuts(b.TempDir, 300, mutation{})
		want, ops, err := c.Undisturbed()
		if err != nil {
			b.Fatal(err)
		}
		failed := 0
		todo := plans(ops)
		for _, x := range tryAll(c, todo, want) {
			failed++
			b.Error(x)
		}
		figure("ledger.cut_trials", len(todo), "trials")
		figure("ledger.cut_failures", failed, "trials")
	}
}
