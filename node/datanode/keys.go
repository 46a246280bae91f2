package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/bund-exchange/bund/contracts/signing"
)

// Keys are a node's own. Each is a file <dir>/keys/<name>.seed with 64 hex digits, readable by the owner only.
type Keys struct {
	Machine signing.Key        // command key of the node's machine
	TLS     ed25519.PrivateKey // pinned by peers
	Receipt ed25519.PrivateKey // signs statements
	Seal    [32]byte           // seals answers at rest; never leaves the machine
	Request [32]byte           // marks this node's request ids; whoever has it can invent use
}

// readKeys reads all keys; make makes those that are missing.
func readKeys(dir string, makeMissing bool) (*Keys, error) {
	dir = filepath.Join(dir, "keys")
	k := new(Keys)
	var errs []error
	seed := func(name string) (s [32]byte) {
		s, err := readSeed(filepath.Join(dir, name+".seed"), makeMissing)
		errs = append(errs, err)
		return s
	}
	k.Machine = signing.Ed25519(seed("machine"))
	t, r := seed("tls"), seed("receipt")
	k.TLS, k.Receipt = ed25519.NewKeyFromSeed(t[:]), ed25519.NewKeyFromSeed(r[:])
	k.Seal, k.Request = seed("seal"), seed("request")
	return k, errors.Join(errs...)
}

// readSeed reads a 32-byte seed, or makes it.
func readSeed(name string, makeMissing bool) (s [32]byte, err error) {
	st, err := os.Stat(name)
	if errors.Is(err, os.ErrNotExist) && makeMissing {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return s, fmt.Errorf("couldn't make keys: %w", err)
		}
		rand.Read(s[:])
		f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return s, fmt.Errorf("couldn't make key: %w", err)
		}
		_, err = f.WriteString(hex.EncodeToString(s[:]) + "\n")
		return s, errors.Join(err, f.Sync(), f.Close())
	}
	if err != nil {
		return s, fmt.Errorf("couldn't read key: %w", err)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return s, fmt.Errorf("couldn't read key: others may read %s, chmod 600 it", name)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return s, fmt.Errorf("couldn't read key: %w", err)
	}
	x, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(x) != 32 {
		return s, fmt.Errorf("couldn't read key: %s is not 64 hex digits", name)
	}
	return [32]byte(x), nil
}
