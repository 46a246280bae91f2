package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/publish"
	"github.com/bund-exchange/bund/server/compliance"
	"github.com/bund-exchange/bund/server/projection"
	"github.com/bund-exchange/bund/server/trading"
)

func rebuild(c *command) error {
	f, err := c.flags("config")
	if err != nil {
		return err
	}
	cfg, err := ReadConfig(f["config"])
	if err != nil {
		return err
	}
	m, err := openAlone(c, cfg, 0)
	if err != nil {
		return err
	}
	defer m.Close()
	began := time.Now()
	if err := m.proj.Rebuild(c.ctx); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "projection made anew from %d entries in %.1f s\n", m.proj.Projected(), time.Since(began).Seconds())
	return nil
}

// openAlone opens ledger, database and projector without the published log: for upkeep, when nothing is accepted.
func openAlone(c *command, cfg *Config, atLeast uint64) (_ *Market, err error) {
	m := &Market{cfg: cfg, log: c.log, now: time.Now}
	defer func() {
		if err != nil {
			m.Close()
		}
	}()
	if m.db, err = openDatabase(c.ctx, cfg, c.log); err != nil {
		return nil, err
	}
	m.openings = trading.Openings{DB: m.db.DB}
	if err := m.openLedger(c.ctx, atLeast); err != nil {
		return nil, err
	}
	if m.proj, err = projection.New(m.db.DB, m.ledger, schemas()...); err != nil {
		return nil, err
	}
	m.proj.Log = c.log
	return m, m.proj.Prepare(c.ctx)
}

// Inventory says what a backup holds, so that a restore can prove that it is the same.
type Inventory struct {
	Ledger    string `json:"ledger"`
	Entries   uint64 `json:"entries"`
	StateHash string `json:"stateHash,omitempty"`
	Last      string `json:"last,omitempty"` // hash of the last entry, which speaks for all before it, of a ledger on a network
	Root      string `json:"root"`           // of the published log at its checkpoint
	Published uint64 `json:"published"`
	App       string `json:"app"`  // SHA-256 of the ordered dump
	Proj      string `json:"proj"` // the same of the projection, which is not in the backup
	Made      string `json:"made"`
}

// inventory says what there is. Of a ledger on a network it is about the first so many entries: a network goes on.
func (m *Market) inventory(ctx context.Context, entries uint64) (inv Inventory, err error) {
	inv.Ledger = m.cfg.Ledger
	if l, ok := m.ledger.(interface {
		StateHash() (height uint64, hash [32]byte, err error)
	}); ok && m.cfg.Fabric == nil {
		height, hash, err := l.StateHash()
		if err != nil {
			return inv, err
		}
		inv.Entries, inv.StateHash = height, hex.EncodeToString(hash[:])
	} else if entries > 0 {
		es, err := m.ledger.Entries(ctx, entries-1, 1)
		if err != nil || len(es) != 1 {
			return inv, errors.Join(err, fmt.Errorf("couldn't read entry %d", entries-1))
		}
		inv.Entries, inv.Last = entries, hex.EncodeToString(es[0].Hash[:])
		m.proj.Source = first{m.ledger, entries}
	}
	if b, err := os.ReadFile(filepath.Join(m.cfg.tlog(), "checkpoint")); err == nil {
		p, err := publish.NewPolicy(m.cfg.logPublic, m.cfg.witnessKeys(), m.cfg.Quorum)
		if err != nil {
			return inv, err
		}
		h, err := p.Open(b)
		if err != nil {
			return inv, err
		}
		inv.Published, inv.Root = h.Size, hex.EncodeToString(h.Root[:])
	}
	if err := m.proj.RunOnce(ctx); err != nil {
		return inv, err
	}
	if inv.App, err = m.digest(ctx, "app", io.Discard); err != nil {
		return inv, err
	}
	inv.Proj, err = m.digest(ctx, "proj", io.Discard)
	return inv, err
}

// first is a ledger as it was when it had so many entries.
type first struct {
	projection.Source
	entries uint64
}

