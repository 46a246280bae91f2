package meter

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
)

var errCrash = errors.New("killed here")

// crashAt fails the nth time that a step is reached and every step after it, as the death of the process does.
func crashAt(step string, n int64) (f faults, dead *atomic.Bool) {
	dead = &atomic.Bool{}
	var seen atomic.Int64
	f.step = func(name string) error {
		if dead.Load() || name == step && seen.Add(1) == n {
			dead.Store(true)
			return errCrash
		}
		return nil
	}
	return f, dead
}

// Each side dies at each named step, is restarted from its disk, and the applications ask again with their nonces: no
// gap, nothing billed twice, every answer is the acknowledged one.
func TestCrashAtEachStep(t *testing.T) {
	for _, step := range []string{
		"provider.reserved", "provider.executed", "provider.before-commit", "provider.committed", "provider.before-answer", "provider.ack-stored",
		"consumer.before-send", "consumer.received", "consumer.before-persist", "consumer.persisted", "consumer.ack-sent",
	} {
		for _, n := range []int64{1, 3} {
			t.Run(fmt.Sprint(step, n), func(t *testing.T) {
				t.Parallel()
				crashAndResume(t, step, n)
			})
		}
	}
}

func crashAndResume(t *testing.T, step string, n int64) {
	f, dead := crashAt(step, n)
	provider := strings.HasPrefix(step, "provider.")
	// The step before the first group of a log would be its opening: count from behind it.
	armed := atomic.Bool{}
	gated := faults{step: func(name string) error {
		if !armed.Load() {
			return nil
		}
		return f.step(name)
	}}
	w := newWorld(t, windowOf(4), func(w *world) {
		w.pcfg = func(c *ProviderConfig) {
			if provider {
				c.faults = gated
			}
		}
		w.ccfg = func(c *ConsumerConfig) {
			if !provider {
				c.faults = gated
			}
		}
	})
	armed.Store(true)
	var nonces []Nonce
	got := map[Nonce]Digest{}
	ask := func(ctx context.Context, nonce Nonce) error {
		a, err := w.c.Call(ctx, nonce, []byte("1"))
		if err != nil {
			return err
		}
		d := Digest(sha256.Sum256(append(a.Body, a.Receipt.Leaf...)))
		if was, ok := got[nonce]; ok && was != d {
			t.Error("another answer for the same nonce")
		}
		got[nonce] = d
		return nil
	}
	for i := range 6 {
		nonce := NewNonce(time.Now())
		nonces = append(nonces, nonce)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		ask(ctx, nonce) // a dead side never answers
		cancel()
		if i%2 == 1 {
			w.c.RunOnce(t.Context())
		}
	}
	if !dead.Load() {
		t.Fatal("the step was never reached")
	}
	armed.Store(false)
	if provider {
		w.restartProvider()
	} else {
		w.restartConsumer()
	}
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
	w.run()
	for _, nonce := range nonces {
		if err := ask(t.Context(), nonce); err != nil {
			t.Fatalf("after the restart: %v", err)
		}
	}
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
	w.agreed(6, 6)
	for _, nonce := range nonces {
		if err := ask(t.Context(), nonce); err != nil {
			t.Fatal(err)
		}
	}
	w.agreed(6, 6)
}

