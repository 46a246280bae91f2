package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/signing"
)

// sign shows what prepared bytes say, after it has read them as a ledger does, and signs exactly them. Prepared bytes
// come on standard input; on standard output comes the signature as {"key", "sig"}.
func sign(c *command) error {
	var file string
	if err := c.flags(func(fs *flag.FlagSet) { fs.StringVar(&file, "key", "", "") }, "key"); err != nil {
		return err
	}
	seed, err := readSeed(file, false)
	if err != nil {
		return err
	}
	raw, err := io.ReadAll(io.LimitReader(c.in, contracts.MaxCommandBytes+2))
	if err != nil {
		return fmt.Errorf("couldn't read the bytes to sign: %w", err)
	}
	raw = bytes.TrimSuffix(raw, []byte("\n"))
	k := signing.Ed25519(seed)
	sig := k.Sign(raw)
	e, err := readCommand(raw, contracts.Signature{Key: k.Public, Sig: sig})
	if err != nil {
		return fmt.Errorf("nothing was signed, these are no bytes of a command: %w", err)
	}
	var body bytes.Buffer
	if err := json.Indent(&body, e.Body, "  ", "  "); err != nil {
		return fmt.Errorf("nothing was signed: %w", err)
	}
	fmt.Fprint(c.err, visible(fmt.Sprintf("命令 command  %s\n账本 ledger   %s\n会员 member   %s\n有效 valid    %s – %s\n内容 body\n  %s\n", e.Kind, e.Ledger, e.Member,
		e.NotBefore.Time().In(contracts.Shanghai).Format(time.DateTime), e.NotAfter.Time().In(contracts.Shanghai).Format(time.DateTime), body.String())))
	return json.NewEncoder(c.out).Encode(map[string]string{"key": string(k.Public), "sig": hex.EncodeToString(sig)})
}

// readCommand reads bytes as a ledger does, but for who leads: this may be the second signature.
func readCommand(raw []byte, mine contracts.Signature) (*contracts.Envelope, error) {
	cmd, err := contracts.Decode(contracts.Submission{Raw: raw, Signatures: []contracts.Signature{mine}})
	if err == nil {
		return &cmd.Envelope, nil
	}
	var r *contracts.Refusal
	if !errors.As(err, &r) || r.Code != "signature.lead" {
		return nil, err
	}
	e, err := contracts.Read[contracts.Envelope](raw)
	return e, err
}

// visible replaces what a terminal would act on, or a reader not see, in text that somebody else wrote.
func visible(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r == '\n' || unicode.IsGraphic(r) && r != '\u00a0' && !unicode.Is(unicode.Zs, r) || r == ' ' || r == '\u3000' {
			b.WriteRune(r)
			continue
		}
		fmt.Fprintf(&b, `\u%04x`, r)
	}
	return b.String()
}
