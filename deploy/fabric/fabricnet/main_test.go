package main_test

import (
	"bufio"
	"bytes"
	"errors"
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
	// killed kills a command when it has said so many lines.
	killed := func(lines int, command ...string) {
		t.Helper()
		c := exec.Command(fabricnet, append(command, args...)...)
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var errs bytes.Buffer
		c.Stderr = &errs
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		said := bufio.NewScanner(out)
		for range lines {
			if !said.Scan() {
				c.Wait()
				t.Fatalf("%s ended before it said %d lines\n%s", command, lines, errs.String())
			}
		}
		c.Process.Kill()
		c.Wait()
	}
	for step := 1; step <= 3; step++ {
		killed(step, "up", "--port", strconv.Itoa(base))
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
	// An upgrade that is killed is finished by the next one.
	program, err := os.ReadFile(filepath.Join(bin, "chaincode"))
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "chaincode")
	if err := os.WriteFile(other, append(program, 0), 0o700); err != nil {
		t.Fatal(err)
	}
	killed(2, "upgrade", "--chaincode", other)
	if out, err := do("upgrade", "--chaincode", other); err != nil || !strings.Contains(out, "at sequence 2") {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := do("status"); err != nil || strings.Count(out, "pid ") != 14 {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := do("upgrade", "--chaincode", other); err != nil || !strings.Contains(out, "is in place") {
		t.Fatalf("%v\n%s", err, out)
	}
}

func TestUsage(t *testing.T) {
	self := filepath.Join(t.TempDir(), "fabricnet")
	if b, err := exec.Command("go", "build", "-o", self, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	all, err := exec.Command(self, "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"up", "down", "status", "restart", "kill", "add-peer", "upgrade", "rotate", "rebuild-peer", "snapshot", "backup", "restore"} {
		out, err := exec.Command(self, name, "--help").Output()
		if err != nil || !strings.HasPrefix(string(out), "fabricnet "+name) || !strings.Contains(string(all), "  fabricnet "+name) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	for _, wrong := range []string{"add-peer", "rotate", "backup", "restore", "rebuild-peer", "snapshot", "upgrade x", "dance"} {
		err := exec.Command(self, strings.Fields(wrong)...).Run()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 2 {
			t.Errorf("%s: %v", wrong, err)
		}
	}
	// What is wrong is said once, in two lines: not behind the whole help.
	for wrong, want := range map[string]string{
		"up --nonsense":     "fabricnet: flag provided but not defined: -nonsense\nfabricnet up --help tells more.\n",
		"restart":           "fabricnet: restart takes one argument, PROCESS, and got 0\nfabricnet restart --help tells more.\n",
		"status peer.venue": "fabricnet: status takes no argument, and got [\"peer.venue\"]\nfabricnet status --help tells more.\n",
		"dance":             "fabricnet: there is no command \"dance\"\nfabricnet --help tells more.\n",
	} {
		if out, _ := exec.Command(self, strings.Fields(wrong)...).CombinedOutput(); string(out) != want {
			t.Errorf("%s: got\n%swant\n%s", wrong, out, want)
		}
	}
}
