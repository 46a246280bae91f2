package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"github.com/bund-exchange/bund/ledger/witness"
)

// runWitness runs a witness until it is told to stop.
func runWitness(c *command) error {
	var cfg witness.Config
	var keyFile, listen string
	if err := c.parse(func(fs *flag.FlagSet) {
		fs.StringVar(&cfg.Dir, "dir", "", "")
		fs.StringVar(&keyFile, "key-file", "", "")
		fs.StringVar(&cfg.LogKey, "log-key", "", "")
		fs.StringVar(&listen, "listen", "127.0.0.1:7470", "")
		fs.BoolVar(&cfg.Begin, "begin", false, "")
	}, "dir", "key-file", "log-key"); err != nil {
		return err
	}
	if err := c.files(0, 0, c.lang.say("flags only", "仅选项")); err != nil {
		return err
	}
	var err error
	if cfg.Key, err = readKey(keyFile); err != nil {
		return err
	}
	cfg.Log = slog.New(slog.NewTextHandler(c.err, nil))
	w, err := witness.Open(cfg)
	if err != nil {
		if errors.Is(err, witness.ErrNoState) {
			return fmt.Errorf("%w\n%s", err, c.lang.say("If this witness has never cosigned this log, say --begin. If it has, restore its folder: without it two histories could be signed.",
				"若此见证人从未为此日志共签，请加 --begin；若曾共签，请恢复其目录，否则可能为两种历史签名。"))
		}
		return err
	}
	defer w.Close()
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("couldn't listen: %w", err)
	}
	size := uint64(0)
	if h, ok := w.Last(); ok {
		size = h.Size
	}
	fmt.Fprintf(c.out, c.lang.say("%s listens on http://%s; cosigned so far: %d entries\n%s\n", "%s 监听 http://%s；已共签 %d 条\n%s\n"), w.Name(), l.Addr(), size, w.VerifierKey())
	mux := http.NewServeMux()
	mux.Handle("/", w.Handler())
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprintln(rw, "ok") })
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 15 * time.Second,
		IdleTimeout: 5 * time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelWarn)}
	done := make(chan struct{})
	stop := context.AfterFunc(c.ctx, func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		srv.Shutdown(ctx)
	})
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		stop()
		return fmt.Errorf("couldn't serve: %w", err)
	}
	<-done // requests in progress are answered before the folder is given free
	return nil
}

// readKey reads a private key that only its owner may read.
func readKey(name string) (string, error) {
	st, err := os.Stat(name)
	if err != nil {
		return "", fmt.Errorf("couldn't read the key: %w", err)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("couldn't read the key: others may read %s, chmod 600 it", name)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("couldn't read the key: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// witnessKey makes a witness's key and prints the public one, which goes into trust roots and the market's configuration.
func witnessKey(c *command) error {
	var name, out string
	if err := c.parse(func(fs *flag.FlagSet) {
		fs.StringVar(&name, "name", "", "")
		fs.StringVar(&out, "out", "", "")
	}, "name", "out"); err != nil {
		return err
	}
	if err := c.files(0, 0, c.lang.say("flags only", "仅选项")); err != nil {
		return err
	}
	skey, vkey, err := note.GenerateKey(nil, name)
	if err != nil {
		return fmt.Errorf("couldn't make a key: %w", err)
	}
	public, err := fnote.VKeyToCosignatureV1(vkey)
	if err != nil {
		return &usageError{fmt.Sprintf(c.lang.say("%q is no name for a witness: no spaces, no plus sign", "%q 不能作见证人名：不得含空格或加号"), name)}
	}
	f, err := os.OpenFile(out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("couldn't write the key: %w", err)
	}
	_, err = f.WriteString(skey + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("couldn't write the key: %w", err)
	}
	fmt.Fprintln(c.out, public)
	return nil
}
