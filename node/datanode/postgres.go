package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/bund-exchange/bund/node/vault"
)

const (
	minPostgres      = 140000
	maxTableConns    = 32
	connectTimeout   = 10 * time.Second
	defaultPGSchema  = "public"
	maxIdleTableConn = 5 * time.Minute
)

// openTables connects to the configured PostgreSQL, nil without one. Its errors never quote the connection, which holds
// a password.
func openTables(ctx context.Context, cfg *Config) (*sqlx.DB, error) {
	if cfg.Postgres == nil {
		return nil, nil
	}
	dsn, err := readSecret(cfg.Postgres.DSNFile)
	if err != nil {
		return nil, fmt.Errorf("couldn't read postgres.dsnFile: %w", err)
	}
	parsed, err := pq.NewConfig(strings.TrimSpace(string(dsn)))
	if err != nil {
		return nil, errors.New("couldn't read postgres.dsnFile: want one line, postgres://… or key=value")
	}
	if parsed.ConnectTimeout == 0 {
		parsed.ConnectTimeout = connectTimeout
	}
	conn, err := pq.NewConnectorConfig(parsed)
	if err != nil {
		return nil, fmt.Errorf("couldn't prepare the database connection: %w", err)
	}
	db := sqlx.NewDb(sql.OpenDB(conn), "postgres")
	db.SetMaxOpenConns(maxTableConns)
	db.SetMaxIdleConns(maxTableConns)
	db.SetConnMaxIdleTime(maxIdleTableConn)
	ctx, cancel := context.WithTimeout(ctx, 2*connectTimeout)
	defer cancel()
	var version int
	if err := db.GetContext(ctx, &version, `SELECT current_setting('server_version_num')::int`); err != nil {
		db.Close()
		return nil, fmt.Errorf("couldn't reach the node's PostgreSQL: %w", err)
	}
	if version < minPostgres {
		db.Close()
		return nil, fmt.Errorf("the node's PostgreSQL is version %d, want 14 or newer", version/10000)
	}
	return db, nil
}

// tableSource reads [schema.]table, both exactly as the database spells them.
func tableSource(db *sqlx.DB, name string) vault.Source {
	schema, table, ok := strings.Cut(name, ".")
	if !ok {
		schema, table = defaultPGSchema, name
	}
	return vault.Postgres(db, schema, table)
}
