// Command peers runs the intersection protocols of github.com/optable/match on the input that our own benchmark uses:
// both sides in this process, over loopback TCP. It is a module of its own, since that library doesn't compile with the
// toolchain of the product; nothing of the product imports it.
//
//	go run . -protocol dhpsi|kkrt -n 100000
//
// It prints one line: CPU of the whole process (user and system), wall time, bytes in both directions, ids found.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/optable/match/pkg/dhpsi"
	"github.com/optable/match/pkg/kkrtpsi"
)

type sender interface {
	Send(ctx context.Context, n int64, ids <-chan []byte) error
}

type receiver interface {
	Intersect(ctx context.Context, n int64, ids <-chan []byte) ([][]byte, error)
}

type protocol struct {
	sender   func(io.ReadWriter) sender
	receiver func(io.ReadWriter) receiver
}

var protocols = map[string]protocol{
	"dhpsi": {
		func(rw io.ReadWriter) sender { return dhpsi.NewSender(rw) },
		func(rw io.ReadWriter) receiver { return dhpsi.NewReceiver(rw) },
	},
	"kkrt": {
		func(rw io.ReadWriter) sender { return kkrtpsi.NewSender(rw) },
		func(rw io.ReadWriter) receiver { return kkrtpsi.NewReceiver(rw) },
	},
}

func main() {
	name := flag.String("protocol", "dhpsi", "dhpsi or kkrt")
	n := flag.Int64("n", 100_000, "ids of each side; half of them are common")
	flag.Parse()
	if err := run(*name, *n); err != nil {
		log.Fatal("peers: ", err)
	}
}

func run(name string, n int64) error {
	p, ok := protocols[name]
	if !ok || n < 2 {
		return errors.New("want -protocol dhpsi or kkrt, and -n of at least 2")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	begin := time.Now()
	sent := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			err = p.sender(counted{c}).Send(context.Background(), n, ids(n, 0))
		}
		sent <- err
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return err
	}
	found, err := p.receiver(counted{c}).Intersect(context.Background(), n, ids(n, n/2))
	if err := errors.Join(err, <-sent); err != nil {
		return fmt.Errorf("couldn't intersect: %w", err)
	}
	if int64(len(found)) != n-n/2 {
		return fmt.Errorf("found %d ids, want %d", len(found), n-n/2)
	}
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return err
	}
	fmt.Printf("cpu_ms %d wall_ms %d bytes %d found %d\n", (u.Utime.Nano()+u.Stime.Nano())/1e6, time.Since(begin).Milliseconds(), wire.Load(), len(found))
	return nil
}

// ids makes credit codes of the length that is on the market's wire: 18 characters.
func ids(n, from int64) <-chan []byte {
	c := make(chan []byte, 1024)
	go func() {
		defer close(c)
		for i := range n {
			c <- fmt.Appendf(nil, "9111000%010dX", i+from)
		}
	}()
	return c
}

// wire counts what both sides wrote.
var wire atomic.Int64

type counted struct{ net.Conn }

func (c counted) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	wire.Add(int64(n))
	return n, err
}
