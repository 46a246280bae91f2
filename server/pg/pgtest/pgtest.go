// Package pgtest gives every test a database of its own on a real PostgreSQL: a copy of a template that was migrated
// once.
//
// The server is the one that TEST_DATABASE_URL names, whose role must be allowed to make databases, or a managed one
// per test process. Managed ones live in numbered folders under the temporary folder, which later processes use again:
// starting one that is there takes a tenth of a second.
package pgtest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/server/pg"
	"github.com/bund-exchange/bund/server/pg/managed"
)

// New gives a migrated, empty database that is dropped when the test ends.
func New(t testing.TB) *sqlx.DB {
	t.Helper()
	db, _ := NewURL(t)
	return db
}

// NewURL is New, with how another process can connect to the same database.
func NewURL(t testing.TB) (*sqlx.DB, string) {
	t.Helper()
	s, err := server()
	if err != nil {
		t.Fatalf("couldn't get a PostgreSQL for the test: %v", err)
	}
	var raw [6]byte
	rand.Read(raw[:])
	name := "bundtest_" + hex.EncodeToString(raw[:])
	ctx := context.Background()
	if _, err := s.admin.ExecContext(ctx, `CREATE DATABASE `+name+` TEMPLATE `+s.template); err != nil {
		t.Fatalf("couldn't copy the template database: %v", err)
	}
	t.Cleanup(func() {
		if _, err := s.admin.ExecContext(ctx, `DROP DATABASE `+name+` WITH (FORCE)`); err != nil {
			t.Errorf("couldn't drop the test's database: %v", err)
		}
	})
	u := s.url(name)
	db, err := pg.Connect(ctx, u, 16)
	if err != nil {
		t.Fatalf("couldn't connect to the test's database: %v", err)
	}
	t.Cleanup(func() { db.Close() })
	return db, u
}

// Empty gives a database without any schema, for tests of the migrations themselves.
func Empty(t testing.TB) *sqlx.DB {
	t.Helper()
	db := New(t)
	if _, err := db.Exec(`DROP SCHEMA proj CASCADE; DROP SCHEMA app CASCADE; DROP TABLE public.bund_migration`); err != nil {
		t.Fatalf("couldn't empty the test's database: %v", err)
	}
	return db
}

type testServer struct {
	admin    *sqlx.DB
	template string
	url      func(database string) string
}

// server is started by the first test of the process that needs it. It ends with the process: its death signal sees to
// that, since a package's tests have no last moment of their own.
var server = sync.OnceValues(func() (*testServer, error) {
	ctx := context.Background()
	s := &testServer{}
	if base := os.Getenv("TEST_DATABASE_URL"); base != "" {
		u, err := url.Parse(base)
		if err != nil {
			return nil, errors.New("couldn't read TEST_DATABASE_URL")
		}
		s.url = func(database string) string { v := *u; v.Path = "/" + database; return v.String() }
		if s.admin, err = pg.Connect(ctx, base, 4); err != nil {
			return nil, err
		}
		return s, s.makeTemplate(ctx)
	}
	srv, err := startManaged(ctx)
	if err != nil {
		return nil, err
	}
	s.url = srv.URL
	if s.admin, err = pg.Connect(ctx, srv.URL("postgres"), 4); err != nil {
		return nil, err
	}
	if err := s.dropLeftovers(ctx); err != nil {
		return nil, err
	}
	return s, s.makeTemplate(ctx)
})

