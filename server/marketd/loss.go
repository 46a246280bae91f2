package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/publish"
)

// tellLoss says after a restore whether witnesses have seen more than what was restored.
func tellLoss(c *command, cfg *Config, entries uint64) error {
	m := &Market{cfg: cfg, log: c.log}
	known, err := publish.Ask(c.ctx, m.publishConfig())
	if err != nil {
		return err
	}
	if known.Epoch > known.Here.Epoch || known.Size > entries {
		fmt.Fprintf(c.out, "this backup is too old: witnesses have cosigned %d entries in epoch %d of the log, so the market won't start with it. Restore a newer one, or accept the loss: "+
			"marketd restore --prepare-loss, then --accept-loss\n", known.Size, known.Epoch)
	}
	return nil
}

// loss is the acceptance that fits the ledger as it is and what the witnesses say.
func (m *Market) loss(c *command, reason string) (b contracts.LossAccept, last *ledger.Stored, err error) {
	known, err := publish.Ask(c.ctx, m.publishConfig())
	if err != nil {
		return b, nil, err
	}
	height, err := m.ledger.Height(c.ctx)
	if err != nil || height == 0 {
		return b, nil, errors.Join(err, errors.New("the ledger has no genesis: restore a backup first"))
	}
	es, err := m.ledger.Entries(c.ctx, height-1, 1)
	if err != nil || len(es) != 1 {
		return b, nil, errors.Join(err, errors.New("couldn't read the last entry"))
	}
	var epoch int64
	if err := m.ledger.View(func(_ uint64, st contracts.State) (err error) { epoch, err = contracts.EpochOf(st); return err }); err != nil {
		return b, nil, err
	}
	return contracts.LossAccept{CosignedSize: int64(known.Size), RestoredSize: int64(height), Kept: contracts.Hash(hex.EncodeToString(es[0].Hash[:])),
		Epoch: max(epoch, int64(known.Epoch)) + 1, Reason: reason}, es[0], nil
}

// prepareLoss writes the bytes that two people of the venue sign.
func prepareLoss(c *command, cfg *Config, out, reason, key string) error {
	lead := contracts.PublicKey(key)
	if err := lead.Check(); err != nil {
		return fmt.Errorf("%w: --key: %w", errUsage, err)
	}
	m, err := openAlone(c, cfg, 0)
	if err != nil {
		return err
	}
	defer m.Close()
	b, last, err := m.loss(c, reason)
	if err != nil {
		return err
	}
	if b.CosignedSize <= b.RestoredSize {
		return fmt.Errorf("nothing is lost: the ledger has %d entries, witnesses have cosigned %d", b.RestoredSize, b.CosignedSize)
	}
	u := contracts.Unsigned{Ledger: cfg.Ledger, Kind: "loss.accept", Body: b, Lead: lead}
	rand.Read(u.Random[:])
	err = m.ledger.View(func(_ uint64, st contracts.State) (err error) {
		if u.Member, err = contracts.VenueOf(st); err == nil {
			u.NotBefore, err = contracts.NextTime(st, last.Time, contracts.Millis(m.now().UnixMilli()))
		}
		return err
	})
	if err != nil {
		return err
	}
	raw, _ := u.Bytes()
	if err := os.WriteFile(out, append(raw, '\n'), 0o600); err != nil {
		return fmt.Errorf("couldn't write the prepared bytes: %w", err)
	}
	fmt.Fprintf(c.out, "entries %d to %d are lost. %s: a maker and a checker of the venue sign it within ten minutes (datanode sign), the first with the named key\n",
		b.RestoredSize, b.CosignedSize-1, out)
	return nil
}

// acceptLoss makes the signed acceptance the first entry behind what was restored, and the published log that of a new
// epoch. After a crash in it the same file is given again.
func acceptLoss(c *command, cfg *Config, file string) error {
	sub, err := readSubmission(file, "the acceptance")
	if err != nil {
		return err
	}
	cmd, err := contracts.Decode(sub)
	if err != nil {
		return err
	}
	b, ok := cmd.Body().(*contracts.LossAccept)
	if !ok {
		return fmt.Errorf("couldn't accept the loss: the file has a command %s", cmd.Kind)
	}
	m, err := openAlone(c, cfg, 0)
	if err != nil {
		return err
	}
	defer m.Close()
	a, err := m.ledger.Lookup(c.ctx, cmd.ID)
	if err != nil {
		return err
	}
	if a.Status != ledger.Accepted {
		// What only this program knows: the chain, and what the witnesses say now.
		want, _, err := m.loss(c, b.Reason)
		switch {
		case err != nil:
			return err
		case b.Kept != want.Kept || b.RestoredSize != want.RestoredSize:
			return errors.New("couldn't accept the loss: it was signed for another history than the one restored here")
		case b.Epoch < want.Epoch || b.CosignedSize < want.CosignedSize:
			return fmt.Errorf("couldn't accept the loss: witnesses have cosigned %d entries, and the epoch to begin is %d", want.CosignedSize, want.Epoch)
		}
	}
	r, err := m.ledger.Submit(c.ctx, sub)
	if err != nil {
		return fmt.Errorf("couldn't accept the loss: %w", err)
	}
	p, err := publish.Open(c.ctx, m.publishConfig(), m.ledger)
	if err != nil {
		return fmt.Errorf("the loss is accepted at %d, but couldn't publish it (give the same file again): %w", r.Position, err)
	}
	m.pub = p // closed before the ledger
	o := p.Opening()
	fmt.Fprintf(c.out, "entries %d to %d are lost, accepted at %d: the log is in epoch %d\n", b.RestoredSize, b.CosignedSize-1, r.Position, o.Epoch)
	for _, w := range o.Waiting {
		fmt.Fprintf(c.out, "witness %s cosigns again when its operator has said bundaudit witness-accept\n", w)
	}
	return nil
}
