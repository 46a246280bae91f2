// Package pg opens PostgreSQL for the market, keeps its schemas up to date, and gives transactions and locks. It is
// the only importer of the driver, and the only place that knows the driver's errors.
//
// Two schemas: proj is written only by the projector and may be dropped and rebuilt from the ledger; app is a record of
// its own and is backed up with the ledger. Queries name the schema: nothing depends on a search path.
package pg

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/bund-exchange/bund/server/pg/managed"
)

// Config says which PostgreSQL to use.
type Config struct {
	URL      string       // postgres://… of a server that others run; it may hold a password. Empty: a managed one
	Dir      string       // of the managed server; it belongs to that server alone
	CacheDir string       // where PostgreSQL's programs are installed when the machine has none; empty: they aren't
	MaxConns int          // 0: 32
	Log      *slog.Logger // nil: slog.Default()
}

// Database is an open database. Close it, or a managed server outlives its use until the process ends.
type Database struct {
	*sqlx.DB
	URL    string // how others may connect; it may hold a password, never log it
	server *managed.Server
}

const (
	defaultMaxConns = 32
	managedName     = "bund" // the database in a managed server
	minVersion      = 140000
)

// Open connects, starting a managed server first unless a URL is given. It migrates nothing, see Migrate.
func Open(ctx context.Context, cfg Config) (*Database, error) {
	if cfg.URL != "" {
		db, err := Connect(ctx, cfg.URL, cfg.MaxConns)
		if err != nil {
			return nil, err
		}
		return &Database{DB: db, URL: cfg.URL}, nil
	}
	srv, err := managed.Start(ctx, managed.Config{Dir: cfg.Dir, CacheDir: cfg.CacheDir, Log: cfg.Log})
	if err != nil {
		return nil, fmt.Errorf("couldn't start the managed PostgreSQL: %w", err)
	}
	d := &Database{URL: srv.URL(managedName), server: srv}
	if err = ensureDatabase(ctx, srv); err == nil {
		d.DB, err = Connect(ctx, d.URL, cfg.MaxConns)
	}
	if err != nil {
		return nil, errors.Join(err, srv.Stop())
	}
	return d, nil
}

// Close ends the connections, and then a managed server.
func (d *Database) Close() error {
	err := d.DB.Close()
	if d.server != nil {
		err = errors.Join(err, d.server.Stop())
	}
	return err
}

// Lost is closed when a managed server has ended by itself or by Close; nil, which blocks for ever, when others run it.
func (d *Database) Lost() <-chan struct{} {
	if d.server == nil {
		return nil
	}
	return d.server.Done()
}

// Connect opens a pool on a URL. Sessions are in UTC, so that times are read as they were written.
func Connect(ctx context.Context, url string, maxConns int) (*sqlx.DB, error) {
	cfg, err := pq.NewConfig(url)
	if err != nil {
		return nil, errors.New("couldn't read the database URL") // the driver's error quotes it, password and all
	}
	if cfg.Runtime == nil {
		cfg.Runtime = map[string]string{}
	}
	cfg.Runtime["timezone"] = "UTC"
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 10 * time.Second
	}
	conn, err := pq.NewConnectorConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("couldn't prepare the database connection: %w", err)
	}
	db := sqlx.NewDb(sql.OpenDB(conn), "postgres")
	if maxConns == 0 {
		maxConns = defaultMaxConns
	}
	db.SetMaxOpenConns(maxConns)
	db.SetMaxIdleConns(maxConns)
	db.SetConnMaxIdleTime(5 * time.Minute)
	var version int
	if err := db.GetContext(ctx, &version, `SELECT current_setting('server_version_num')::int`); err != nil {
		db.Close()
		return nil, fmt.Errorf("couldn't reach the database: %w", err)
	}
	if version < minVersion {
		db.Close()
		return nil, fmt.Errorf("the database is PostgreSQL %d, want 14 or newer", version/10000)
	}
	return db, nil
}

func ensureDatabase(ctx context.Context, srv *managed.Server) error {
	db, err := Connect(ctx, srv.URL("postgres"), 1)
	if err != nil {
		return err
	}
	defer db.Close()
	var there bool
	if err := db.GetContext(ctx, &there, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, managedName); err != nil {
		return fmt.Errorf("couldn't look for the database: %w", err)
	}
	if there {
		return nil
	}
	if _, err := db.ExecContext(ctx, `CREATE DATABASE `+managedName); err != nil {
		return fmt.Errorf("couldn't make the database: %w", err)
	}
	return nil
}
