package main

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/signing"
	"github.com/bund-exchange/bund/node/vault"
)

func keygen(c *command) error {
	var dir string
	if err := c.flags(func(fs *flag.FlagSet) { fs.StringVar(&dir, "dir", "", "") }, "dir"); err != nil {
		return err
	}
	k, err := readKeys(dir, true)
	if err != nil {
		return err
	}
	pins := []struct {
		purpose string
		key     contracts.PublicKey
	}{{"command", k.Machine.Public}, {"tls", contracts.Ed25519Key(k.TLS.Public().(ed25519.PublicKey))}, {"receipt", contracts.Ed25519Key(k.Receipt.Public().(ed25519.PublicKey))}}
	for _, p := range pins {
		fmt.Fprintf(c.out, "%s\t%s\t%s\n", p.purpose, p.key.ID(), p.key)
	}
	return nil
}

func readSchemaFile(name string) (*vault.Schema, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("couldn't read field dictionary: %w", err)
	}
	return vault.ReadSchema(b)
}

func printSchema(c *command) error {
	var file string
	if err := c.flags(func(fs *flag.FlagSet) { fs.StringVar(&file, "schema", "", "") }, "schema"); err != nil {
		return err
	}
	s, err := readSchemaFile(file)
	if err != nil {
		return err
	}
	fmt.Fprintln(c.out, s.Digest())
	return nil
}

// importDataset prints what a dataset.report says: digest, rows, quality figures.
func importDataset(c *command) error {
	var file, name, schema, csv, asOf string
	if err := c.flags(func(fs *flag.FlagSet) {
		fs.StringVar(&file, "config", "", "")
		fs.StringVar(&name, "dataset", "", "")
		fs.StringVar(&schema, "schema", "", "")
		fs.StringVar(&csv, "csv", "", "")
		fs.StringVar(&asOf, "as-of", "", "")
	}, "config", "dataset", "schema", "csv"); err != nil {
		return err
	}
	cfg, err := ReadConfig(file)
	if err != nil {
		return err
	}
	s, err := readSchemaFile(schema)
	if err != nil {
		return err
	}
	at, err := day(asOf)
	if err != nil {
		return err
	}
	f, err := os.Open(csv)
	if err != nil {
		return fmt.Errorf("couldn't read dataset: %w", err)
	}
	defer f.Close()
	v, err := vault.Open(vault.Config{Dir: filepath.Join(cfg.Dir, "vault"), Now: time.Now})
	if err != nil {
		return fmt.Errorf("couldn't open vault: %w", err)
	}
	defer v.Close()
	d, err := v.Import(c.ctx, name, s, vault.CSV(bufio.NewReaderSize(f, 1<<20)), at)
	if err != nil {
		return err
	}
	return printJSON(c.out, map[string]any{"dataset": d.Name, "digest": d.Digest(), "schema": s.Digest(), "rows": d.Rows(), "asOf": d.AsOf, "quality": d.Quality()})
}

func day(s string) (contracts.Millis, error) {
	if s == "" {
		return 0, nil
	}
	d := contracts.Day(s)
	if err := d.Check(); err != nil {
		return 0, &usageError{"--as-of: " + err.Error()}
	}
	return d.Start(), nil
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// local calls the running node.
func (c *command) local(file, method, path string, body any) error {
	cfg, err := ReadConfig(file)
	if err != nil {
		return err
	}
	token, err := readSeed(filepath.Join(cfg.Dir, "local.token"), false)
	if err != nil {
		return fmt.Errorf("the node has not run yet: %w", err)
	}
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(c.ctx, method, "http://"+cfg.Local+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+hex.EncodeToString(token[:]))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("couldn't reach the node, is it running? %w", err)
	}
	defer resp.Body.Close()
	b, err = io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		p := &problem{Status: resp.StatusCode}
		if json.Unmarshal(b, p) != nil {
			return fmt.Errorf("the node answered %d", resp.StatusCode)
		}
		return p
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	return printJSON(c.out, v)
}

func callNode(c *command) error {
	var file, agreement, subject, fields, purpose, consent, key, asOf, nonce string
	if err := c.flags(func(fs *flag.FlagSet) {
		fs.StringVar(&file, "config", "", "")
		fs.StringVar(&agreement, "agreement", "", "")
		fs.StringVar(&subject, "subject", "", "")
		fs.StringVar(&fields, "fields", "", "")
		fs.StringVar(&purpose, "purpose", "", "")
		fs.StringVar(&consent, "consent", "", "")
		fs.StringVar(&key, "consent-key", "", "")
		fs.StringVar(&asOf, "as-of", "", "")
		fs.StringVar(&nonce, "nonce", "", "")
	}, "config", "agreement", "subject", "fields", "purpose"); err != nil {
		return err
	}
	at, err := day(asOf)
	if err != nil {
		return err
	}
	q := map[string]any{"agreement": agreement, "subject": subject, "fields": strings.Split(fields, ","), "purpose": purpose, "consent": consent, "consentKey": key,
		"asOf": int64(at), "nonce": nonce}
	return c.local(file, http.MethodPost, "/v1/calls", q)
}

func statusNode(c *command) error {
	var file string
	if err := c.flags(func(fs *flag.FlagSet) { fs.StringVar(&file, "config", "", "") }, "config"); err != nil {
		return err
	}
	if err := c.local(file, http.MethodGet, "/v1/status", nil); err != nil {
		return err
	}
	return c.local(file, http.MethodGet, "/v1/agreements", nil)
}

// sign shows what prepared bytes say, decodes them strictly, and signs exactly them. Prepared bytes come on standard
// input; on standard output comes the signature as {"key", "sig"}.
func sign(c *command) error {
	var file string
	if err := c.flags(func(fs *flag.FlagSet) { fs.StringVar(&file, "key", "", "") }, "key"); err != nil {
		return err
	}
	seed, err := readSeed(file, false)
	if err != nil {
		return err
	}
	raw, err := io.ReadAll(io.LimitReader(c.in, contracts.MaxCommandBytes+1))
	if err != nil {
		return err
	}
	raw = bytes.TrimSuffix(raw, []byte("\n"))
	var e contracts.Envelope
	if err := canon.Unmarshal(raw, &e); err != nil {
		return fmt.Errorf("these are no bytes of a command: %w", err)
	}
	if e.Domain != contracts.Domain {
		return fmt.Errorf("these are no bytes of a command: domain %q", e.Domain)
	}
	var body bytes.Buffer
	json.Indent(&body, e.Body, "  ", "  ")
	fmt.Fprintf(c.err, "命令 command  %s\n账本 ledger   %s\n会员 member   %s\n有效 valid    %s – %s\n内容 body\n  %s\n", e.Kind, e.Ledger, e.Member,
		e.NotBefore.Time().In(contracts.Shanghai).Format(time.DateTime), e.NotAfter.Time().In(contracts.Shanghai).Format(time.DateTime), body.String())
	k := signing.Ed25519(seed)
	return json.NewEncoder(c.out).Encode(map[string]string{"key": string(k.Public), "sig": hex.EncodeToString(k.Sign(raw))})
}
