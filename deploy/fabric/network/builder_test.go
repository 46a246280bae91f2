package network_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/bund-exchange/bund/deploy/fabric/network"
)

// What a peer may be running is not written to.
func TestBuilderInUse(t *testing.T) {
	dir := t.TempDir()
	release := filepath.Join(dir, "builder", "bin", "release")
	write := func() os.FileInfo {
		t.Helper()
		if err := network.WriteBuilder(dir); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(release)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	first := write()
	if err := os.Chmod(release, 0o500); err != nil { // who writes it anew gives it another mode or fails
		t.Fatal(err)
	}
	if again := write(); !os.SameFile(first, again) || again.Mode().Perm() != 0o500 || !again.ModTime().Equal(first.ModTime()) {
		t.Error("the same builder was written again")
	}
	const earlier = "#!/bin/sh\nan earlier version's\n"
	if err := os.Remove(release); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(release, []byte(earlier), 0o700); err != nil {
		t.Fatal(err)
	}
	running, err := os.Open(release)
	if err != nil {
		t.Fatal(err)
	}
	defer running.Close()
	if info := write(); info.Mode().Perm() != 0o700 || info.Size() == int64(len(earlier)) {
		t.Errorf("an earlier version's builder is still there: %s, %d bytes", info.Mode(), info.Size())
	}
	b := make([]byte, 2*len(earlier))
	if n, _ := running.Read(b); string(b[:n]) != earlier {
		t.Errorf("a builder that runs became %q", b[:n])
	}
}
