package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts/signing"
	"github.com/bund-exchange/bund/ledger/follow"
	"github.com/bund-exchange/bund/ledger/witness"
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

// A backup that is too old goes on only with the public acceptance of the loss, signed by two people of the venue; a
// node and the witness go on with it.
func TestAcceptLoss(t *testing.T) {
	s := newStand(t, private(t))
	s.begin()
	old := s.path("old")
	down := s.up()
	s.admit("甲")
	down()
	s.must("backup", "--to", old)
	now := s.cast.Now
	down = s.up()
	s.admit("乙")
	node := s.follower()
	s.upTo(node, 7)
	down()
	node.Close()

	if err := os.Rename(s.path("market"), s.path("was")); err != nil {
		t.Fatal(err)
	}
	db := private(t)
	s.config(db, "")
	if got := s.must("restore", "--from", old); !strings.Contains(got, "too old") || !strings.Contains(got, "cosigned 7") {
		t.Errorf("restore says %q", got)
	}
	s.refused([]string{"witnesses speak for 7"}, "run")

	for _, args := range [][]string{{"restore"}, {"restore", "--from", old, "--accept-loss", "x"}, {"restore", "--prepare-loss", s.path("loss")}, {"restore", "--prepare-loss", s.path("loss"), "--reason", "x", "--key", "nonsense"}} {
		if code, _, errs := s.do(args...); code != 2 {
			t.Errorf("%v: exit code %d\n%s", args, code, errs)
		}
	}
	venue := s.cast.Venue
	if got := s.must("restore", "--prepare-loss", s.path("loss"), "--reason", "磁盘损坏", "--key", string(venue.Maker.Public)); !strings.Contains(got, "entries 4 to 6 are lost") {
		t.Errorf("prepared: %q", got)
	}
	raw, err := os.ReadFile(s.path("loss"))
	if err != nil {
		t.Fatal(err)
	}
	raw = bytes.TrimSuffix(raw, []byte("\n"))
	signed := func(raw []byte, keys ...signing.Key) {
		var sigs []map[string]string
		for _, k := range keys {
			sigs = append(sigs, map[string]string{"key": string(k.Public), "sig": hex.EncodeToString(k.Sign(raw))})
		}
		b, err := json.Marshal(map[string]any{"raw": string(raw), "signatures": sigs})
		if err != nil {
			t.Fatal(err)
		}
		s.write("signed.json", string(b))
	}
	signed(raw, venue.Maker)
	s.refused([]string{"signature.people"}, "restore", "--accept-loss", s.path("signed.json"))
	signed(bytes.Replace(raw, []byte(`"kept":"`), []byte(`"kept":"0`), 1), venue.Maker, venue.Check)
	s.refused([]string{"command.body"}, "restore", "--accept-loss", s.path("signed.json"))
	at := bytes.Index(raw, []byte(`"kept":"`)) + len(`"kept":"`)
	forged := bytes.Clone(raw)
	copy(forged[at:], "00000000")
	signed(forged, venue.Maker, venue.Check)
	s.refused([]string{"another history"}, "restore", "--accept-loss", s.path("signed.json"))
	signed(bytes.Replace(raw, []byte(`"cosignedSize":"7"`), []byte(`"cosignedSize":"5"`), 1), venue.Maker, venue.Check)
	s.refused([]string{"witnesses have cosigned 7"}, "restore", "--accept-loss", s.path("signed.json"))

	signed(raw, venue.Maker, venue.Check)
	s.witness.Down(true)
	s.refused([]string{"couldn't publish"}, "restore", "--accept-loss", s.path("signed.json"))
	s.witness.Down(false)
	if got := s.must("restore", "--accept-loss", s.path("signed.json")); !strings.Contains(got, "epoch 1") || !strings.Contains(got, "witness-accept") {
		t.Errorf("accepted: %q", got)
	}
	s.refused([]string{"nothing is lost"}, "restore", "--prepare-loss", s.path("again"), "--reason", "x", "--key", string(venue.Maker.Public))

	s.cast.Now = now
	down = s.up()
	node = s.follower()
	s.upTo(node, 5)
	if st := node.Status(); st.Epoch != 1 {
		t.Errorf("the node: %+v", st)
	}
	if err := node.MayStart(time.Now(), time.Hour); !errors.Is(err, follow.ErrStale) {
		t.Errorf("before the witness has accepted: %v", err)
	}
	if _, err := s.witness.Accept(witness.Loss{Head: node.Head(), Kept: 4, Root: node.Root}); err != nil {
		t.Fatal(err)
	}
	s.admit("丙")
	s.upTo(node, 8)
	if err := node.StartNow(t.Context()); err != nil {
		t.Errorf("after it has: %v", err)
	}
	node.Close()
	down()
	s.up()() // and the market starts again, asked for the new epoch only
}

// follower is a node's, of what is public.
func (s *stand) follower() *follow.Follower {
	s.t.Helper()
	b, err := os.ReadFile(s.path("trust.json"))
	if err != nil {
		s.t.Fatal(err)
	}
	trust, err := follow.ParseTrustRoot(b)
	if err != nil {
		s.t.Fatal(err)
	}
	f, err := follow.Open(follow.Config{Path: s.path("followed"), Trust: trust, URL: s.base})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { f.Close() })
	return f
}

// upTo follows all that the ledger has: a request for cosignatures publishes it, whether they come or not.
func (s *stand) upTo(f *follow.Follower, size uint64) {
	s.t.Helper()
	if err := f.StartNow(s.t.Context()); err != nil && !errors.Is(err, follow.ErrStale) {
		s.t.Fatal(err)
	}
	if st := f.Status(); st.Size != size {
		s.t.Fatalf("followed %+v, want %d entries", st, size)
	}
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
