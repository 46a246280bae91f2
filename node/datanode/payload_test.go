package main

import (
	"bytes"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/privacy/envelope"
)

// FuzzPayloads: what another node sends of sealed delivery and joint statistics is read in its one form, or not.
func FuzzPayloads(f *testing.F) {
	id, hash := contracts.ID("00000000000000000000000000000001"), contracts.HashOf("test")
	k := envelope.NewKey([32]byte{1})
	w, err := envelope.Seal(new(bytes.Buffer), k.Public(), envelope.Binding{Agreement: id, Version: id, Dataset: hash, Recipient: k.ID()})
	if err != nil {
		f.Fatal(err)
	}
	w.Write([]byte("staff\n1\n"))
	w.Close()
	m, err := w.Manifest()
	if err != nil {
		f.Fatal(err)
	}
	d := delivery{Fields: []string{"staff"}, Manifest: m, Rows: 1}
	for _, v := range []any{recipient{id}, d, fetch{Agreement: id, Binding: m.Header.Binding, Delivery: d}, wanted{Batch: 1, Key: id}, resultWanted{Batch: 2, Task: id}, received{Known: 1, New: 2}} {
		f.Add(canon.Marshal(v))
	}
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		readPayload(t, b, new(recipient))
		readPayload(t, b, new(fetch))
		readPayload(t, b, new(wanted))
		readPayload(t, b, new(resultWanted))
		readPayload(t, b, new(received))
		if x := new(delivery); readPayload(t, b, x) && (x.Rows < 0 || len(x.Fields) == 0 || x.Manifest.Chunks < 1) {
			t.Errorf("a delivery of nothing: %s", b)
		}
		if q, err := readWanted(b); err == nil && q.Batch < 1 {
			t.Errorf("no batch: %s", b)
		}
	})
}

func readPayload[T any](t *testing.T, b []byte, v *T) bool {
	if canon.Unmarshal(b, v) != nil {
		return false
	}
	if !bytes.Equal(canon.Marshal(v), b) {
		t.Errorf("%s reads as %s", b, canon.Marshal(v))
	}
	return true
}
