package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/bund-exchange/bund/ledger/evidence"
	"github.com/bund-exchange/bund/ledger/evidence/evidencetest"
	"github.com/bund-exchange/bund/ledger/fabric/blockaudit/blockaudittest"
	"github.com/bund-exchange/bund/ledger/fabric/blocks"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"bundaudit": main})
}

var market = sync.OnceValues(func() (*evidencetest.Trade, error) {
	l, err := evidencetest.New("bund.test/audit")
	if err != nil {
		return nil, err
	}
	return evidencetest.NewTrade(l)
})

// TestScripts plays the scripts in testdata. Each finds a trust root, an export with openings (export), one without
// (closed), an early checkpoint, and proof files of every entry in proofs/; CERT is the position of the certificate. blocks/
// are those of another ledger, recorded on a Fabric network whose genesis block has the hash GENESIS, and derived/ the
// entries of its evidence package.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			w, err := market()
			if err != nil {
				return err
			}
			e.Vars = append(e.Vars, "LANG=C", fmt.Sprintf("CERT=%d", w.Find("certificate.issue", 0)), fmt.Sprintf("SETTLE=%d", w.Find("settlement.settle", 0)),
				fmt.Sprintf("ENTRIES=%d", len(w.Entries)), "AGREEMENT="+string(w.Prepaid.Agreement), "GENESIS="+blockaudittest.Genesis)
			if err := writeBlocks(e.WorkDir); err != nil {
				return err
			}
			return write(w, e.WorkDir)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"flip": flip},
	})
}

func write(w *evidencetest.Trade, dir string) error {
	root, err := w.Trust().Marshal()
	if err != nil {
		return err
	}
	early := w.Clone()
	early.Entries = early.Entries[:20]
	cp, err := early.Checkpoint(2)
	if err != nil {
		return err
	}
	other := w.Clone()
	other.Entries[7].Public = !other.Entries[7].Public
	fork, err := other.Checkpoint(3)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, "proofs"), 0o700); err != nil {
		return err
	}
	for name, b := range map[string][]byte{"trust.json": root, "early.checkpoint": cp, "fork.checkpoint": fork} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			return err
		}
	}
	for _, kind := range []string{"certificate.issue", "settlement.settle", "agreement.finalize", "movement.deposit"} {
		at := w.Find(kind, 0)
		p, err := w.Proof(at, 3)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "proofs", fmt.Sprint(at)+evidence.ProofSuffix), p.Marshal(), 0o600); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "proofs", kind+evidence.ProofSuffix), p.Marshal(), 0o600); err != nil {
			return err
		}
	}
	if err := w.Export(filepath.Join(dir, "export"), true); err != nil {
		return err
	}
	return w.Export(filepath.Join(dir, "closed"), false)
}

func writeBlocks(dir string) error {
	r, err := blockaudittest.Load()
	if err != nil {
		return err
	}
	var prev [32]byte
	var position uint64
	var all []byte
	for _, b := range r.Blocks {
		d, err := blocks.Derive(b, blockaudittest.Names)
		if err != nil {
			return err
		}
		for _, s := range blocks.Entries(prev, position, d.Commands) {
			all = append(binary.BigEndian.AppendUint32(all, uint32(len(s.Encoded))), s.Encoded...)
			prev, position = s.Hash, position+1
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "derived"), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "derived", evidence.EntriesFile), all, 0o600); err != nil {
		return err
	}
	return r.Write(filepath.Join(dir, "blocks"))
}

// flip FILE OFFSET changes one bit; a negative offset counts from the end.
func flip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: flip FILE OFFSET")
	}
	name := ts.MkAbs(args[0])
	b, err := os.ReadFile(name)
	ts.Check(err)
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	if at < 0 {
		at += len(b)
	}
	b[at] ^= 1
	ts.Check(os.WriteFile(name, b, 0o600))
}
