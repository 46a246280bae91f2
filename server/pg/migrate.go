package pg

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/jmoiron/sqlx"
	"github.com/pressly/goose/v3"
)

// Each file is one transaction, has a number of its own, and is never changed once it has landed. A change of a table that
// is in use takes three releases: expand, backfill, contract.
//
//go:embed migrations/*.sql
var embedded embed.FS

// Migrations are the embedded migration files, at the root of the file system.
func Migrations() fs.FS {
	sub, err := fs.Sub(embedded, "migrations")
	if err != nil {
		panic(err) // the folder is compiled in
	}
	return sub
}

const migrationTable = "public.bund_migration"

// Migrate brings the schemas up to date. Several processes may call it at once: one works, the others wait. A database
// that a newer release has migrated is an error: this one doesn't know its tables.
func Migrate(ctx context.Context, db *sqlx.DB, log *slog.Logger) error {
	if log == nil {
		log = slog.Default()
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db.DB, Migrations(), goose.WithTableName(migrationTable),
		goose.WithSessionLocker(migrationLock{}), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("couldn't read the migrations: %w", err)
	}
	// Not closed: that would close db.
	sources := p.ListSources()
	newest := sources[len(sources)-1].Version
	done, err := p.Up(ctx)
	if err != nil {
		return fmt.Errorf("couldn't migrate the database: %w", err)
	}
	have, err := p.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("couldn't read the database's version: %w", err)
	}
	if have > newest {
		return fmt.Errorf("the database is at migration %d, this program knows %d: it was used by a newer release", have, newest)
	}
	for _, r := range done {
		log.InfoContext(ctx, "migrated", "file", r.Source.Path, "took", r.Duration)
	}
	return nil
}

// migrationLock waits for its turn in the server; goose's own lock asks again and again.
type migrationLock struct{}

func (migrationLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, `SELECT pg_advisory_lock($1)`, lockKey("migrate"))
	return err
}

func (migrationLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, `SELECT pg_advisory_unlock($1)`, lockKey("migrate"))
	return err
}
