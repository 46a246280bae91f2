package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/bund-exchange/bund/ledger/witness"
)

func serveWitness(c *command) error {
	var dir, keyFile, logKey, listen string
	var begin bool
	rest, err := c.flags(func(fs *flag.FlagSet) {
		fs.StringVar(&dir, "dir", "", "")
		fs.StringVar(&keyFile, "key-file", "", "")
		fs.StringVar(&logKey, "log-key", "", "")
		fs.StringVar(&listen, "listen", "", "")
		fs.BoolVar(&begin, "begin", false, "")
	}, "dir", "key-file", "log-key", "listen")
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return fmt.Errorf("%w: %q is no flag", errUsage, rest[0])
	}
	st, err := os.Stat(keyFile)
	if err != nil {
		return fmt.Errorf("couldn't read the witness's key: %w", err)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("couldn't read the witness's key: others may read %s, chmod 600 it", keyFile)
	}
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return fmt.Errorf("couldn't read the witness's key: %w", err)
	}
	w, err := witness.Open(witness.Config{Dir: dir, LogKey: logKey, Key: strings.TrimSpace(string(key)), Begin: begin})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return errors.Join(fmt.Errorf("couldn't listen: %w", err), w.Close())
	}
	fmt.Fprintf(c.errw, "witness %s listens on %s\n", w.VerifierKey(), l.Addr())
	s := &http.Server{Handler: w.Handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second}
	stop := context.AfterFunc(c.ctx, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s.Shutdown(ctx)
	})
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return errors.Join(err, w.Close())
	}
	return w.Close()
}

func witnessKey(c *command) error {
	var name, out string
	if _, err := c.flags(func(fs *flag.FlagSet) {
		fs.StringVar(&name, "name", "", "")
		fs.StringVar(&out, "out", "", "")
	}, "name", "out"); err != nil {
		return err
	}
	skey, vkey, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return fmt.Errorf("couldn't make the key: %w", err)
	}
	f, err := os.OpenFile(out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("couldn't write the key: %w", err)
	}
	_, err = f.WriteString(skey + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("couldn't write the key: %w", err)
	}
	fmt.Fprintln(c.out, vkey)
	return nil
}
