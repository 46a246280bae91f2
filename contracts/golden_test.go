package contracts_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
)

const (
	goldenCommands = "testdata/golden/commands.txt"
	goldenRecords  = "testdata/golden/records.txt"
)

// tours plays the scripts that the golden bytes are taken from.
func tours(t *testing.T) []*contractstest.Pure {
	t.Helper()
	return []*contractstest.Pure{play(t, "tour").Oracle, play(t, "loss").Oracle}
}

func play(t *testing.T, name string) *contractstest.Scene {
	t.Helper()
	script, err := os.ReadFile("testdata/" + name + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	s := contractstest.NewScene("bund.test/"+name, nil, 1)
	if _, err := s.Play(string(script), false); err != nil {
		t.Fatal(err)
	}
	return s
}

// golden compares text with a committed file, or writes it with -update.
func golden(t *testing.T, file, text string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got, old := strings.Split(text, "\n"), strings.Split(string(want), "\n")
	for i := range min(len(got), len(old)) {
		if got[i] != old[i] {
			t.Fatalf("%s:%d: signed or stored bytes have changed: a ledger's history would no longer verify.\nwas %s\nis  %s", file, i+1, old[i], got[i])
		}
	}
	if len(got) != len(old) {
		t.Fatalf("%s: %d lines, were %d", file, len(got), len(old))
	}
}

// TestGoldenCommands holds the signed bytes of every kind: an edit of a struct that changes one byte fails here.
func TestGoldenCommands(t *testing.T) {
	var b strings.Builder
	seen := map[string]bool{}
	var applied []contractstest.Applied
	for _, p := range tours(t) {
		applied = append(applied, p.Applied...)
	}
	for _, a := range applied {
		kind := a.Result.Outcome.Kind
		if seen[kind] {
			continue
		}
		seen[kind] = true
		cmd, err := contracts.Decode(a.Submission)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "kind %s\nbody %s\nraw %s\ndigest %s\n", kind, cmd.Envelope.Body, a.Submission.Raw, cmd.Digest)
		for _, s := range a.Submission.Signatures {
			fmt.Fprintf(&b, "signed %s %x\n", s.Key, s.Sig)
		}
		b.WriteString("\n")
	}
	for _, k := range contracts.Kinds() {
		if !seen[k.Name] {
			t.Errorf("the tours have no %s", k.Name)
		}
	}
	golden(t, goldenCommands, b.String())
}

// TestGoldenCommandsDecode reads the committed bytes alone: what was signed once is accepted in form for ever.
func TestGoldenCommandsDecode(t *testing.T) {
	file, err := os.ReadFile(goldenCommands)
	if err != nil {
		t.Fatal(err)
	}
	for block := range strings.SplitSeq(strings.TrimSpace(string(file)), "\n\n") {
		var kind, digest string
		var sub contracts.Submission
		for line := range strings.SplitSeq(block, "\n") {
			word, rest, _ := strings.Cut(line, " ")
			switch word {
			case "kind":
				kind = rest
			case "raw":
				sub.Raw = []byte(rest)
			case "digest":
				digest = rest
			case "signed":
				key, sig, _ := strings.Cut(rest, " ")
				raw, err := hex.DecodeString(sig)
				if err != nil {
					t.Fatal(err)
				}
				sub.Signatures = append(sub.Signatures, contracts.Signature{Key: contracts.PublicKey(key), Sig: raw})
			}
		}
		cmd, err := contracts.Decode(sub)
		if err != nil || cmd.Kind != kind || string(cmd.Digest) != digest {
			t.Errorf("%s: %v", kind, err)
		}
		// One byte changed anywhere, and it is no longer what was signed.
		for _, i := range []int{1, len(sub.Raw) / 3, len(sub.Raw) / 2, len(sub.Raw) - 2} {
			bad := sub
			bad.Raw = bytes.Clone(sub.Raw)
			bad.Raw[i] ^= 1
			if _, err := contracts.Decode(bad); err == nil {
				t.Errorf("%s: byte %d may be changed", kind, i)
			}
		}
	}
}

// noun is what a key's record is: the words before its ids.
func noun(key string) string {
	words := strings.Split(key, "/")
	if words[0] == "clr" {
		return strings.Join(words[:2], "/")
	}
	return words[0]
}

// TestGoldenRecords holds the stored bytes of every record.
func TestGoldenRecords(t *testing.T) {
	var b strings.Builder
	seen := map[string]bool{}
	for _, p := range tours(t) {
		for _, k := range p.Keys() {
			if seen[noun(k)] {
				continue
			}
			seen[noun(k)] = true
			v, err := p.Get(k)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "%s\n%s\n", k, v)
		}
	}
	golden(t, goldenRecords, b.String())
}

// TestGoldenNouns fails when a script writes a record that the tour doesn't.
func TestGoldenNouns(t *testing.T) {
	file, err := os.ReadFile(goldenRecords)
	if err != nil {
		t.Fatal(err)
	}
	held := map[string]bool{}
	for i, line := range strings.Split(string(file), "\n") {
		if i%2 == 0 {
			held[noun(line)] = true
		}
	}
	for name, s := range scenes(t) {
		for _, k := range s.Oracle.Keys() {
			if !held[noun(k)] {
				t.Errorf("%s writes %s, of which there are no golden bytes", name, noun(k))
			}
		}
	}
}

// scenes plays the whole corpus.
func scenes(t *testing.T) map[string]*contractstest.Scene {
	t.Helper()
	out := map[string]*contractstest.Scene{}
	for _, name := range contractstest.Scripts(t, "testdata") {
		out[name] = play(t, name)
	}
	return out
}