// A consumer that forgot what it asked gets leaves and answers back by pull, also when the window is full of them.
func TestForgottenCallsComeBack(t *testing.T) {
	w := newWorld(t, windowOf(5))
	for range 5 {
		if _, err := w.l.Serve(t.Context(), &Call{ID: w.requestID("1"), Epoch: 1, Body: []byte("1")}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.call(1, "a"); !refused(err, WindowFull) {
		t.Fatalf("window isn't full: %v", err)
	}
	w.restartConsumer()
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
	w.agreed(5, 5)
	for seq := range int64(5) {
		raw, answer, err := w.journal.answer(w.c.agreement, 1, seq, w.c.sealer)
		if err != nil {
			t.Fatal(err)
		}
		if l, _ := DecodeLeaf(raw); l.AnswerDigest != sha256.Sum256(answer) {
			t.Error("answer isn't the leaf's")
		}
	}
	w.must(1, "a")
}

// TestKill runs the provider in a process of its own and kills it with SIGKILL under load, several times. Both sides
// resume without a gap: leaves, answers and totals agree to the byte.
func TestKill(t *testing.T) {
	if dir := os.Getenv("BUND_METER_NODE"); dir != "" {
		killedNode(t, dir)
		return
	}
	w := newWorld(t, windowOf(100))
	w.p.Close()
	dir := t.TempDir()
	seed, _ := json.Marshal(map[string]any{"key": w.pk.Seed(), "consumer": w.terms.Consumer})
	if err := os.WriteFile(filepath.Join(dir, "seed"), seed, 0o600); err != nil {
		t.Fatal(err)
	}
	var addr atomic.Value
	node := startNode(t, dir, &addr)
	w.journal.Close()
	w.ccfg = func(c *ConsumerConfig) {
		c.Client = &http.Client{Transport: redirect{&addr}}
	}
	w.startConsumer()
	w.run()
	var done atomic.Int64
	progress := make(chan struct{}, 1<<20)
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		defer close(progress)
		crowdOf(func(int) {
			for ctx.Err() == nil {
				if _, err := w.c.Call(t.Context(), NewNonce(time.Now()), []byte("1")); err != nil {
					t.Error(err)
					return
				}
				done.Add(1)
				progress <- struct{}{}
			}
		})
	}()
	for range 4 {
		for range 300 {
			if _, ok := <-progress; !ok {
				t.Fatal("callers gave up")
			}
		}
		node.Process.Kill()
		node.Wait()
		node = startNode(t, dir, &addr)
	}
	stop()
	for range progress {
	}
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
	node.Process.Kill()
	node.Wait()
	p, l, err := w.openProvider(filepath.Join(dir, "provider"), w.fence)
	if err != nil {
		t.Fatal(err)
	}
	w.p, w.l = p, l
	w.agreed(done.Load(), done.Load())
	seen := map[Nonce]bool{}
	for seq := range done.Load() {
		mine, answer, err := w.journal.answer(w.c.agreement, 1, seq, w.c.sealer)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := l.Leaf(seq)
		if err != nil || !bytes.Equal(mine, theirs) {
			t.Fatalf("leaf %d differs: %v", seq, err)
		}
		leaf, _ := DecodeLeaf(mine)
		if seen[leaf.Request.Nonce()] || leaf.AnswerDigest != sha256.Sum256(answer) {
			t.Fatalf("leaf %d: billed twice, or not its answer", seq)
		}
		seen[leaf.Request.Nonce()] = true
	}
}

// redirect sends requests to wherever the node listens now.
type redirect struct{ addr *atomic.Value }

func (d redirect) RoundTrip(r *http.Request) (*http.Response, error) {
	u := *r.URL
	u.Scheme, u.Host = "http", d.addr.Load().(string)
	c := r.Clone(r.Context())
	c.URL = &u
	return http.DefaultTransport.RoundTrip(c)
}

func startNode(t *testing.T, dir string, addr *atomic.Value) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestKill$")
	cmd.Env = append(os.Environ(), "BUND_METER_NODE="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	addr.Store(strings.TrimSpace(line))
	return cmd
}

// killedNode is the provider's process: it serves until it is killed.
func killedNode(t *testing.T, dir string) {
	var s struct {
		Key      []byte
		Consumer contracts.PublicKey
	}
	b, err := os.ReadFile(filepath.Join(dir, "seed"))
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, pk: ed25519.NewKeyFromSeed(s.Key), fence: 7}
	w.terms = testTerms(pub(w.pk), s.Consumer)
	w.terms.WindowCalls = 100
	w.schedule = Fixed(w.terms)
	_, l, err := w.openProvider(filepath.Join(dir, "provider"), w.fence)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(ln.Addr())
	http.Serve(ln, l.Handler())
}
