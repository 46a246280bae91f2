package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/bund-exchange/bund/contracts"
)

func testBox(t *testing.T) *strongbox {
	t.Helper()
	b, err := newStrongbox([32]byte{1}, "test")
	ok(t, err)
	return b
}

// TestStrongbox opens only what it sealed, under the name that it was sealed for.
func TestStrongbox(t *testing.T) {
	b, dir := testBox(t), t.TempDir()
	path := filepath.Join(dir, "one")
	ok(t, b.write(path, []byte("secret")))
	got, err := b.read(path)
	ok(t, err)
	if string(got) != "secret" {
		t.Fatalf("%q", got)
	}
	raw, err := os.ReadFile(path)
	ok(t, err)
	if bytes.Contains(raw, []byte("secret")) {
		t.Error("it is kept in the clear")
	}
	ok(t, os.WriteFile(filepath.Join(dir, "two"), raw, 0o600))
	ok(t, os.WriteFile(filepath.Join(dir, "short"), raw[:5], 0o600))
	raw[len(raw)-1] ^= 1
	ok(t, os.WriteFile(filepath.Join(dir, "damaged"), raw, 0o600))
	for _, name := range []string{"two", "short", "damaged"} {
		if _, err := b.read(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s is opened", name)
		}
	}
	if _, err := b.read(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	other, err := newStrongbox([32]byte{1}, "another purpose")
	ok(t, err)
	if _, err := other.read(path); err == nil {
		t.Error("the same key opens what was sealed for another purpose")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "tmp-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestSpentTickets: a nonce is good for one use, and for that again, across a restart, until its ticket is long over.
func TestSpentTickets(t *testing.T) {
	path, now := filepath.Join(t.TempDir(), "tickets.db"), time.UnixMilli(1_774_000_000_000)
	open := func() *spentTickets {
		s, err := openSpentTickets(path, func() time.Time { return now })
		ok(t, err)
		return s
	}
	s := open()
	end := contracts.Millis(now.Add(time.Minute).UnixMilli())
	spend := func(nonce byte, use string, end contracts.Millis) bool {
		free, err := s.Spend([16]byte{nonce}, contracts.HashOf("test/use", []byte(use)), end)
		ok(t, err)
		return free
	}
	first, again := spend(1, "a", end), spend(1, "a", end)
	if !first || !again || spend(1, "b", end) || !spend(2, "b", end) {
		t.Error("a nonce was spent twice, or not once")
	}
	ok(t, s.close())
	s = open()
	if spend(1, "b", end) || !spend(1, "a", end) {
		t.Error("a restart forgets what was spent")
	}
	count := func() (n int) {
		ok(t, s.db.View(func(tx *bbolt.Tx) error { n = tx.Bucket(spentBucket).Stats().KeyN; return nil }))
		return n
	}
	now = now.Add(5 * time.Minute) // the clock may be set back by that much
	spend(3, "c", end+600_000)
	if spend(1, "b", end) || count() != 3 {
		t.Errorf("%d nonces are kept", count())
	}
	now = now.Add(time.Hour)
	spend(4, "d", contracts.Millis(now.UnixMilli()))
	if count() != 1 {
		t.Errorf("%d nonces are kept for ever", count())
	}
	ok(t, s.close())
	if _, err := s.Spend([16]byte{9}, "", end); err == nil {
		t.Error("a closed store takes a nonce")
	}
}

// TestHistories gives each company its own entries and nobody else's, the latest first; and an application's ticket while it
// lives.
func TestHistories(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history.db")
	open := func() *histories {
		h, err := openHistories(path, testBox(t))
		ok(t, err)
		return h
	}
	h := open()
	entry := func(c contracts.CreditCode, at int) historyEntry {
		return historyEntry{Agreement: "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f", Bank: "1f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f", Code: c, Consent: "2f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f",
			Purpose: "pre_loan", Time: 1_774_000_000_000 + contracts.Millis(at), Version: "3f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"}
	}
	for i := range 12 { // each ticket is about two companies; company n is asked about n times
		var es []historyEntry
		for n := range 20 {
			if i < n {
				es = append(es, entry(companies[n], i))
			}
		}
		if es != nil {
			ok(t, h.add(fmt.Appendf(nil, "application %d", i), fmt.Appendf(nil, "ticket %d", i), 1_774_000_060_000+contracts.Millis(i), es))
		}
	}
	ok(t, h.close())
	h = open()
	for n, c := range companies[:20] {
		got, err := h.of(c, 1000)
		ok(t, err)
		if len(got) != min(n, 12) {
			t.Fatalf("company %d has %d entries", n, len(got))
		}
		for i, e := range got {
			if want := entry(c, len(got)-1-i); e != want {
				t.Fatalf("company %d, entry %d: %+v, want %+v", n, i, e, want)
			}
		}
	}
	if got, err := h.of(companies[15], 3); err != nil || len(got) != 3 || got[0] != entry(companies[15], 11) {
		t.Errorf("the latest three: %v %v", got, err)
	}
	for at, want := range map[contracts.Millis]string{1_774_000_000_000: "ticket 3", 1_774_000_060_003: "ticket 3", 1_774_000_060_004: ""} {
		if got, err := h.issued([]byte("application 3"), at); err != nil || string(got) != want {
			t.Errorf("at %d: %q %v", at, got, err)
		}
	}
	if got, err := h.issued([]byte("another"), 1_774_000_000_000); got != nil || err != nil {
		t.Errorf("%q %v", got, err)
	}
	// Later tickets push out those that are over.
	e := entry(companies[0], 3_600_000)
	ok(t, h.add([]byte("later"), []byte("ticket"), e.Time+60_000, []historyEntry{e}))
	ok(t, h.db.View(func(tx *bbolt.Tx) error {
		if n := tx.Bucket(issuedBucket).Stats().KeyN; n != 1 {
			t.Errorf("%d tickets are kept", n)
		}
		return nil
	}))
	ok(t, h.close())
	b, err := os.ReadFile(path)
	ok(t, err)
	for _, c := range companies[:20] {
		if bytes.Contains(b, []byte(c)) {
			t.Fatal("a code is kept in the clear")
		}
	}
}
