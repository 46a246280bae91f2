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

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/signing"
	"github.com/bund-exchange/bund/privacy/envelope"
)

// Keys are a node's own. Each is a file <dir>/keys/<name>.seed with 64 hex digits, readable by the owner only.
type Keys struct {
	Machine signing.Key        // command key of the node's machine
	TLS     ed25519.PrivateKey // pinned by peers
	Receipt ed25519.PrivateKey // signs statements
	Seal    [32]byte           // seals answers at rest; never leaves the machine
	Request [32]byte           // marks this node's request ids; whoever has it can invent use
	HPKE    *envelope.Key      // opens what is sealed to this node; nil on a node that was made without
}

// readKeys reads all keys; makeMissing makes those that are missing.
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
	switch h, err := readSeed(filepath.Join(dir, "hpke.seed"), makeMissing); {
	case err == nil:
		k.HPKE = envelope.NewKey(h)
	case !errors.Is(err, os.ErrNotExist): // nodes of before sealed delivery have none, and need none until they receive
		errs = append(errs, err)
	}
	return k, errors.Join(errs...)
}

func ed25519Key(k ed25519.PrivateKey) contracts.PublicKey {
	return contracts.Ed25519Key(k.Public().(ed25519.PublicKey))
}

func ed25519ID(k ed25519.PrivateKey) contracts.ID { return ed25519Key(k).ID() }

// readSeed reads a 32-byte seed, or makes it.
func readSeed(name string, makeMissing bool) (s [32]byte, err error) {
	b, err := readSecret(name)
	if errors.Is(err, os.ErrNotExist) && makeMissing {
		return makeSeed(name)
	}
	if err != nil {
		return s, fmt.Errorf("couldn't read key: %w", err)
	}
	x, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(x) != 32 {
		return s, fmt.Errorf("couldn't read key: %s is not 64 hex digits", name)
	}
	return [32]byte(x), nil
}

// makeSeed makes a seed whose file is whole or not there, and replaces none.
func makeSeed(name string) (s [32]byte, err error) {
	rand.Read(s[:])
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return s, fmt.Errorf("couldn't make key: %w", err)
	}
	f, err := os.CreateTemp(dir, "tmp-*") // 0600
	if err != nil {
		return s, fmt.Errorf("couldn't make key: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(hex.EncodeToString(s[:]) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Link(f.Name(), name)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return s, fmt.Errorf("couldn't make key: %w", err)
	}
	return s, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
