package fabric_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/packed"
)

// testCanary searches all that the network's processes have written for what openings hold.
func testCanary(t *testing.T, s *scene) {
	m := s.market
	must(t, m.Deposit(s.deal, 31_415_926))
	secrets := map[string]bool{} // whether the custodian's peer may have it, since a command of clearing carried it
	note := func(o contracts.Opening, clearing bool) {
		secrets[string(o.Salt[:])] = secrets[string(o.Salt[:])] || clearing
		if len(o.Value) >= 20 {
			secrets[string(o.Value)] = secrets[string(o.Value)] || clearing
		}
	}
	for _, sub := range s.ledger.sent {
		cmd, err := contracts.Decode(sub)
		must(t, err)
		for _, o := range sub.Openings {
			note(o, isClearing(cmd.Kind))
		}
	}
	kept := 0
	for _, o := range s.openings.all {
		sub, ok := s.ledger.sent[o.Command]
		if !ok {
			t.Fatal("an opening of a command that nobody sent")
		}
		cmd, err := contracts.Decode(sub)
		must(t, err)
		note(o.Opening, isClearing(cmd.Kind))
		kept++
	}
	market := 0
	for _, clearing := range secrets {
		if !clearing {
			market++
		}
	}
	if kept < 5 || market < 2 || len(secrets) < 10 {
		t.Fatalf("only %d openings kept and %d secrets to look for, %d of them not for the custodian", kept, len(secrets), market)
	}

	public := []byte(m.Listing.Product)
	found := map[string]bool{} // processes in whose files the search sees what is public
	files, size := 0, 0
	err := filepath.WalkDir(s.netDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(s.netDir, path)
		if err != nil {
			return err
		}
		owner, _, _ := strings.Cut(rel, string(filepath.Separator))
		whole := strings.HasPrefix(owner, "orderer.") || owner == "peer.regulator" || owner == "logs" || strings.Contains(rel, filepath.Join("ledgersData", "chains"))
		if !whole && owner != "peer.custodian" {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b = bytes.TrimRight(b, "\x00") // a log that was allocated ahead
		files, size = files+1, size+len(b)
		found[owner] = found[owner] || bytes.Contains(b, public)
		for secret, clearing := range secrets {
			if clearing && !whole {
				continue
			}
			for _, form := range forms([]byte(secret)) {
				if bytes.Contains(b, form) {
					t.Errorf("%s holds an opening", rel)
				}
			}
		}
		return nil
	})
	must(t, err)
	for _, owner := range []string{"orderer.1", "peer.regulator", "peer.custodian", "peer.venue", "peer.buyer"} {
		if !found[owner] {
			t.Errorf("the search doesn't find what is public in the files of %s", owner)
		}
	}
	for i := range 3 {
		const secret = "a secret of thirty-two bytes, no"
		b := fmt.Appendf(nil, "%s %x %s", secret, secret, base64.StdEncoding.EncodeToString([]byte("xyz"[:i]+secret+"x")))
		n := 0
		for _, form := range forms([]byte(secret)) {
			if bytes.Contains(b, form) {
				n++
			}
		}
		if n < 3 {
			t.Errorf("the search finds %d of the forms raw, hex and base64 at %d", n, i)
		}
	}
	t.Logf("%d secrets, %d files, %d MB", len(secrets), files, size>>20)
}

// forms are the ways in which bytes may stand in a file: raw, in hex, both packed, and in base64 at each of its three
// alignments. What is packed from hex is the raw bytes, with a count before each 255 of them.
func forms(b []byte) [][]byte {
	text := []byte(hex.EncodeToString(b))
	out := [][]byte{b, text, packed.Pack(b), packed.Pack(text)}
	for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for i := range 3 {
			// The characters at both ends depend on what stands beside.
			s := e.EncodeToString(append(make([]byte, i), b...))
			from := []int{0, 2, 3}[i]
			out = append(out, []byte(s[from:len(s)-1]))
		}
	}
	return out
}

// A long opening in an answer is hexadecimal digits, packed 255 bytes at a time.
func TestForms(t *testing.T) {
	secret := bytes.Repeat([]byte(`{"unit":"a secret"}`), 30)
	b := packed.Pack(fmt.Appendf(nil, `{"answers":[{"accepted":{"openings":[{"value":"%x"}]}}]}`, secret))
	for _, form := range forms(secret) {
		if bytes.Contains(b, form) {
			return
		}
	}
	t.Error("none of the forms of a long secret stands in a packed answer that holds it")
}
