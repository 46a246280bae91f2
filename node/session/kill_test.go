package session

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bund-exchange/bund/privacy/psi"
)

// The test's own program is also either side of a session, so that sides can be killed.
const sideEnv, dirEnv = "SESSION_TEST_SIDE", "SESSION_TEST_DIR"

func TestMain(m *testing.M) {
	switch side := os.Getenv(sideEnv); side {
	case "":
		os.Exit(m.Run())
	default:
		if err := runSide(side, os.Getenv(dirEnv)); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
	}
}

// tellingFrames prints a line for each thing that is done with frames: places to be killed at.
type tellingFrames struct{ Frames }

func (f tellingFrames) Send(ctx context.Context, n uint64, b []byte) error {
	fmt.Println("sending")
	err := f.Frames.Send(ctx, n, b)
	fmt.Println("sent")
	return err
}

func (f tellingFrames) Receive(ctx context.Context, n uint64) ([]byte, error) {
	b, err := f.Frames.Receive(ctx, n)
	fmt.Println("received")
	return b, err
}

// runSide runs a side to its end. The provider serves on the socket that it inherits, the bank finds it at the address
// in its directory.
func runSide(side, dir string) error {
	s, err := OpenShelf(Config{Dir: filepath.Join(dir, side), Now: clock})
	if err != nil {
		return err
	}
	ctx := context.Background()
	if side == "provider" {
		x, err := s.Create(terms(bank))
		if err != nil {
			return err
		}
		l, err := net.FileListener(os.NewFile(3, "listener"))
		if err != nil {
			return err
		}
		go http.Serve(l, s.Handler(asBank))
		fmt.Println("serving")
		p := intersection(x)
		p.Link = tellingFrames{x.Frames()}
		err = x.Run(ctx, func(ctx context.Context) error {
			_, err := p.Send(ctx, ids(providerIDs, 20))
			return err
		})
		if err != nil && !isRefusal(err, Ended) {
			return err
		}
		fmt.Println("done")
		select {} // serves what the bank may still ask, until it is killed
	}
	x, err := s.Create(terms(provider))
	if err != nil {
		return err
	}
	address, err := os.ReadFile(filepath.Join(dir, "address"))
	if err != nil {
		return err
	}
	p := intersection(x)
	p.Link = tellingFrames{x.Frames()}
	c := &Client{Session: x, HTTP: &http.Client{Transport: peerHeader{bank, http.DefaultTransport}}, Log: quiet(), Pause: time.Millisecond, Wait: time.Second,
		URL: "http://" + string(address) + "/agreements/" + string(agreement) + "/sessions/" + string(sid)}
	err = c.Run(ctx, func(ctx context.Context) error {
		_, err := p.Receive(ctx, ids(bankIDs, 0), func(m *psi.Matches) error {
			return replaceFile(filepath.Join(dir, "found"), fmt.Append(nil, m.Len(), m.Has(19), m.Has(20), m.Has(59)))
		})
		return err
	})
	if err != nil && !isRefusal(err, Ended) {
		return err
	}
	fmt.Println("done")
	return nil
}

// process is a side that runs.
type process struct {
	*exec.Cmd
	lines *bufio.Scanner
}

func start(t *testing.T, side, dir string, l *os.File) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(os.Args[0])}
	p.Env = append(os.Environ(), sideEnv+"="+side, dirEnv+"="+dir)
	p.Stderr = os.Stderr
	if l != nil {
		p.ExtraFiles = []*os.File{l}
	}
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	p.lines = bufio.NewScanner(out)
	return p
}

// until reads a side's lines up to the n-th, or to its end; it reports whether it is done.
func (p *process) until(t *testing.T, n int) bool {
	for i := 0; i < n && p.lines.Scan(); i++ {
		line := p.lines.Text()
		if strings.HasPrefix(line, "failed") {
			t.Errorf("a side %s", line)
			return true
		}
		if line == "done" {
			return true
		}
	}
	return false
}

func (p *process) kill() {
	p.Process.Kill()
	p.Wait()
}

// killed runs a side and kills it at random lines, some times; it returns the last one, that is done.
func killed(t *testing.T, side, dir string, l *os.File, kills *int) *process {
	rd := rand.New(rand.NewPCG(uint64(len(side)), 5))
	for {
		p := start(t, side, dir, l)
		n := 2 + rd.IntN(25)
		if *kills == 6 {
			n = 1 << 20
		}
		if p.until(t, n) {
			return p
		}
		p.kill()
		if *kills == 6 {
			t.Errorf("%s ended without being done", side)
			return p
		}
		*kills++
	}
}

// TestKilled kills both sides with SIGKILL, at random points, again and again.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	socket, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if err := os.WriteFile(filepath.Join(dir, "address"), []byte(l.Addr().String()), 0o600); err != nil {
		t.Fatal(err)
	}
	var kills [2]int
	bankEnded, providerEnded := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(providerEnded)
		p := killed(t, "provider", dir, socket, &kills[0])
		<-bankEnded // it may still have to serve
		p.kill()
	}()
	killed(t, "bank", dir, nil, &kills[1]).kill()
	close(bankEnded)
	<-providerEnded
	if kills[0] < 2 || kills[1] < 2 {
		t.Errorf("kills %v", kills)
	}
	got, err := os.ReadFile(filepath.Join(dir, "found"))
	if want := fmt.Sprint(bankIDs-20, false, true, true); err != nil || string(got) != want {
		t.Errorf("found %q, %v; want %q", got, err, want)
	}
}
