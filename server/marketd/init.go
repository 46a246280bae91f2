package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/follow"
	"github.com/bund-exchange/bund/server/identity"
	"github.com/bund-exchange/bund/server/rest/strictjson"
	"github.com/bund-exchange/bund/server/trading"
)

// readSubmission reads a signed command as POST /commands takes it, as strictly.
func readSubmission(name, what string) (sub contracts.Submission, err error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return sub, fmt.Errorf("couldn't read %s: %w", what, err)
	}
	if err := strictjson.Check(b); err != nil {
		return sub, fmt.Errorf("couldn't read %s: %w", what, err)
	}
	// Maps, because the names of struct fields match whatever their case.
	var file map[string]json.RawMessage
	if err := json.Unmarshal(b, &file); err != nil {
		return sub, fmt.Errorf("couldn't read %s: %w", what, err)
	}
	if len(file) != 2 || file["raw"] == nil || file["signatures"] == nil {
		return sub, fmt.Errorf("couldn't read %s: want exactly raw and signatures", what)
	}
	var raw string
	var signatures []map[string]string
	if err := errors.Join(json.Unmarshal(file["raw"], &raw), json.Unmarshal(file["signatures"], &signatures)); err != nil {
		return sub, fmt.Errorf("couldn't read %s: %w", what, err)
	}
	sub.Raw = []byte(raw)
	for _, s := range signatures {
		key, sig := s["key"], s["sig"]
		if len(s) != 2 || key == "" || sig == "" {
			return sub, fmt.Errorf("couldn't read %s: want exactly key and sig of a signature", what)
		}
		b, err := hex.DecodeString(sig)
		if err != nil {
			return sub, fmt.Errorf("couldn't read %s: a signature is not hex", what)
		}
		sub.Signatures = append(sub.Signatures, contracts.Signature{Key: contracts.PublicKey(key), Sig: b})
	}
	return sub, nil
}

func initialise(c *command) (err error) {
	f, err := c.flags("config", "genesis", "trust", "client")
	if err != nil {
		return err
	}
	cfg, err := ReadConfig(f["config"])
	if err != nil {
		return err
	}
	sub, err := readSubmission(f["genesis"], "genesis")
	if err != nil {
		return err
	}
	m := &Market{cfg: cfg, log: c.log, now: time.Now}
	if m.db, err = openDatabase(c.ctx, cfg, c.log); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	m.openings = trading.Openings{DB: m.db.DB}
	if err := m.openLedger(c.ctx, 0); err != nil {
		return err
	}
	es, err := m.begin(c.ctx, sub)
	if err != nil {
		return err
	}
	if err := writeTrust(cfg, es[0], f["trust"]); err != nil {
		return err
	}
	var venue contracts.ID
	err = m.ledger.View(func(_ uint64, st contracts.State) (err error) {
		venue, err = contracts.VenueOf(st)
		return err
	})
	if err != nil {
		return err
	}
	id, secret, err := identity.New(m.db.DB).CreateClient(c.ctx, venue, "venue machine")
	if err != nil {
		return err
	}
	if err := os.WriteFile(f["client"], []byte(string(id)+":"+secret+"\n"), 0o600); err != nil {
		return fmt.Errorf("couldn't write credentials: %w", err)
	}
	fmt.Fprintf(c.out, "ledger %s begun, genesis %x\n", cfg.Ledger, es[0].Hash)
	return nil
}

// begin makes the genesis the first entry and gives it back. A folder can be thrown away after a crash, a network can't:
// there the same genesis may be given again.
func (m *Market) begin(ctx context.Context, genesis contracts.Submission) ([]*ledger.Stored, error) {
	h, err := m.ledger.Height(ctx)
	if err != nil {
		return nil, err
	}
	if h > 0 && m.cfg.Fabric == nil {
		return nil, fmt.Errorf("the folder has a ledger of %d entries already", h)
	}
	if h == 0 {
		if _, err := m.ledger.Submit(ctx, genesis); err != nil {
			return nil, fmt.Errorf("couldn't begin the ledger: %w", err)
		}
		if err := m.ledger.Wait(ctx, 0); err != nil {
			return nil, fmt.Errorf("couldn't wait for the genesis: %w", err)
		}
	}
	es, err := m.ledger.Entries(ctx, 0, 1)
	if err != nil || len(es) == 0 {
		return nil, errors.Join(err, errors.New("couldn't read the genesis back"))
	}
	if !bytes.Equal(es[0].Raw, genesis.Raw) {
		return nil, fmt.Errorf("the network has a ledger of %d entries already, with another genesis", h)
	}
	return es, nil
}

// writeTrust writes the trust root: what members get from venue and regulator, out of band.
func writeTrust(cfg *Config, genesis *ledger.Stored, name string) error {
	t := follow.TrustRoot{Format: follow.TrustRootFormat, Ledger: cfg.Ledger, Genesis: contracts.Hash(hex.EncodeToString(genesis.Hash[:])), LogKey: cfg.logPublic,
		Witnesses: cfg.witnessKeys(), Quorum: cfg.Quorum}
	b, err := t.Marshal()
	if err != nil {
		return err
	}
	if err := os.WriteFile(name, b, 0o644); err != nil {
		return fmt.Errorf("couldn't write trust root: %w", err)
	}
	return nil
}
