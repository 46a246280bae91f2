package evidence_test

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/ledger/evidence"
	"github.com/bund-exchange/bund/ledger/evidence/evidencetest"
	"github.com/bund-exchange/bund/ledger/follow"
	"github.com/bund-exchange/bund/ledger/ledgertest"
)

// Benchmarks print figures and assert nothing about time:
//
//	go test ./ledger/evidence -run '^$' -bench . -benchtime 1x -timeout 20m
var (
	benchEntries = flag.Int("figure.entries", 50_000, "entries of the benchmark's ledger")
	benchRounds  = flag.Int("figure.rounds", 5, "rounds of verification and audit, one after the other")
)

// auditFolder, in the environment, makes the test binary audit an export and print its own peak memory.
const auditFolder = "BUND_AUDIT_FOLDER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(auditFolder); dir != "" {
		auditAlone(dir)
		return
	}
	os.Exit(m.Run())
}

func auditAlone(dir string) {
	b, err := os.ReadFile(filepath.Join(filepath.Dir(dir), "trust.json"))
	if err != nil {
		fmt.Println(err)
		return
	}
	root, err := follow.ParseTrustRoot(b)
	if err != nil {
		fmt.Println(err)
		return
	}
	trust, _ := evidence.TrustOf(root)
	r, err := evidence.Audit(context.Background(), evidence.Config{Dir: dir, Trust: trust})
	if err != nil || !r.OK() {
		fmt.Println("the audit failed:", err)
		return
	}
	var u unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &u)
	figure("audit.peak_mb", float64(u.Maxrss)/1024, "MB")
}

func figure(name string, value float64, unit string) {
	fmt.Printf("figure %s %.3f %s\n", name, value, unit)
}

var machineOnce sync.Once

func machine(dir string) {
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
		fmt.Printf("\nmachine %s; %d cores; kernel %s; file system %#x; load %s\n", model, runtime.NumCPU(), unix.ByteSliceToString(u.Release[:]), st.Type,
			strings.TrimSpace(string(load)))
	})
}

func cpu() time.Duration {
	var r unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// signed is one signature for bare verification.
type signed struct {
	key ed25519.PublicKey
	msg []byte
	sig []byte
}

// signatures lists what an audit verifies: those of commands, and in usage reports those of both receipt keys.
func signatures(l *evidencetest.Ledger) (out []signed) {
	add := func(key contracts.PublicKey, msg, sig []byte) {
		_, h, _ := strings.Cut(string(key), ":")
		k, _ := hex.DecodeString(h)
		out = append(out, signed{k, msg, sig})
	}
	for _, e := range l.Entries {
		for _, s := range e.Signatures {
			add(s.Key, e.Raw, s.Sig)
		}
		cmd, err := contracts.Decode(contracts.Submission{Raw: e.Raw, Signatures: e.Signatures})
		if err != nil {
			continue
		}
		if r, ok := cmd.Body().(*contracts.UsageReport); ok {
			t, err := contracts.Read[contracts.Totals](l.Openings[r.Totals].Opening.Value)
			if err != nil {
				continue
			}
			st := contracts.Statement{Agreement: r.Agreement, Epoch: r.Epoch, Size: r.Size, Root: r.Root, Totals: *t}
			add(r.Ack.Key, st.SignedBytes(contracts.TagAck), r.Ack.Sig)
			add(r.Report.Key, st.SignedBytes(contracts.TagReport), r.Report.Sig)
		}
	}
	return out
}

// verifyAll verifies signatures on all cores, and does nothing else.
func verifyAll(all []signed) bool {
	var next, bad atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				at := int(next.Add(64)) - 64
				if at >= len(all) {
					return
				}
				for _, s := range all[at:min(at+64, len(all))] {
					if !ed25519.Verify(s.key, s.msg, s.sig) {
						bad.Add(1)
					}
				}
			}
		})
	}
	wg.Wait()
	return bad.Load() == 0
}

// consents is a ledger of n commands of the kind consent.register, one signature each: the least verification that an
// entry can have.
func consents(b *testing.B, n int) *evidencetest.Ledger {
	l, err := evidencetest.New("bund.bench/audit")
	if err != nil {
		b.Fatal(err)
	}
	m := ledgertest.NewMarket(l.ID, nil, 1)
	m.Exec = l
	if err := m.Open(); err != nil {
		b.Fatal(err)
	}
	for _, sub := range m.Consents(n, 7) {
		if err := l.Submit(b.Context(), sub); err != nil {
			b.Fatal(err)
		}
	}
	return l
}

