package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// ask asks the running node and prints the answer.
func (c *command) ask(file, method, path string, body any) error {
	var v any
	if err := c.get(file, method, path, body, &v); err != nil {
		return err
	}
	return printJSON(c.out, v)
}

// get asks the running node, over its local API, and reads the answer into v.
func (c *command) get(file, method, path string, body, v any) error {
	resp, err := c.send(file, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("couldn't read the node's answer: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("couldn't read the node's answer: %w", err)
	}
	return nil
}

// send asks the running node; a body that is an io.Reader is sent as it is, any other as JSON. An answer that isn't a good one is an error; a *problem when it is a refusal.
func (c *command) send(file, method, path string, body any) (*http.Response, error) {
	cfg, err := ReadConfig(file)
	if err != nil {
		return nil, err
	}
	token, err := readSeed(filepath.Join(cfg.Dir, "local.token"), false)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errors.New("couldn't ask the node: it has not run yet")
	}
	if err != nil {
		return nil, err
	}
	reader, raw := body.(io.Reader)
	if !raw {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		reader = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(c.ctx, method, "http://"+cfg.Local+path, reader)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+hex.EncodeToString(token[:]))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, fmt.Errorf("couldn't ask the node, is it running? %w", err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("couldn't read the node's answer: %w", err)
	}
	p := new(problem)
	if json.Unmarshal(b, p) != nil || p.Code == "" {
		return nil, fmt.Errorf("the node answered %d", resp.StatusCode)
	}
	if resp.StatusCode < 500 {
		return nil, p
	}
	return nil, fmt.Errorf("%w\n%s", p, bytes.TrimSpace(b))
}

func callNode(c *command) error {
	var file, agreement, subject, fields, purpose, consent, key, keyFile, asOf, nonce string
	if err := c.flags(func(fs *flag.FlagSet) {
		fs.StringVar(&file, "config", "", "")
		fs.StringVar(&agreement, "agreement", "", "")
		fs.StringVar(&subject, "subject", "", "")
		fs.StringVar(&fields, "fields", "", "")
		fs.StringVar(&purpose, "purpose", "", "")
		fs.StringVar(&consent, "consent", "", "")
		fs.StringVar(&key, "consent-key", "", "")
		fs.StringVar(&keyFile, "consent-key-file", "", "")
		fs.StringVar(&asOf, "as-of", "", "")
		fs.StringVar(&nonce, "nonce", "", "")
	}, "config", "agreement", "subject", "fields", "purpose"); err != nil {
		return err
	}
	at, err := day(asOf)
	if err != nil {
		return err
	}
	if keyFile != "" {
		k, err := readSeed(keyFile, false)
		if err != nil {
			return err
		}
		key = hex.EncodeToString(k[:])
	}
	q := map[string]any{"agreement": agreement, "subject": subject, "fields": strings.Split(fields, ","), "purpose": purpose, "consent": consent, "consentKey": key,
		"asOf": int64(at), "nonce": nonce}
	return c.ask(file, http.MethodPost, "/v1/calls", q)
}

func statusNode(c *command) error {
	var file string
	if err := c.flags(func(fs *flag.FlagSet) { fs.StringVar(&file, "config", "", "") }, "config"); err != nil {
		return err
	}
	if err := c.ask(file, http.MethodGet, "/v1/status", nil); err != nil {
		return err
	}
	return c.ask(file, http.MethodGet, "/v1/agreements", nil)
}

// reportDataset lets the running node report a dataset for a product version.
func reportDataset(c *command) error {
	var file, name, version string
	if err := c.flags(func(fs *flag.FlagSet) {
		fs.StringVar(&file, "config", "", "")
		fs.StringVar(&name, "dataset", "", "")
		fs.StringVar(&version, "version", "", "")
	}, "config", "dataset", "version"); err != nil {
		return err
	}
	return c.ask(file, http.MethodPost, "/v1/datasets/"+name+"/report", map[string]string{"version": version})
}

// openUI says where the running node's page is, and lets one browser in.
func openUI(c *command) error {
	var file string
	if err := c.flags(func(fs *flag.FlagSet) { fs.StringVar(&file, "config", "", "") }, "config"); err != nil {
		return err
	}
	var a struct {
		Code        string `json:"code"`
		URL         string `json:"url"`
		ValiditySec int    `json:"validitySec"`
	}
	if err := c.get(file, http.MethodPost, "/v1/ui-codes", nil, &a); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "在本机浏览器打开 · open in a browser on this machine:\n\n  %s\n\n并输入代码 · and type the code (%d s, once): %s\n", a.URL, a.ValiditySec, a.Code)
	return nil
}
