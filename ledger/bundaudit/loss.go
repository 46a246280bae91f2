package main

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/bund-exchange/bund/ledger/follow"
	"github.com/bund-exchange/bund/ledger/witness"
)

// acceptLoss lets a witness take up the new epoch of a log. What it believes it has followed itself, from the genesis in
// the trust root: the rules of the market decide whether the venue's people signed.
func acceptLoss(c *command) error {
	var cfg witness.Config
	var keyFile, trustFile, market string
	if err := c.parse(func(fs *flag.FlagSet) {
		fs.StringVar(&cfg.Dir, "dir", "", "")
		fs.StringVar(&keyFile, "key-file", "", "")
		fs.StringVar(&trustFile, "trust", "", "")
		fs.StringVar(&market, "market", "", "")
	}, "dir", "key-file", "trust", "market"); err != nil {
		return err
	}
	if err := c.files(0, 0, c.lang.say("flags only", "仅选项")); err != nil {
		return err
	}
	b, err := os.ReadFile(trustFile)
	if err != nil {
		return fmt.Errorf("couldn't read the trust root: %w", err)
	}
	root, err := follow.ParseTrustRoot(b)
	if err != nil {
		return fmt.Errorf("couldn't read the trust root %s: %w", trustFile, err)
	}
	if cfg.Key, err = readKey(keyFile); err != nil {
		return err
	}
	cfg.LogKey, cfg.Log = root.LogKey, slog.New(slog.NewTextHandler(c.err, nil))
	w, err := witness.Open(cfg)
	if err != nil {
		return err
	}
	defer w.Close()
	dir, err := os.MkdirTemp("", "bundaudit")
	if err != nil {
		return fmt.Errorf("couldn't follow the log: %w", err)
	}
	defer os.RemoveAll(dir)
	f, err := follow.Open(follow.Config{Path: filepath.Join(dir, "followed"), Trust: root, URL: market, Log: cfg.Log})
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.RunOnce(c.ctx); errors.Is(err, follow.ErrFork) {
		fmt.Fprintln(c.err, err)
		return errFailed
	} else if err != nil {
		return err
	}
	last, _ := w.Last()
	l := witness.Loss{Head: f.Head(), Kept: f.Status().Size, Root: f.Root}
	for _, x := range f.Losses() {
		if uint64(x.Epoch) > last.Epoch && x.Position < l.Kept {
			l.Kept = x.Position
		}
	}
	if l.Head.Epoch == last.Epoch || l.Kept == l.Head.Size {
		fmt.Fprintf(c.out, c.lang.say("no loss to accept: log and witness are in epoch %d\n", "没有需要接受的丢失：日志与见证人均在第 %d 纪元\n"), last.Epoch)
		return nil
	}
	proven, err := w.Accept(l)
	if err != nil {
		return err
	}
	for _, x := range f.Losses() {
		if uint64(x.Epoch) > last.Epoch {
			fmt.Fprintf(c.out, c.lang.say("epoch %d begins at entry %d: %s\n", "第 %d 纪元始于第 %d 条：%s\n"), x.Epoch, x.Position, clean(x.Reason))
		}
	}
	fmt.Fprintf(c.out, c.lang.say("%s had cosigned %d entries; %d are kept, of which the first %d are proven to be those that it cosigned. It now cosigns epoch %d.\n",
		"%s 曾共签 %d 条；保留 %d 条，其中前 %d 条经证实即其所共签者。自此为第 %d 纪元共签。\n"), w.Name(), last.Size, l.Kept, proven, l.Head.Epoch)
	return nil
}