// trades is a ledger of trades with money, about n entries.
func trades(b *testing.B, n int) *evidencetest.Ledger {
	l, err := evidencetest.New("bund.bench/trades")
	if err != nil {
		b.Fatal(err)
	}
	m := contractstest.NewMarket(l.ID, l, 1)
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	must(m.Begin())
	auth, err := m.Authorize()
	must(err)
	listing, err := m.List(m.Facts(auth))
	must(err)
	for len(l.Entries) < n {
		d, err := m.Agree(listing, contracts.Trade, contractstest.Policy(policy.PreLoan), contractstest.Terms())
		must(err)
		must(m.Deposit(d, 1_000_000))
		must(m.Activate(d))
		must(m.Report(d, 1, false, 200, contracts.Totals{Calls: 200, Units: 200, Micro: 160_000_000}))
		must(m.Do(m.Venue.ID, "period.close", contracts.PeriodClose{Agreement: d.Agreement, Number: 1, Month: contracts.PeriodOf(m.Now)}, nil, m.Venue.Machine))
		must(m.Report(d, 1, true, 401, contracts.Totals{Calls: 400, Units: 400, Micro: 320_000_000}))
		must(m.Do(m.Buyer.ID, "acceptance.record", contracts.AcceptanceRecord{Agreement: d.Agreement, Period: 1, Report: contracts.HashOf("test/acceptance")}, nil, m.Buyer.Two()...))
		must(m.Settle(d, 1, 335_320))
	}
	return l
}

func benchAudit(b *testing.B, name string, l *evidencetest.Ledger) {
	dir := filepath.Join(b.TempDir(), "export")
	if err := l.Export(dir, true); err != nil {
		b.Fatal(err)
	}
	machine(dir)
	trust, err := evidence.TrustOf(l.Trust())
	if err != nil {
		b.Fatal(err)
	}
	root, err := l.Trust().Marshal()
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(dir), "trust.json"), root, 0o600); err != nil {
		b.Fatal(err)
	}
	all := signatures(l)
	entries := len(l.Entries)
	st, _ := os.Stat(filepath.Join(dir, evidence.EntriesFile))
	*l = evidencetest.Ledger{} // the audit stands alone
	runtime.GC()
	var ratios []float64
	var verifying, auditing, verifyCPU, auditCPU time.Duration
	for b.Loop() {
		for range *benchRounds {
			t, used := time.Now(), cpu()
			if !verifyAll(all) {
				b.Fatal("a signature doesn't verify")
			}
			v := time.Since(t)
			verifyCPU += cpu() - used
			t, used = time.Now(), cpu()
			r, err := evidence.Audit(b.Context(), evidence.Config{Dir: dir, Trust: trust})
			if err != nil || !r.OK() || r.Check(evidence.CheckRules).Count != entries {
				b.Fatal("the audit failed", err)
			}
			a := time.Since(t)
			auditCPU += cpu() - used
			ratios = append(ratios, v.Seconds()/a.Seconds())
			verifying, auditing = verifying+v, auditing+a
		}
	}
	slices.Sort(ratios)
	n := float64(len(ratios))
	fmt.Printf("\n%s: %d entries, %d signatures, %d MB; verification %.2f s, audit %.2f s; ratios %.3f; of CPU time %.3f\n", name, entries, len(all), st.Size()>>20,
		verifying.Seconds()/n, auditing.Seconds()/n, ratios, verifyCPU.Seconds()/auditCPU.Seconds())
	figure(name, ratios[len(ratios)/2], "ratio")
	figure(strings.Replace(name, "vs_verify", "entries_per_s", 1), float64(entries)*n/auditing.Seconds(), "1/s")
	if name == "audit.vs_verify" {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), auditFolder+"="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		fmt.Print(string(out))
	}
}

// BenchmarkAudit: the full audit of an export, rules replayed, against bare parallel verification of the same ed25519
// signatures on the same cores.
func BenchmarkAudit(b *testing.B) {
	b.Run("consents", func(b *testing.B) { benchAudit(b, "audit.vs_verify", consents(b, *benchEntries)) })
	b.Run("trades", func(b *testing.B) { benchAudit(b, "audit.vs_verify_trades", trades(b, *benchEntries/10)) })
}
