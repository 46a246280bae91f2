package evidence_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/signing"
	"github.com/bund-exchange/bund/ledger/evidence"
)

func FuzzDecodeOpening(f *testing.F) {
	for _, v := range []any{contracts.EscrowValue{Balance: 7}, contracts.Totals{Calls: 400, Units: 400, Micro: 1}} {
		c, o := signing.Commit(contracts.TagEscrow, [32]byte{1, 2, 3}, v)
		b, err := evidence.EncodeOpening(contracts.KeptOpening{Tag: contracts.TagEscrow, Commitment: c, Opening: o})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)-1])
	}
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{1}, 70))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := evidence.DecodeOpening(b)
		if err != nil {
			return
		}
		again, err := evidence.EncodeOpening(k)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("an opening that no writer writes: %v", err)
		}
	})
}

func FuzzManifest(f *testing.F) {
	skey, vkey, err := note.GenerateKey(nil, ledgerID)
	if err != nil {
		f.Fatal(err)
	}
	signer, _ := note.NewSigner(skey)
	verifier, _ := note.NewVerifier(vkey)
	good := evidence.Manifest{Format: "bund/evidence/v1", Ledger: ledgerID, Entries: 3, Requester: "operator", Reason: "检查", Made: 1_790_000_000_000, Files: []evidence.FileDigest{
		{Name: evidence.CheckpointFile, Bytes: 1, SHA256: contracts.HashOf("x")}, {Name: evidence.EntriesFile, Bytes: 2, SHA256: contracts.HashOf("y")}}}
	f.Add(string(canon.Marshal(good)))
	f.Add(strings.ToUpper(string(canon.Marshal(good))))
	f.Add(string(canon.Marshal(good)) + " ")
	f.Add("{}")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := evidence.DecodeManifest(text)
		if err == nil && string(canon.Marshal(m)) != text {
			t.Fatal("a manifest that no writer writes")
		}
		// As it is, nobody has signed it; signed, it is accepted just when its text is.
		if _, err := evidence.ParseManifest([]byte(text), verifier); err == nil {
			t.Fatal("an unsigned manifest")
		}
		signed, err2 := note.Sign(&note.Note{Text: text + "\n"}, signer)
		if err2 != nil || strings.Contains(text, "\n") {
			return
		}
		if _, err2 := evidence.ParseManifest(signed, verifier); (err == nil) != (err2 == nil) {
			t.Fatalf("text: %v, signed: %v", err, err2)
		}
	})
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 7, 0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 9, 7})
	f.Add([]byte{255, 255, 255, 255})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1 << 16
		fs, err := evidence.Frames(bytes.NewReader(b), limit)
		var again []byte
		for _, x := range fs {
			again = binary.BigEndian.AppendUint32(again, uint32(len(x)))
			again = append(again, x...)
		}
		if !bytes.HasPrefix(b, again) || err == nil && len(again) != len(b) {
			t.Fatal("frames that aren't those of the file")
		}
	})
}
