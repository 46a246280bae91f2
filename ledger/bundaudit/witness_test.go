package main

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/bund-exchange/bund/ledger/publish"
	"github.com/bund-exchange/bund/ledger/publish/publishtest"
)

// start runs the witness command and gives its address, its key, and what ends it.
func start(t *testing.T, args ...string) (url, key string, stop func() (int, string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	var errs strings.Builder
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, append([]string{"witness", "--listen", "127.0.0.1:0"}, args...), func(string) string { return "" }, w, &errs)
		w.Close()
	}()
	in := bufio.NewReader(r)
	line, err := in.ReadString('\n')
	if err != nil {
		return "", "", func() (int, string) { cancel(); return <-code, errs.String() }
	}
	key, _ = in.ReadString('\n')
	go io.Copy(io.Discard, in)
	_, rest, _ := strings.Cut(line, "listens on ")
	url, _, _ = strings.Cut(rest, ";")
	return url, strings.TrimSpace(key), func() (int, string) { cancel(); return <-code, errs.String() }
}

// The witness command cosigns a log, remembers over a restart, and refuses to forget.
func TestWitness(t *testing.T) {
	const id = "bund.test/witnessed"
	skey, vkey, err := note.GenerateKey(nil, id)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	keyFile, folder := filepath.Join(dir, "w.key"), filepath.Join(dir, "w")
	var public strings.Builder
	if code := run(t.Context(), []string{"witness-key", "--name", "regulator.example/w1", "--out", keyFile}, os.Getenv, &public, io.Discard); code != exitOK {
		t.Fatal("no key")
	}
	args := []string{"--dir", folder, "--key-file", keyFile, "--log-key", vkey}
	if _, _, stop := start(t, args...); true {
		if code, errs := stop(); code != exitError || !strings.Contains(errs, "--begin") {
			t.Fatalf("an empty folder without --begin: %d, %s", code, errs)
		}
	}
	url, key, stop := start(t, append(args, "--begin")...)
	if key != strings.TrimSpace(public.String()) {
		t.Errorf("the running witness's key is %q, the made one's %q", key, public.String())
	}
	log := &publishtest.Log{}
	log.Fill(5)
	open := func(l *publishtest.Log, tlog string) (*publish.Publisher, error) {
		return publish.Open(t.Context(), publish.Config{Dir: filepath.Join(dir, tlog), Ledger: id, Signer: signer, LogKey: vkey, Quorum: 1,
			Witnesses: []publish.Witness{{URL: url, Key: key}}, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}, l)
	}
	p, err := open(log, "a")
	if err != nil {
		t.Fatal(err)
	}
	if h, _ := p.Head(); len(h.Cosignatures) != 1 || h.Size != 5 {
		t.Fatalf("head %+v", h)
	}
	p.Close()
	if code, errs := stop(); code != exitOK {
		t.Fatalf("stopped: %d %s", code, errs)
	}
	if _, _, stop := start(t, append(args, "--begin")...); true {
		if code, errs := stop(); code != exitError || !strings.Contains(errs, "has begun") {
			t.Fatalf("--begin twice: %d, %s", code, errs)
		}
	}
	url, _, stop = start(t, args...)
	defer stop()
	if _, err := open(log.Prefix(3), "b"); err == nil {
		t.Error("an old backup opened: the witness has forgotten")
	}
	p, err = open(log, "a")
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
}
