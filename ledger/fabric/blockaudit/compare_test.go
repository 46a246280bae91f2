package blockaudit_test

import (
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/evidence"
	"github.com/bund-exchange/bund/ledger/fabric/blockaudit"
	"github.com/bund-exchange/bund/ledger/fabric/blockaudit/blockaudittest"
	"github.com/bund-exchange/bund/ledger/fabric/blocks"
)

// entries are those of the recording, as its network's client derived them.
func entries(t *testing.T, r *blockaudittest.Recording) (all [][]byte) {
	t.Helper()
	var prev [32]byte
	for _, b := range r.Blocks {
		d, err := blocks.Derive(b, blockaudittest.Names)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range blocks.Entries(prev, uint64(len(all)), d.Commands) {
			all, prev = append(all, s.Encoded), s.Hash
		}
	}
	if hex.EncodeToString(prev[:]) != blockaudittest.LastEntry {
		t.Fatalf("the last entry is %x", prev)
	}
	return all
}

// pack writes as much of an evidence package as its reader needs.
func pack(t *testing.T, all [][]byte) string {
	t.Helper()
	dir := t.TempDir()
	var b []byte
	for _, e := range all {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(e))), e...)
	}
	if err := os.WriteFile(filepath.Join(dir, evidence.EntriesFile), b, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestEvidence(t *testing.T) {
	r := load(t)
	all := entries(t, r)
	dir := t.TempDir()
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	changed := slices.Clone(all)
	e, err := ledger.DecodeEntry(changed[20])
	if err != nil {
		t.Fatal(err)
	}
	e.Events = append(e.Events, contracts.Event{Name: "invented", Object: contracts.ID("00000000000000000000000000000001")})
	changed[20] = e.Encode()
	for name, c := range map[string]struct {
		entries [][]byte
		verdict evidence.Verdict
		count   int
		detail  string
	}{
		"the same":      {all, evidence.Verified, len(all), ""},
		"an older one":  {all[:20], evidence.Verified, 20, "the blocks give 36 more"},
		"a newer one":   {append(slices.Clone(all), all[0]), evidence.NotCheckable, len(all), "the blocks end before these entries"},
		"another entry": {changed, evidence.Failed, 20, "the blocks give another entry"},
		"one left out":  {slices.Delete(slices.Clone(all), 30, 31), evidence.Failed, 30, "the blocks give another entry"},
	} {
		k := auditDir(t, dir, pack(t, c.entries)).Check(blockaudit.CheckEvidence)
		if k == nil || k.Verdict != c.verdict || k.Count != c.count || k.Detail != c.detail {
			t.Errorf("%s: %+v", name, k)
		}
	}
	if auditDir(t, dir, "").Check(blockaudit.CheckEvidence) != nil {
		t.Error("a check without evidence")
	}
	if _, err := blockaudit.Audit(t.Context(), blockaudit.Config{Dir: dir, Names: blockaudittest.Names, Evidence: t.TempDir()}); err == nil {
		t.Error("compared with an evidence package that isn't there")
	}

	// Blocks that hold what the market's chaincode never does: from there on there is nothing to compare.
	cut := newCrafter(t)
	cut.Blocks = cut.Blocks[:40]
	cut.Append([]byte{0}, cut.call(with(cut.private("_implicit_org_VenueMSP"))))
	if err := cut.Write(dir); err != nil {
		t.Fatal(err)
	}
	for i := len(cut.Blocks); i < len(r.Blocks); i++ {
		if err := os.Remove(filepath.Join(dir, blocks.FileName(uint64(i)))); err != nil {
			t.Fatal(err)
		}
	}
	rep := auditDir(t, dir, pack(t, all))
	failed(t, rep, blockaudit.CheckEntries, blocks.FileName(40)+": data", "private data")
	if k := rep.Check(blockaudit.CheckEvidence); k.Verdict != evidence.NotCheckable || k.Count == 0 || k.Count+k.Skipped != len(all) {
		t.Errorf("%+v", k)
	}
}
