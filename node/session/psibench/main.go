// Command psibench runs one set intersection as members' nodes do, two processes with sessions on disk and frames over
// loopback HTTP, and prints what it took:
//
//	go run ./node/session/psibench -n 100000 [-m 100000]
//
// One line: CPU of both processes together (user and system), wall time, bytes in both directions with HTTP's own,
// the larger side's peak of resident memory, ids found. Half of the receiver's ids are common, where there are as many.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/node/session"
	"github.com/bund-exchange/bund/privacy/psi"
)

var (
	n    = flag.Uint64("n", 100_000, "the receiver's ids")
	m    = flag.Uint64("m", 0, "the sender's ids; as many as the receiver's where it is 0")
	side = flag.String("side", "", "of a child process")
	dir  = flag.String("dir", "", "of a child process")
	url  = flag.String("url", "", "of a child process: the sender's")
)

const (
	agreement contracts.ID = "00000000000000000000000000000a01"
	id        contracts.ID = "00000000000000000000000000000b02"
	receiver  contracts.ID = "00000000000000000000000000000c03"
	sender    contracts.ID = "00000000000000000000000000000d04"
)

func main() {
	flag.Parse()
	if *m == 0 {
		*m = *n
	}
	run := both
	switch *side {
	case "sender":
		run = send
	case "receiver":
		run = receive
	}
	if err := run(); err != nil {
		log.Fatal("psibench: ", *side, " ", err)
	}
}

// both starts the two sides and adds up what they took.
func both() error {
	tmp, err := os.MkdirTemp("", "psibench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	begin := time.Now()
	s, stdin, out, err := child("sender", tmp, "")
	if err != nil {
		return err
	}
	defer s.Process.Kill()
	address, err := out.ReadString('\n')
	if err != nil {
		return fmt.Errorf("couldn't start sender: %w", err)
	}
	r, _, found, err := child("receiver", tmp, strings.TrimSpace(address))
	if err != nil {
		return err
	}
	defer r.Process.Kill()
	foundLine, err := found.ReadString('\n')
	if err != nil {
		return fmt.Errorf("couldn't run receiver: %w", err)
	}
	if err := r.Wait(); err != nil {
		return fmt.Errorf("couldn't run receiver: %w", err)
	}
	stdin.Close()
	bytesLine, err := out.ReadString('\n')
	if err != nil {
		return fmt.Errorf("couldn't run sender: %w", err)
	}
	if err := s.Wait(); err != nil {
		return fmt.Errorf("couldn't run sender: %w", err)
	}
	wall := time.Since(begin)
	cpu, rss := time.Duration(0), int64(0)
	for _, c := range []*exec.Cmd{s, r} {
		cpu += c.ProcessState.UserTime() + c.ProcessState.SystemTime()
		rss = max(rss, c.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)
	}
	fmt.Printf("cpu_ms %d wall_ms %d bytes %s rss_kb %d found %s\n", cpu.Milliseconds(), wall.Milliseconds(), strings.TrimSpace(bytesLine), rss, strings.TrimSpace(foundLine))
	return nil
}

func child(side, tmp, url string) (*exec.Cmd, io.WriteCloser, *bufio.Reader, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, nil, nil, err
	}
	c := exec.Command(exe, "-side", side, "-dir", filepath.Join(tmp, side), "-url", url, "-n", fmt.Sprint(*n), "-m", fmt.Sprint(*m))
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		return nil, nil, nil, err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, nil, nil, err
	}
	return c, in, bufio.NewReader(out), c.Start()
}

func params() psi.Params {
	return psi.Params{Session: [32]byte{1}, SenderMax: *m, ReceiverMax: *n, Padding: psi.Exact, FrameElements: psi.DefaultFrameElements}
}

// open makes the session and its side of the intersection.
func open(peer contracts.ID, own, peers int64) (*session.Shelf, *session.Session, *psi.Session, error) {
	s, err := session.OpenShelf(session.Config{Dir: *dir, Now: time.Now})
	if err != nil {
		return nil, nil, nil, err
	}
	x, err := s.Create(session.Terms{Agreement: agreement, ID: id, Peer: peer, Protocol: "psi", MaxSent: own, MaxReceived: peers,
		ExpiresAt: contracts.Millis(time.Now().Add(time.Hour).UnixMilli())})
	if err != nil {
		return nil, nil, nil, err
	}
	return s, x, &psi.Session{Params: params(), Link: x.Frames(), Spool: x.Tapes, Store: x.Record}, nil
}

func send() error {
	p := params()
	own, peers := p.Bytes(*m, *n)
	s, x, intersection, err := open(receiver, own, peers)
	if err != nil {
		return err
	}
	defer s.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go http.Serve(counting{l}, s.Handler(func(*http.Request) contracts.ID { return receiver }))
	fmt.Println(l.Addr())
	err = x.Run(context.Background(), func(ctx context.Context) error {
		_, err := intersection.Send(ctx, ids(*m, 0))
		return err
	})
	if err != nil {
		return err
	}
	io.Copy(io.Discard, os.Stdin) // the receiver may ask for more until it has ended
	fmt.Println(wire.Load())
	return nil
}

func receive() error {
	p := params()
	peers, own := p.Bytes(*m, *n)
	s, x, intersection, err := open(sender, own, peers)
	if err != nil {
		return err
	}
	defer s.Close()
	c := &session.Client{Session: x, HTTP: http.DefaultClient, Log: slog.Default(),
		URL: "http://" + *url + "/agreements/" + string(agreement) + "/sessions/" + string(id)}
	found := uint64(0)
	err = c.Run(context.Background(), func(ctx context.Context) error {
		_, err := intersection.Receive(ctx, ids(*n, *n/2), func(got *psi.Matches) error {
			found = got.Len()
			return nil
		})
		return err
	})
	if err != nil {
		return err
	}
	if *n == *m && found != *n-*n/2 {
		return errors.New("found what isn't there, or not all")
	}
	fmt.Println(found)
	return nil
}

// ids makes credit codes of the length that is on the market's wire: 18 characters.
func ids(n, from uint64) psi.IDs {
	return func(yield func([]byte, error) bool) {
		for i := range n {
			if !yield(fmt.Appendf(nil, "9111000%010dX", i+from), nil) {
				return
			}
		}
	}
}

// wire counts what went over the sender's connections, both ways.
var wire atomic.Int64

type counting struct{ net.Listener }

func (l counting) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return countingConn{c}, err
}

type countingConn struct{ net.Conn }

func (c countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	wire.Add(int64(n))
	return n, err
}

func (c countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	wire.Add(int64(n))
	return n, err
}