// startManaged takes the first free folder. A folder that saw another boot of the machine is begun anew: its cluster
// was never synced to the disk.
func startManaged(ctx context.Context) (*managed.Server, error) {
	base := filepath.Join(os.TempDir(), fmt.Sprintf("bund-pgtest-%d", os.Geteuid()))
	if err := os.MkdirAll(base, 0o711); err != nil {
		return nil, err
	}
	if st, err := os.Lstat(base); err != nil || !st.IsDir() || int(st.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() {
		return nil, fmt.Errorf("%s belongs to somebody else: remove it", base)
	}
	// One process at a time looks for a folder: another may be about to remove it.
	look, err := os.OpenFile(filepath.Join(base, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer look.Close()
	if err := syscall.Flock(int(look.Fd()), syscall.LOCK_EX); err != nil {
		return nil, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	for i := range 64 {
		dir := filepath.Join(base, fmt.Sprint(i))
		cfg := managed.Config{Dir: dir, CacheDir: filepath.Join(cache, "bund"), Disposable: true, Log: quiet}
		if err := forgetOtherBoot(dir); errors.Is(err, managed.ErrInUse) {
			continue
		} else if err != nil {
			return nil, err
		}
		srv, err := managed.Start(ctx, cfg)
		if errors.Is(err, managed.ErrInUse) {
			continue
		}
		return srv, err
	}
	return nil, errors.New("all test servers are in use")
}

func forgetOtherBoot(dir string) error {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return fmt.Errorf("couldn't tell this boot from others: %w", err)
	}
	mark := filepath.Join(dir, "boot")
	had, err := os.ReadFile(mark)
	if err == nil && string(had) == string(boot) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	free, err := managed.Free(dir)
	if err != nil || !free {
		return errors.Join(err, managed.ErrInUse)
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	return os.WriteFile(mark, boot, 0o644)
}

// dropLeftovers drops what tests that were killed left in a managed server, which no other process uses.
func (s *testServer) dropLeftovers(ctx context.Context) error {
	var names []string
	if err := s.admin.SelectContext(ctx, &names, `SELECT datname FROM pg_database WHERE datname LIKE 'bundtest\_%' OR datname LIKE 'bundtemplate\_%'`); err != nil {
		return err
	}
	keep := templateName()
	for _, n := range names {
		if n == keep {
			continue
		}
		if _, err := s.admin.ExecContext(ctx, `DROP DATABASE `+n+` WITH (FORCE)`); err != nil {
			return err
		}
	}
	return nil
}

// templateName is a digest of the migrations: other migrations, another template.
func templateName() string {
	h := sha256.New()
	files, err := fs.Glob(pg.Migrations(), "*.sql")
	if err != nil {
		panic(err) // the pattern is well formed
	}
	for _, f := range files {
		b, err := fs.ReadFile(pg.Migrations(), f)
		if err != nil {
			panic(err) // the file is compiled in
		}
		fmt.Fprintf(h, "%s\x00%d\x00", f, len(b))
		h.Write(b)
	}
	return "bundtemplate_" + hex.EncodeToString(h.Sum(nil)[:8])
}

// makeTemplate makes the template unless it is there. It is made under another name and renamed, so a name that is
// there is complete; two processes on one server make it one after the other.
func (s *testServer) makeTemplate(ctx context.Context) error {
	s.template = templateName()
	return pg.WithTx(ctx, s.admin, func(tx *sqlx.Tx) error {
		if err := pg.LockTx(ctx, tx, "pgtest"); err != nil {
			return err
		}
		return s.makeTemplateOnce(ctx)
	})
}

func (s *testServer) makeTemplateOnce(ctx context.Context) error {
	var there bool
	if err := s.admin.GetContext(ctx, &there, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, s.template); err != nil || there {
		return err
	}
	part := strings.Replace(s.template, "template", "test", 1) // dropped as a leftover if this process is killed
	for _, q := range []string{`DROP DATABASE IF EXISTS ` + part + ` WITH (FORCE)`, `CREATE DATABASE ` + part} {
		if _, err := s.admin.ExecContext(ctx, q); err != nil {
			return err
		}
	}
	db, err := pg.Connect(ctx, s.url(part), 2)
	if err != nil {
		return err
	}
	err = pg.Migrate(ctx, db, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	_, err = s.admin.ExecContext(ctx, `ALTER DATABASE `+part+` RENAME TO `+s.template)
	return err
}
