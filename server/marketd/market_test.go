package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/ledger/follow"
)

// A market on its own private PostgreSQL: made, run, used, stopped, run again.
func TestLife(t *testing.T) {
	s := newStand(t, "")
	s.begin()
	down := s.up()
	s.admit("甲")
	for _, path := range []string{"/healthz", "/readyz", "/products?min_position=3", "/checkpoint"} {
		if status, body := s.ask(http.MethodGet, path, ""); status != http.StatusOK {
			t.Errorf("%s: status %d: %s", path, status, body)
		}
	}
	if _, body := s.ask(http.MethodGet, "/products", ""); strings.Contains(body, "null") {
		t.Errorf("a list without values is not a list: %s", body)
	}
	down()
	if _, err := http.Get(s.base + "/healthz"); err == nil {
		t.Error("a stopped market answers")
	}
	down = s.up()
	s.admit("乙")
	if status, body := s.ask(http.MethodGet, "/members?min_position=6", ""); status != http.StatusOK || !strings.Contains(body, "甲") || !strings.Contains(body, "乙") {
		t.Errorf("status %d: %s", status, body)
	}
	down()
	if got := s.must("rebuild"); !strings.Contains(got, "from 7 entries") {
		t.Errorf("rebuild says %q", got)
	}
	if got := s.must("verify"); !strings.Contains(got, "the chain is whole") {
		t.Errorf("verify says %q", got)
	}
}

func TestInit(t *testing.T) {
	s := newStand(t, private(t))
	s.write("machine.seed", strings.Repeat("22", 32))
	s.refused([]string{"no genesis", "marketd init"}, "run")
	s.begin()
	b, err := os.ReadFile(s.path("trust.json"))
	if err != nil {
		t.Fatal(err)
	}
	if root, err := follow.ParseTrustRoot(b); err != nil || root.Ledger != ledgerID || len(root.Witnesses) != 1 || root.Quorum != 1 {
		t.Errorf("trust root %+v: %v", root, err)
	}
	if st, err := os.Stat(s.path("client")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("credentials: %v, %v", st, err)
	}
	if code, _, errs := s.init(); code != 1 || !strings.Contains(errs, "a ledger of 1 entries already") {
		t.Errorf("a second init: exit code %d\n%s", code, errs)
	}
	after, err := os.ReadFile(s.path("trust.json"))
	if err != nil || !bytes.Equal(after, b) {
		t.Errorf("a second init touched the trust root (%v)", err)
	}
}

// A genesis file is a public format: what is not exactly one is refused before anything is made.
func TestInitRefusesGenesis(t *testing.T) {
	s := newStand(t, private(t))
	s.write("machine.seed", strings.Repeat("22", 32))
	for _, x := range [][2]string{
		{"empty", ""}, {"list", "[]"}, {"unknown field", `{"raw":"{}","signatures":[],"more":1}`}, {"folded", `{"RAW":"{}","signatures":[]}`},
		{"twice", `{"raw":"{}","raw":"{}","signatures":[]}`}, {"trailing", `{"raw":"{}","signatures":[]} {}`}, {"a field less", `{"raw":"{}"}`},
		{"folded key", `{"raw":"{}","signatures":[{"Key":"k","sig":"00"}]}`}, {"not hex", `{"raw":"{}","signatures":[{"key":"k","sig":"zz"}]}`},
		{"wrong type", `{"raw":1,"signatures":[]}`},
		{"unsigned", `{"raw":"{}","signatures":[]}`}, // the ledger's to refuse: the folder is there then, without an entry
	} {
		name := x[0]
		s.write("genesis.json", x[1])
		if code, _, errs := s.init(); code != 1 || !strings.Contains(errs, "genesis") && !strings.Contains(errs, "couldn't begin the ledger") {
			t.Errorf("%s: exit code %d\n%s", name, code, errs)
		}
		if _, err := os.Stat(s.path("trust.json")); err == nil {
			t.Fatalf("%s: a trust root was written", name)
		}
		if _, err := os.Stat(s.path("market/ledger")); err == nil && name != "unsigned" {
			t.Fatalf("%s: a ledger was made", name)
		}
	}
}

