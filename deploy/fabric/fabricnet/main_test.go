package main_test

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/deploy/fabric/network"
)

// programs gives the folder of what make fabric-build builds, with this fabricnet.
func programs(t *testing.T) (bin, fabricnet string) {
	t.Helper()
	bin = os.Getenv("BUND_FABRIC")
	if bin == "" {
		t.Skip("BUND_FABRIC is not set: make fabric-build, then BUND_FABRIC=$PWD/bin go test ./deploy/fabric/...")
	}
	fabricnet = filepath.Join(t.TempDir(), "fabricnet")
	if b, err := exec.Command("go", "build", "-o", fabricnet, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	return bin, fabricnet
}

// TestKilledUp kills up after each of its steps; the next one goes on.
func TestKilledUp(t *testing.T) {
	bin, fabricnet := programs(t)
	base, err := network.FreeBase()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "net")
	args := []string{"--dir", dir, "--bin", bin}
	do := func(command string, more ...string) (string, error) {
		var out bytes.Buffer
		c := exec.Command(fabricnet, append(append([]string{command}, args...), more...)...)
		c.Stdout, c.Stderr = &out, &out
		err := c.Run()
		return out.String(), err
	}
	t.Cleanup(func() {
		if out, err := do("down", "--wipe"); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	for step := 1; step <= 3; step++ {
		c := exec.Command(fabricnet, append([]string{"up", "--port", strconv.Itoa(base)}, args...)...)
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var errs bytes.Buffer
		c.Stderr = &errs
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for i := 0; i < step; i++ {
			if !lines.Scan() {
				c.Wait()
				t.Fatalf("step %d didn't come\n%s", step, errs.String())
			}
		}
		c.Process.Kill()
		c.Wait()
		// The profile is written last: until then nobody takes the network for ready.
		if _, err := os.Stat(filepath.Join(dir, "network.yaml")); err == nil {
			t.Fatalf("ready after step %d", step)
		}
	}
	if out, err := do("up"); err != nil || !strings.Contains(out, "the network is up") {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := do("status"); err != nil || strings.Count(out, "pid ") != 14 {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := do("kill", "chaincode.buyer.market"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := do("status"); err == nil || strings.Count(out, "pid ") != 13 {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := do("restart", "chaincode.buyer.market"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := do("status"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := do("restart", "peer.nobody"); err == nil || !strings.Contains(out, "no process") {
		t.Fatalf("%v\n%s", err, out)
	}
}
