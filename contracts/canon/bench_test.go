package canon

import (
	"fmt"
	"testing"
)

type benchCommand struct {
	Body      Raw    `json:"body"`
	Domain    string `json:"domain"`
	ID        string `json:"id"`
	Key       string `json:"key"`
	Kind      string `json:"kind"`
	Ledger    string `json:"ledger"`
	Member    string `json:"member"`
	NotAfter  int64  `json:"notAfter"`
	NotBefore int64  `json:"notBefore"`
	Suite     string `json:"suite"`
	Tries     int64  `json:"tries"`
	Version   int64  `json:"version"`
}

type benchBody struct {
	Amount int64  `json:"amount"`
	From   string `json:"from"`
	To     string `json:"to"`
}

func BenchmarkCommand(b *testing.B) {
	body := benchBody{Amount: 125000, From: "a0000000000000000000000000000017", To: "a0000000000000000000000000000023"}
	c := benchCommand{
		Body: Marshal(body), Domain: "bund/command/v1", ID: "019b2d05e40f0f0f0f0f0f0f0f0f0f0f", Key: "d75a980182b10ab7d54bfed3c964073a",
		Kind: "money.move", Ledger: "bund.example/1", Member: "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f", NotAfter: 1790000600000, NotBefore: 1790000000000,
		Suite: "ed25519", Version: 1,
	}
	raw := Marshal(c)
	var names struct {
		Names []string `json:"names"`
	}
	for i := range 20 {
		names.Names = append(names.Names, fmt.Sprintf("f%02d", i))
	}
	list := Marshal(names)
	b.Run("append strings", func(b *testing.B) {
		b.ReportAllocs()
		buf := make([]byte, 0, 1024)
		for b.Loop() {
			buf = Append(buf[:0], &names)
		}
	})
	b.Run("unmarshal strings", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := Unmarshal(list, &names); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		buf := make([]byte, 0, 1024)
		for b.Loop() {
			buf = Append(buf[:0], &c)
		}
	})
	b.Run("unmarshal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var c benchCommand
			if err := Unmarshal(raw, &c); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("unmarshal+body", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var c benchCommand
			var x benchBody
			if err := Unmarshal(raw, &c); err != nil {
				b.Fatal(err)
			}
			if err := Unmarshal(c.Body, &x); err != nil {
				b.Fatal(err)
			}
		}
	})
}
