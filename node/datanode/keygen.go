package main

import (
	"flag"
	"fmt"

	"github.com/bund-exchange/bund/contracts"
)

// keygen makes the keys that are missing and prints the public ones, to be added to the member on the ledger.
func keygen(c *command) error {
	var dir string
	if err := c.flags(func(fs *flag.FlagSet) { fs.StringVar(&dir, "dir", "", "") }, "dir"); err != nil {
		return err
	}
	k, err := readKeys(dir, true)
	if err != nil {
		return err
	}
	for _, p := range []struct {
		purpose contracts.Purpose
		key     contracts.PublicKey
	}{{contracts.PurposeCommand, k.Machine.Public}, {contracts.PurposeTLS, ed25519Key(k.TLS)}, {contracts.PurposeReceipt, ed25519Key(k.Receipt)},
		{contracts.PurposeHPKE, k.HPKE.Public()}} {
		fmt.Fprintf(c.out, "%s\t%s\t%s\n", p.purpose, p.key.ID(), p.key)
	}
	return nil
}
