package embedded

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/ledgertest"
)

var killCount = flag.Int("figure.kills", 200, "SIGKILLs of ledger.kills")

// victimFolder, in the environment, makes the test binary a ledger under load that is there to be killed.
const victimFolder = "BUND_KILL_FOLDER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimFolder); dir != "" {
		victim(dir)
		return
	}
	os.Exit(m.Run())
}

func victimConfig(dir string) Config {
	cfg := testConfig(dir)
	cfg.storeNoSync, cfg.Now = false, time.Now
	cfg.SegmentBytes, cfg.FlushEvery, cfg.FlushKeys = 128<<10, 20*time.Millisecond, 500
	return cfg
}

// victim submits from 16 callers and writes every answer to standard output, in one write each: what is in the pipe
// outlives the process. Some commands are sent twice, some looked up.
func victim(dir string) {
	l, err := Open(victimConfig(dir))
	if err != nil {
		fmt.Println("bad", err)
		return
	}
	fmt.Println("open")
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		os.Stdout.WriteString(fmt.Sprintf(format, args...) + "\n")
	}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for {
				name := strconv.FormatUint(rand.Uint64(), 36)
				sub := ledgertest.Line(ledgertest.CommandID(contracts.Millis(time.Now().UnixMilli()), name), "open", name)
				id := string(sub.Raw[:32])
				r, err := l.Submit(context.Background(), sub)
				if err != nil {
					say("bad submit: %v", err)
					return
				}
				say("told %s %d %x", id, r.Position, r.Hash)
				if rand.IntN(8) == 0 {
					a, err := l.Lookup(context.Background(), contracts.ID(id))
					if err != nil || a.Status != ledger.Accepted {
						say("bad lookup: %+v %v", a, err)
						return
					}
					say("told %s %d %x", id, a.Promise.Position, a.Promise.Hash)
				}
				if rand.IntN(8) == 0 {
					if _, err := l.Submit(context.Background(), sub); err != nil {
						say("bad repeat: %v", err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

// kills kills a ledger's process n times at random moments and checks after each what it had answered. A new folder
// every 20 keeps the check short.
func kills(t testing.TB, n int) (clean, acked int) {
	var dir string
	var told map[contracts.ID]told
	for i := range n {
		if i%20 == 0 {
			dir, told = t.TempDir(), newTold()
		}
		if err := killOnce(dir, time.Duration(5+rand.IntN(150))*time.Millisecond, told); err != nil {
			t.Errorf("kill %d: %v", i, err)
			continue
		}
		if err := checkAfterKill(dir, told); err != nil {
			t.Errorf("after kill %d: %v", i, err)
			continue
		}
		clean++
		if i%20 == 19 || i == n-1 {
			acked += len(told)
		}
	}
	return clean, acked
}

type told struct {
	position uint64
	hash     string
}

func newTold() map[contracts.ID]told { return map[contracts.ID]told{} }

func killOnce(dir string, after time.Duration, all map[contracts.ID]told) error {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), victimFolder+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(out)
	var timer *time.Timer
	var failed error
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		switch f[0] {
		case "open": // killing before it is open would test nothing
			timer = time.AfterFunc(after, func() { cmd.Process.Kill() })
		case "told":
			if len(f) != 4 || len(f[3]) != 64 {
				continue // the write that the kill cut short
			}
			p, err := strconv.ParseUint(f[2], 10, 64)
			if err != nil {
				return err
			}
			all[contracts.ID(f[1])] = told{p, f[3]}
		default:
			failed = errors.Join(failed, errors.New(lines.Text()))
			cmd.Process.Kill()
		}
	}
	io.Copy(io.Discard, out)
	cmd.Wait()
	if timer != nil {
		timer.Stop()
	}
	return failed
}

func checkAfterKill(dir string, all map[contracts.ID]told) error {
	l, err := Open(victimConfig(dir))
	if err != nil {
		return err
	}
	defer l.Abort()
	a := ledgertest.NewAudit(testLedger)
	if err := a.ReadAll(context.Background(), l); err != nil {
		return err
	}
	for id, x := range all {
		if p, there := a.IDs[id]; !there || p != x.position || hex.EncodeToString(a.Hashes[p][:]) != x.hash {
			return fmt.Errorf("command %s was acknowledged at %d, now at %d (%v)", id, x.position, p, there)
		}
	}
	n, state, err := l.StateHash()
	if err != nil {
		return err
	}
	if n != a.Height() || state != a.StateHash() {
		return fmt.Errorf("the state at %d is not that of the log at %d", n, a.Height())
	}
	return nil
}

func TestKills(t *testing.T) {
	clean, acked := kills(t, 6)
	if acked == 0 {
		t.Error("nothing was acknowledged before any kill")
	}
	t.Logf("%d clean, %d acknowledged", clean, acked)
}

// BenchmarkKills: SIGKILLs under load, acknowledgements kept outside the process.
func BenchmarkKills(b *testing.B) {
	for range b.N {
		benchFolder(b)
		clean, acked := kills(b, *killCount)
		figure("ledger.kills", clean, "clean kills")
		figure("ledger.kills_acked", acked, "commands")
	}
}
