package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/bund-exchange/bund/deploy/fabric/network"
	"github.com/bund-exchange/bund/server/pg/pgtest"
)

// realNetwork starts a network of this test's own.
func realNetwork(t *testing.T) *network.Network {
	t.Helper()
	bin := os.Getenv("BUND_FABRIC")
	if bin == "" {
		t.Skip("BUND_FABRIC is not set: make fabric-build, then BUND_FABRIC=$PWD/bin go test -run OnANetwork ./server/marketd")
	}
	base, err := network.FreeBase()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	n, err := network.Start(ctx, network.Config{Dir: filepath.Join(t.TempDir(), "net"), BasePort: base, Tools: filepath.Join(bin, "fabric"),
		Chaincode: filepath.Join(bin, "chaincode"), Ledger: ledgerID})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// launch runs a replica as a process, and gives what kills it.
func (s *several) launch(program, name string) (r *replica, kill func()) {
	s.t.Helper()
	r = &replica{several: s, name: name, log: &watch{open: make(chan string, 1)}}
	c := exec.Command(program, "run", "--config", s.path(name+".yaml"))
	said, err := c.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewReader(said); ; {
			b, err := lines.ReadBytes('\n')
			r.log.Write(b)
			if err != nil {
				c.Wait()
				return
			}
		}
	}()
	kill = func() {
		c.Process.Kill()
		<-ended
	}
	s.t.Cleanup(kill)
	select {
	case addr := <-r.log.open:
		r.base = "http://" + addr
	case <-ended:
		s.t.Fatalf("replica %s ended\n%s", name, r.log.text())
	}
	return r, kill
}

// Two markets serve one Fabric network. The one that publishes is killed; the other goes on where it was.
func TestReplicasOnANetwork(t *testing.T) {
	n := realNetwork(t)
	s := &several{stand: newStand(t, "")}
	s.db, s.url = pgtest.NewURL(t)
	program := s.path("marketd")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s.configs([]string{"a", "b"}, fmt.Sprintf("fabric: {network: %q, organisation: venue, tlog: tlog}\n", n.ProfileFile()))
	s.begin()
	a, killA := s.launch(program, "a")
	s.allBy("a")
	b, killB := s.launch(program, "b")
	size := uint64(1)
	admit := func(r *replica, name string) {
		t.Helper()
		r.use()
		s.admit(name)
		size += 3
	}
	admit(a, "甲")
	admit(b, "乙")
	s.same(size, a, b)
	if held := s.holds("b"); len(held) > 0 {
		t.Errorf("b has %v, too", held)
	}

	killA()
	admit(b, "丙") // while a's sessions are still ending
	s.allBy("b")
	s.same(size, b)
	a, killA = s.launch(program, "a")
	admit(a, "丁")
	s.same(size, a, b)
	if held := s.holds("b"); !slices.Equal(held, jobs) {
		t.Errorf("b has %v, want all", held)
	}

	killB()
	s.allBy("a")
	admit(a, "戊")
	s.same(size, a)
	killA()
	before := s.dump()
	for _, name := range []string{"a", "b"} {
		var e bytes.Buffer
		if code := run(t.Context(), []string{"rebuild", "--config", s.path(name + ".yaml")}, io.Discard, &e); code != 0 {
			t.Fatalf("rebuild: exit code %d, %s", code, e.String())
		}
		if s.dump() != before {
			t.Error("the projection isn't what a rebuild makes of the ledger")
		}
	}
}
