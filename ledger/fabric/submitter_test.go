package fabric_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/fabric"
	"github.com/bund-exchange/bund/ledger/fabric/profile"
)

// order is what a submitter is told: a process of its own, so that it can be killed.
type order struct {
	Profile, Dir, Organisation string
	Commands                   []contracts.Submission
}

// submitterEnv names the file of a submitter's order.
const submitterEnv = "BUND_TEST_SUBMITTER"

// submit is a submitter's whole life. It prints a line for each acknowledged command.
func submit(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var o order
	if err := json.Unmarshal(b, &o); err != nil {
		return err
	}
	n, err := profile.Read(o.Profile)
	if err != nil {
		return err
	}
	l, err := fabric.Open(context.Background(), fabric.Config{Network: n, Organisation: o.Organisation, Dir: o.Dir, Log: quiet})
	if err != nil {
		return err
	}
	p := newPatient(l)
	next := make(chan contracts.Submission)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for range submitters {
		wg.Go(func() {
			for sub := range next {
				r, err := p.Submit(context.Background(), sub)
				mu.Lock()
				if err != nil {
					errs = append(errs, err)
				} else {
					fmt.Printf("accepted %s %d %x\n", idOf(sub), r.Position, r.Hash)
				}
				mu.Unlock()
			}
		})
	}
	for _, s := range o.Commands {
		next <- s
	}
	close(next)
	wg.Wait()
	return errors.Join(append(errs, l.Close())...)
}

// submitter starts one as a child and gives the commands that it says were accepted, as it does.
func (s *scene) submitter(t *testing.T, folder string, subs []contracts.Submission) (*exec.Cmd, <-chan acknowledgement) {
	t.Helper()
	b, err := json.Marshal(order{s.net.ProfileFile(), filepath.Join(s.dir, folder), "venue", subs})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "order.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self)
	c.Env, c.Stderr = append(os.Environ(), submitterEnv+"="+file), os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill() })
	acks := make(chan acknowledgement, len(subs))
	go func() {
		defer close(acks)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var a acknowledgement
			var hash string
			if n, err := fmt.Sscanf(lines.Text(), "accepted %s %d %s", &a.id, &a.position, &hash); n == 3 && err == nil && len(hash) == 64 {
				a.hash = strings.ToLower(hash)
				acks <- a
			}
		}
	}()
	return c, acks
}

// acknowledgement is what a submitter printed. A line that a kill cut short is none.
type acknowledgement struct {
	id       contracts.ID
	position uint64
	hash     string
}

func (a acknowledgement) is(p ledger.Promise) bool {
	return a.position == p.Position && a.hash == fmt.Sprintf("%x", p.Hash)
}
