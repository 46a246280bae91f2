package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// mutant is a rule or a check taken away. The walk must notice each.
type mutant struct {
	name, file, old, new string
}

var mutants = []mutant{
	{"admission without identity checks", "contracts/member.go", `if !ok || !c.Passed {`, `if false && !ok && !c.Passed {`},
	{"one person is enough", "contracts/signer.go", `if !fill(duties, mine, nil) {`, `if false && !fill(duties, mine, nil) {`},
	{"a command id may be used again", "contracts/apply.go", `return nil, refuse("command.id_reused"`, `_ = done; return &Result{Repeated: true, Outcome: *done}, nil; return nil, refuse("command.id_reused"`},
	{"credit information without licence", "contracts/product.go", `if f.CreditInfo && (f.Licence == "" || f.Routing == "") {`, `if false && (f.Licence == "" || f.Routing == "") {`},
	{"data beyond the authorisation", "contracts/authority.go", `if !slices.Contains(a.Scope, g) {`, `if false && !slices.Contains(a.Scope, g) {`},
	{"registration during publicity", "contracts/review.go", `if t.env.Now < v.PublicityEnd {`, `if false && t.env.Now < v.PublicityEnd {`},
	{"listing without all attestations", "contracts/review.go", `if !slices.Contains(have, want) {`, `if false && !slices.Contains(have, want) {`},
	{"affiliates judge each other", "contracts/review.go", `if t.me() == other || me.affiliateOf(o) {`, `if t.me() == other && me.affiliateOf(o) {`},
	{"a policy wider than the product's", "contracts/negotiation.go", `if err := o.Policy.Narrows(v.Facts.Policy); err != nil {`, `if err := o.Policy.Narrows(v.Facts.Policy); false && err != nil {`},
	{"a bank reference used twice", "contracts/movement.go", `if t.has(ref) {`, `if t.has(ref) && false {`},
	{"use while frozen", "contracts/freeze.go", `if f, ok := peek[Freeze](t, KeyFreeze(id)); ok && f.Lifted == 0 {`, `if f, ok := get[Freeze](t, KeyFreeze(id)); ok && f.Lifted == 0 && false {`},
	{"another company's consent", "contracts/consent.go", `case c.Subject != subject:`, `case c.Subject != subject && false:`},
	{"a revoked consent", "contracts/consent.go", `case c.Revoked != 0:`, `case c.Revoked != 0 && false:`},
	{"settlement before acceptance", "contracts/settlement.go", `if p.Acceptance == nil &&`, `if false && p.Acceptance == nil &&`},
	{"a fen too much", "contracts/settlement.go", `v.Usage = toFen(micro)`, `v.Usage = toFen(micro) + 1`},
	{"the gate forgets staleness", "node/gate/gate.go", `time.Duration(stale)*time.Second); err != nil {`, `time.Duration(stale)*time.Second); false && err != nil {`},
}

// TestMutants builds the market with each mutant and walks. It takes minutes: BUND_MUTANTS=1 asks for it, as make test
// does.
func TestMutants(t *testing.T) {
	if os.Getenv("BUND_MUTANTS") == "" {
		t.Skip("BUND_MUTANTS is not set")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	tmp := t.TempDir()
	smoke := filepath.Join(tmp, "smoke")
	build(t, root, "", smoke, "./deploy/smoke")
	good := filepath.Join(tmp, "good")
	build(t, root, "", good+"/", "./server/marketd", "./node/datanode", "./ledger/bundaudit")
	if out, err := walkWith(smoke, good); err != nil {
		t.Fatalf("the walk fails without a mutant: %v\n%s", err, out)
	}
	for _, m := range mutants {
		t.Run(strings.ReplaceAll(m.name, " ", "-"), func(t *testing.T) {
			src, err := os.ReadFile(filepath.Join(root, m.file))
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(src), m.old); n != 1 {
				t.Fatalf("%s has %q %d times, want once", m.file, m.old, n)
			}
			dir := t.TempDir()
			mutated, overlay := filepath.Join(dir, "mutated.go"), filepath.Join(dir, "overlay.json")
			if err := os.WriteFile(mutated, []byte(strings.Replace(string(src), m.old, m.new, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			b, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(root, m.file): mutated}})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(overlay, b, 0o600); err != nil {
				t.Fatal(err)
			}
			bin := filepath.Join(dir, "bin")
			build(t, root, overlay, bin+"/", "./server/marketd", "./node/datanode", "./ledger/bundaudit")
			out, err := walkWith(smoke, bin)
			if err == nil {
				t.Fatalf("the walk did not notice:\n%s", out)
			}
			if !strings.Contains(out, "FAIL") {
				t.Fatalf("the walk failed without a step that failed: %v\n%s", err, out)
			}
		})
	}
}

func build(t *testing.T, root, overlay, out string, pkgs ...string) {
	t.Helper()
	if strings.HasSuffix(out, "/") {
		if err := os.MkdirAll(out, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"build", "-o", out}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	c := exec.Command("go", append(args, pkgs...)...)
	c.Dir = root
	if b, err := c.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, b)
	}
}

func walkWith(smoke, bin string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	tmp, err := os.MkdirTemp("", "bund-mutant-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp) // the walk keeps its folder when a step failed
	c := exec.CommandContext(ctx, smoke, "-bin", bin, "-calls", "40", "-fail-fast")
	c.Env = append(os.Environ(), "TMPDIR="+tmp)
	b, err := c.CombinedOutput()
	return string(b), err
}
