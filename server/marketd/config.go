package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
	"golang.org/x/mod/sumdb/note"

	"github.com/bund-exchange/bund/contracts/signing"
	"github.com/bund-exchange/bund/ledger/publish"
)

// Config is the market's file. Unknown keys are fatal; secrets are paths to files that only the owner may read. Paths
// are relative to the file.
type Config struct {
	// Dir holds the ledger, the published log, the private PostgreSQL. `marketd backup` copies what matters of it. On
	// Hyperledger Fabric it is this replica's own.
	Dir string `yaml:"dir"`
	// Ledger is the ledger's id: origin of checkpoints, named by every command.
	Ledger string `yaml:"ledger"`
	// Listen is the API's address. Behind a reverse proxy with TLS, or on loopback.
	Listen string `yaml:"listen"`
	// Admin is where operators read metrics and health: loopback; empty: a free port, named in the log.
	Admin string `yaml:"admin"`
	// Database is a postgres:// URL; empty: marketd runs a private PostgreSQL in dir. The variable DATABASE_URL wins.
	Database string `yaml:"database"`
	// Secure marks session cookies as for https only. Off only on loopback.
	Secure bool `yaml:"secure"`

	// LogKey is the file of the published log's signing key (note format).
	LogKey string `yaml:"logKey"`
	// PromiseKey is the file of the seed that promises are signed with. On Hyperledger Fabric nobody promises by himself,
	// and it isn't read.
	PromiseKey string `yaml:"promiseKey"`
	// MachineKey is the file of the seed of the venue's machine command key: jobs sign with it.
	MachineKey string `yaml:"machineKey"`

	// Witnesses cosign the published log. Without one a lone operator can show two histories.
	Witnesses []WitnessConfig `yaml:"witnesses"`
	// Quorum is how many of them followers want.
	Quorum int `yaml:"quorum"`
	// AllowUnwitnessed lets the market start although no witness answers: nothing then tells an old backup.
	AllowUnwitnessed bool `yaml:"allowUnwitnessed"`

	// Fabric is the network that the ledger is on; absent: an embedded ledger in dir.
	Fabric *FabricConfig `yaml:"fabric"`

	log note.Signer
	// logPublic is the textual public key.
	logPublic string
	promise   ed25519.PrivateKey
	machine   signing.Key
}

// WitnessConfig is where one witness is asked.
type WitnessConfig struct {
	URL string `yaml:"url"`
	Key string `yaml:"key"`
}

// ReadConfig reads and completes a file.
func ReadConfig(name string) (*Config, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("couldn't read configuration: %w", err)
	}
	c := &Config{Secure: true}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(c); err != nil {
		return nil, fmt.Errorf("couldn't read configuration %s: %w", name, err)
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("couldn't read configuration %s: want one document", name)
	}
	base := filepath.Dir(name)
	paths := []*string{&c.Dir, &c.LogKey, &c.PromiseKey, &c.MachineKey}
	if c.Fabric != nil {
		paths = append(paths, &c.Fabric.Network, &c.Fabric.TLog)
	}
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(base, *p)
		}
	}
	if u := os.Getenv("DATABASE_URL"); u != "" {
		c.Database = u
	}
	for _, m := range []struct{ name, value string }{{"dir", c.Dir}, {"ledger", c.Ledger}, {"listen", c.Listen}, {"logKey", c.LogKey},
		{"promiseKey", c.PromiseKey}, {"machineKey", c.MachineKey}} {
		if m.value == "" && (m.name != "promiseKey" || c.Fabric == nil) {
			return nil, fmt.Errorf("configuration %s: %s is missing", name, m.name)
		}
	}
	if c.Fabric != nil {
		if err := c.Fabric.check(); err != nil {
			return nil, fmt.Errorf("configuration %s: %w", name, err)
		}
	}
	return c, c.keys()
}

// tlog is the folder of the published log.
func (c *Config) tlog() string {
	if c.Fabric != nil && c.Fabric.TLog != "" {
		return c.Fabric.TLog
	}
	return filepath.Join(c.Dir, "tlog")
}

func (c *Config) keys() error {
	b, err := secret(c.LogKey)
	if err != nil {
		return err
	}
	skey, vkey, ok := strings.Cut(string(b), "\n")
	if !ok {
		return errors.New("couldn't read log key: want the signing key and the public key on two lines")
	}
	if c.log, err = note.NewSigner(skey); err != nil {
		return fmt.Errorf("couldn't read log key: %w", err)
	}
	c.logPublic = strings.TrimSpace(vkey)
	if c.log.Name() != c.Ledger {
		return fmt.Errorf("couldn't read log key: it is of %s, the ledger is %s", c.log.Name(), c.Ledger)
	}
	if _, err := publish.NewPolicy(c.logPublic, c.witnessKeys(), c.Quorum); err != nil {
		return fmt.Errorf("couldn't use log key, witnesses and quorum: %w", err)
	}
	if c.Fabric == nil {
		seed, err := readSeed(c.PromiseKey)
		if err != nil {
			return err
		}
		c.promise = ed25519.NewKeyFromSeed(seed[:])
	}
	seed, err := readSeed(c.MachineKey)
	if err != nil {
		return err
	}
	c.machine = signing.Ed25519(seed)
	return nil
}

func secret(name string) ([]byte, error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("couldn't read key: %w", err)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("couldn't read key: others may read %s, chmod 600 it", name)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("couldn't read key: %w", err)
	}
	return bytes.TrimSpace(b), nil
}

func readSeed(name string) (s [32]byte, err error) {
	b, err := secret(name)
	if err != nil {
		return s, err
	}
	x, err := hex.DecodeString(string(b))
	if err != nil || len(x) != 32 {
		return s, fmt.Errorf("couldn't read key: %s is not 64 hex digits", name)
	}
	return [32]byte(x), nil
}

func (c *Config) witnesses() (out []publish.Witness) {
	for _, w := range c.Witnesses {
		out = append(out, publish.Witness{URL: w.URL, Key: w.Key})
	}
	return out
}

func (c *Config) witnessKeys() (out []string) {
	for _, w := range c.Witnesses {
		out = append(out, w.Key)
	}
	return out
}