func (f first) Height(context.Context) (uint64, error) { return f.entries, nil }

func (f first) Entries(ctx context.Context, from uint64, limit int) ([]*ledger.Stored, error) {
	if from >= f.entries {
		return nil, nil
	}
	return f.Source.Entries(ctx, from, int(min(uint64(limit), f.entries-from)))
}

// digest dumps a schema to w and gives the dump's SHA-256.
func (m *Market) digest(ctx context.Context, schema string, w io.Writer) (string, error) {
	h := sha256.New()
	if err := projection.Dump(ctx, m.db.DB, schema, io.MultiWriter(h, w)); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// folder is one that a backup copies.
type folder struct{ name, path string }

// folders are the ledger, unless a network keeps it, and the published log.
func (c *Config) folders() []folder {
	tlog := folder{"tlog", c.tlog()}
	if c.Fabric != nil {
		return []folder{tlog}
	}
	return []folder{{"ledger", filepath.Join(c.Dir, "ledger")}, tlog}
}

func backup(c *command) error {
	f, err := c.flags("config", "to")
	if err != nil {
		return err
	}
	cfg, err := ReadConfig(f["config"])
	if err != nil {
		return err
	}
	to := f["to"]
	if err := os.Mkdir(to, 0o700); err != nil {
		return fmt.Errorf("couldn't make the backup's folder, which must not exist yet: %w", err)
	}
	m, err := openAlone(c, cfg, 0)
	if err != nil {
		return err
	}
	height, err := m.ledger.Height(c.ctx)
	if err != nil {
		return errors.Join(err, m.Close())
	}
	inv, err := m.inventory(c.ctx, height)
	if err == nil {
		var out *os.File
		if out, err = os.OpenFile(filepath.Join(to, "app.dump"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err == nil {
			_, err = m.digest(c.ctx, "app", out)
			err = errors.Join(err, out.Sync(), out.Close())
		}
	}
	if err := errors.Join(err, m.Close()); err != nil {
		return err
	}
	for _, part := range cfg.folders() {
		if err := copyFolder(part.path, filepath.Join(to, part.name)); err != nil {
			return err
		}
	}
	inv.Made = time.Now().UTC().Format(time.RFC3339)
	b, err := json.MarshalIndent(inv, "", "  ")
	if err != nil {
		return err
	}
	// The inventory is written last: a folder without one is no backup.
	if err := os.WriteFile(filepath.Join(to, "inventory.json"), append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("couldn't finish the backup: %w", err)
	}
	fmt.Fprintf(c.out, "%s\n", b)
	return nil
}

// restore puts a backup back, or takes one of the two steps that let a ledger go on which lacks what was cosigned.
func restore(c *command) error {
	f, err := c.choose([]string{"config"}, "from", "prepare-loss", "reason", "key", "accept-loss")
	if err != nil {
		return err
	}
	cfg, err := ReadConfig(f["config"])
	if err != nil {
		return err
	}
	if cfg.Fabric != nil && f["from"] == "" && (f["prepare-loss"] != "" || f["accept-loss"] != "") {
		return errors.New("there is no loss to accept: the ledger is on Hyperledger Fabric, whose history the organisations' peers hold. An entry that is missing here comes from them; " +
			"a published log that the network lacks entries of is another network's")
	}
	switch {
	case f["from"] != "" && only(f, "from"):
		return putBack(c, cfg, f["from"])
	case f["prepare-loss"] != "" && f["reason"] != "" && f["key"] != "" && only(f, "prepare-loss", "reason", "key"):
		return prepareLoss(c, cfg, f["prepare-loss"], f["reason"], f["key"])
	case f["accept-loss"] != "" && only(f, "accept-loss"):
		return acceptLoss(c, cfg, f["accept-loss"])
	}
	return fmt.Errorf("%w: want --from, or --prepare-loss with --reason and --key, or --accept-loss", errUsage)
}

// only reports whether no flag but config and these is set.
func only(f map[string]string, names ...string) bool {
	for n, v := range f {
		if v != "" && n != "config" && !slices.Contains(names, n) {
			return false
		}
	}
	return true
}

func putBack(c *command, cfg *Config, from string) error {
	b, err := os.ReadFile(filepath.Join(from, "inventory.json"))
	if err != nil {
		return fmt.Errorf("couldn't read the backup's inventory: %w", err)
	}
	var want Inventory
	if err := json.Unmarshal(b, &want); err != nil {
		return fmt.Errorf("couldn't read the backup's inventory: %w", err)
	}
	if want.Ledger != cfg.Ledger {
		return fmt.Errorf("the backup is of ledger %s, the configuration of %s", want.Ledger, cfg.Ledger)
	}
	if (want.StateHash == "") != (cfg.Fabric != nil) {
		return errors.New("the backup is of a market with another sort of ledger: one is on Hyperledger Fabric, the other is not")
	}
	for _, part := range cfg.folders() {
		if _, err := os.Stat(part.path); err == nil {
			return fmt.Errorf("%s has a %s already: restore into an empty folder", filepath.Dir(part.path), part.name)
		}
		if err := copyFolder(filepath.Join(from, part.name), part.path); err != nil {
			return err
		}
	}
	m := &Market{cfg: cfg, log: c.log, now: time.Now}
	if m.db, err = openDatabase(c.ctx, cfg, c.log); err != nil {
		return err
	}
	in, err := os.Open(filepath.Join(from, "app.dump"))
	if err != nil {
		return errors.Join(fmt.Errorf("couldn't read the backup: %w", err), m.Close())
	}
	err = errors.Join(projection.Load(c.ctx, m.db.DB, "app", in), in.Close(), m.Close())
	if err != nil {
		return fmt.Errorf("couldn't restore the records: %w", err)
	}
	if m, err = openAlone(c, cfg, want.Entries); err != nil {
		return err
	}
	got, err := m.inventory(c.ctx, want.Entries)
	if err := errors.Join(err, m.Close()); err != nil {
		return err
	}
	got.Made = want.Made
	if got != want {
		return fmt.Errorf("what was restored is not what was backed up:\nbackup   %+v\nrestored %+v", want, got)
	}
	if cfg.Fabric != nil {
		fmt.Fprintf(c.out, "the network has the %d entries of the backup, the last %s; log root %s, records %s: all as in the backup\n", got.Entries, got.Last, got.Root, got.App)
		return nil
	}
	fmt.Fprintf(c.out, "restored %d entries, state %s, log root %s, records %s: all as in the backup\n", got.Entries, got.StateHash, got.Root, got.App)
	return tellLoss(c, cfg, got.Entries)
}

func verify(c *command) error {
	f, err := c.flags("config")
	if err != nil {
		return err
	}
	cfg, err := ReadConfig(f["config"])
	if err != nil {
		return err
	}
	db, err := openDatabase(c.ctx, cfg, c.log)
	if err != nil {
		return err
	}
	chain, err := (&compliance.Reads{DB: db.DB, Now: time.Now}).Chain(c.ctx)
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	if chain.Broken != "" {
		return errors.New(chain.Broken)
	}
	anchored := "not anchored yet"
	if a := chain.Anchor; a != nil {
		anchored = fmt.Sprintf("%d of them anchored at %d", a.Count, a.Position)
	}
	fmt.Fprintf(c.out, "%d reads of supervisors, the chain is whole, %s\n", chain.Count, anchored)
	return nil
}

// copyFolder copies files and makes them durable. A folder that isn't there, as the published log's before the first run,
// has none.
func copyFolder(from, to string) error {
	if _, err := os.Stat(from); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	err := filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		if d.Name() == "lock" || !d.Type().IsRegular() {
			return nil
		}
		in, err := os.Open(path)
		if err != nil {
			return err
		}
		defer in.Close()
		out, err := os.OpenFile(filepath.Join(to, rel), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, in)
		return errors.Join(err, out.Sync(), out.Close())
	})
	if err != nil {
		return fmt.Errorf("couldn't copy %s: %w", filepath.Base(from), err)
	}
	return nil
}