func TestWitnesses(t *testing.T) {
	db := private(t)
	s := newStand(t, db)
	s.begin()
	s.up()()
	s.witness.Down(true)
	s.refused([]string{"couldn't open the published log", "witness.test"}, "run")
	s.config(db, "allowUnwitnessed: true\n")
	s.up()()
}

func TestBackup(t *testing.T) {
	s := newStand(t, private(t))
	s.begin()
	old, backup := s.path("old"), s.path("backup")
	down := s.up()
	s.admit("甲")
	s.refused([]string{"open elsewhere"}, "backup", "--to", s.path("busy"))
	down()
	s.must("backup", "--to", old)
	s.refused([]string{"must not exist yet"}, "backup", "--to", old)

	down = s.up()
	s.admit("乙")
	down()
	want := inventory(t, s.must("backup", "--to", backup))
	// A stop doesn't wait for the second that may pass between checkpoints.
	if want.Entries != 7 || want.Published == 0 || want.Published > 7 {
		t.Errorf("inventory %+v", want)
	}
	s.refused([]string{"has a ledger already"}, "restore", "--from", backup)

	// Elsewhere: an empty folder and database, the same keys, the same witness.
	restored := func(from string) {
		if err := os.Rename(s.path("market"), s.path("was-"+filepath.Base(from))); err != nil {
			t.Fatal(err)
		}
		s.config(private(t), "")
		if got := s.must("restore", "--from", from); !strings.Contains(got, "all as in the backup") {
			t.Errorf("restore says %q", got)
		}
	}
	restored(backup)
	again := inventory(t, s.must("backup", "--to", s.path("again")))
	if again.Made = want.Made; again != want {
		t.Errorf("restored %+v, want %+v", again, want)
	}
	down = s.up()
	s.admit("丙")
	down()

	restored(old)
	s.refused([]string{"it has 4", "old backup", "witnesses speak for"}, "run")
	s.witness.Down(true)
	s.refused([]string{"witness"}, "run")
}

func inventory(t *testing.T, out string) (inv Inventory) {
	t.Helper()
	if err := json.Unmarshal([]byte(out), &inv); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return inv
}

// A backup that was changed is not restored as if nothing were.
func TestRestoreRefusesChange(t *testing.T) {
	s := newStand(t, private(t))
	s.begin()
	s.must("backup", "--to", s.path("backup")) // before anything was published
	if err := os.RemoveAll(s.path("market")); err != nil {
		t.Fatal(err)
	}
	change(t, s.path("backup/app.dump"), func(b []byte) []byte { return bytes.Replace(b, []byte("venue machine"), []byte("venue machinE"), 1) })
	s.config(private(t), "")
	s.refused([]string{"not what was backed up"}, "restore", "--from", s.path("backup"))

	if err := os.Remove(s.path("backup/inventory.json")); err != nil {
		t.Fatal(err)
	}
	s.refused([]string{"inventory"}, "restore", "--from", s.path("backup"))
}

func change(t *testing.T, name string, edit func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, edit(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A flipped byte of an acknowledged entry: the market doesn't open, and says where.
func TestDamagedLedger(t *testing.T) {
	s := newStand(t, private(t))
	s.begin()
	down := s.up()
	s.admit("甲")
	down()
	segments, err := filepath.Glob(s.path("market/ledger/log/*.seg"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("segments %v: %v", segments, err)
	}
	at := 0
	change(t, segments[0], func(b []byte) []byte {
		at = bytes.Index(b, []byte(`"genesis"`)) // within the first record; whole ones follow it
		b[at] ^= 1
		return b
	})
	if at < 0 {
		t.Fatal("the segment has no genesis")
	}
	s.refused([]string{filepath.Base(segments[0]), "offset "}, "run")
}
