package main

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/signing"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/evidence/evidencetest"
	"github.com/bund-exchange/bund/ledger/publish"
)

// entries is a ledger in memory as its publisher reads it.
type entries struct{ l *evidencetest.Ledger }

func (s entries) Height(context.Context) (uint64, error) { return uint64(len(s.l.Entries)), nil }

func (s entries) Entries(_ context.Context, from uint64, limit int) (out []*ledger.Stored, _ error) {
	for _, e := range s.l.Entries[from:min(from+uint64(limit), uint64(len(s.l.Entries)))] {
		x := &ledger.Stored{Entry: e, Encoded: e.Encode()}
		x.Hash = ledger.Hash(x.Encoded)
		out = append(out, x)
	}
	return out, nil
}

func (entries) Wait(ctx context.Context, _ uint64) error { <-ctx.Done(); return ctx.Err() }

// A witness whose log was restored from an old backup goes on at its operator's word, and not before.
func TestWitnessAccept(t *testing.T) {
	l, err := evidencetest.New("bund.test/loss")
	if err != nil {
		t.Fatal(err)
	}
	m := contractstest.NewMarket(l.ID, l, 3)
	if err := m.Begin(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	keyFile, folder, trustFile := filepath.Join(dir, "w.key"), filepath.Join(dir, "w"), filepath.Join(dir, "trust.json")
	var public strings.Builder
	if code := run(t.Context(), []string{"witness-key", "--name", "supervisor.example", "--out", keyFile}, os.Getenv, &public, io.Discard); code != exitOK {
		t.Fatal("no key")
	}
	trust := l.Trust()
	trust.Witnesses, trust.Quorum = []string{strings.TrimSpace(public.String())}, 1
	b, err := trust.Marshal()
	if err := errors.Join(err, os.WriteFile(trustFile, b, 0o600)); err != nil {
		t.Fatal(err)
	}
	args := []string{"--dir", folder, "--key-file", keyFile, "--log-key", l.Keys.LogKey}
	url, key, stop := start(t, append(args, "--begin")...)
	var front http.Handler
	market := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { front.ServeHTTP(w, r) }))
	defer market.Close()
	open := func(l *evidencetest.Ledger, tlog string) (head publish.Head) {
		t.Helper()
		p, err := publish.Open(t.Context(), publish.Config{Dir: filepath.Join(dir, tlog), Ledger: l.ID, Signer: l.Keys.Log, LogKey: l.Keys.LogKey, Quorum: 1,
			Witnesses: []publish.Witness{{URL: url, Key: key}}, Log: slog.New(slog.DiscardHandler)}, entries{l})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		mux := http.NewServeMux()
		mux.Handle("/", p.Handler())
		mux.Handle("/entries", p.EntriesHandler(publish.Audience{Caller: func(*http.Request) (contracts.ID, error) { return "", nil }, MayRead: publish.InAudience}))
		front = mux
		head, _ = p.Head()
		return head
	}
	accept := func() (int, string) {
		var out, errs strings.Builder
		code := run(t.Context(), []string{"witness-accept", "--dir", folder, "--key-file", keyFile, "--trust", trustFile, "--market", market.URL}, os.Getenv, &out, &errs)
		return code, out.String() + errs.String()
	}
	kept := l.Clone()
	open(kept, "a")
	if err := m.Admit(m.Actor("迟到的会员", contracts.RoleBuyer)); err != nil {
		t.Fatal(err)
	}
	if h := open(l, "b"); len(h.Cosignatures) != 1 {
		t.Fatalf("head %q", h.Signed)
	}
	if code, said := accept(); code != exitError || !strings.Contains(said, "another process") {
		t.Errorf("beside the running witness: %d %s", code, said)
	}
	stop()
	if code, said := accept(); code != exitOK || !strings.Contains(said, "no loss") {
		t.Errorf("without a loss: %d %s", code, said)
	}

	n := len(kept.Entries)
	last := ledger.Hash(kept.Entries[n-1].Encode())
	sub, _ := signing.Sign(contracts.Unsigned{Ledger: l.ID, Member: m.Venue.ID, Kind: "loss.accept", NotBefore: m.Now, Random: [10]byte{7}, Body: contracts.LossAccept{
		CosignedSize: int64(len(l.Entries)), RestoredSize: int64(n), Kept: contracts.Hash(hex.EncodeToString(last[:])), Epoch: 1, Reason: "restored"}}, nil, m.Venue.Two()...)
	if err := kept.Submit(t.Context(), sub); err != nil {
		t.Fatal(err)
	}
	url, _, stop = start(t, args...)
	if h := open(kept, "c"); h.Epoch != 1 || len(h.Cosignatures) != 0 {
		t.Fatalf("head %q", h.Signed)
	}
	stop()
	code, said := accept()
	if code != exitOK || !strings.Contains(said, "now cosigns epoch 1") || !strings.Contains(said, "restored") {
		t.Fatalf("%d %s", code, said)
	}
	url, _, stop = start(t, args...)
	defer stop()
	if h := open(kept, "d"); h.Epoch != 1 || len(h.Cosignatures) != 1 {
		t.Errorf("the witness has not gone on: %q", h.Signed)
	}
}
