package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/signing"
)

func signed(t *testing.T, seed [32]byte, in []byte) (code int, out struct{ Key, Sig string }, shown string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "k.seed")
	ok(t, os.WriteFile(file, []byte(hex.EncodeToString(seed[:])), 0o600))
	var o, e bytes.Buffer
	code = run(t.Context(), []string{"sign", "--key", file}, bytes.NewReader(in), &o, &e)
	if code == 0 {
		ok(t, json.Unmarshal(o.Bytes(), &out))
	} else if o.Len() > 0 {
		t.Errorf("refused, and yet %s", o.String())
	}
	return code, out, e.String()
}

func prepared(lead contracts.PublicKey, body any) []byte {
	raw, _ := contracts.Unsigned{Ledger: "l/1", Member: "00000000000000000000000000000001", Kind: "freeze.order", Body: body, NotBefore: contractstest.Start, Lead: lead}.Bytes()
	return raw
}

func TestSign(t *testing.T) {
	seed, other := [32]byte{1}, signing.Ed25519([32]byte{2})
	me := signing.Ed25519(seed)
	body := contracts.FreezeOrder{Target: "00000000000000000000000000000002", Order: contracts.HashOf("x"), Reason: "可疑 \u202eevil\u009b31m"}
	for name, raw := range map[string][]byte{"as first": prepared(me.Public, body), "as second": prepared(other.Public, body)} {
		code, out, shown := signed(t, seed, append(raw, '\n'))
		sig, err := hex.DecodeString(out.Sig)
		ok(t, err)
		if code != 0 || out.Key != string(me.Public) || !me.Public.Verify(raw, sig) {
			t.Errorf("%s: exit %d, %+v", name, code, out)
		}
		for _, want := range []string{"freeze.order", "l/1", "00000000000000000000000000000001", "2026-03-02 09:00:00", `"target": "00000000000000000000000000000002"`, `可疑 \u202eevil\u009b31m`} {
			if !strings.Contains(shown, want) {
				t.Errorf("%s: %q is not shown in %s", name, want, shown)
			}
		}
	}
	good := string(prepared(me.Public, body))
	for name, raw := range map[string]string{
		"nothing": "", "no JSON": "hello", "space": " " + good, "two lines behind": good + "\n\n", "another order": strings.Replace(good, `{"body"`, `{"domain":"bund/command/v1","body"`, 1),
		"another domain": strings.Replace(good, "bund/command/v1", "bund/command/v2", 1), "unknown kind": strings.Replace(good, "freeze.order", "freeze.melt", 1),
		"unknown field in the body": strings.Replace(good, `"reason"`, `"reasons"`, 1), "a receipt's statement": "bund/ack/v1\x00{}",
		"escaped otherwise": strings.Replace(good, "可", `\u53ef`, 1),
	} {
		if code, _, shown := signed(t, seed, []byte(raw)); code != 1 || !strings.Contains(shown, "nothing was signed") {
			t.Errorf("%s: exit %d, %s", name, code, shown)
		}
	}
}

func FuzzSignDecode(f *testing.F) {
	me := signing.Ed25519([32]byte{1})
	f.Add(prepared(me.Public, contracts.FreezeOrder{Target: "00000000000000000000000000000002", Order: contracts.HashOf("x"), Reason: "y"}))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := readCommand(raw, contracts.Signature{Key: me.Public, Sig: me.Sign(raw)})
		if err == nil && e.Domain != contracts.Domain {
			t.Fatalf("%+v", e)
		}
		if s := visible(string(raw)); strings.ContainsAny(s, "\x1b\u009b\u202e\r\x00") {
			t.Fatalf("%q", s)
		}
	})
}

func FuzzStrictJSON(f *testing.F) {
	for _, s := range []string{`{"agreement":"00","fields":["a"],"asOf":1}`, `{"fields":["a"],"fields":["b"]}`, `{"Fields":[]}`, `{"fields":null} {}`, `[`, "\"\xff\"", `{"asOf":1e400}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var q localCallRequest
		if strictJSON(b, &q) != nil {
			return
		}
		again, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		var r localCallRequest
		if err := strictJSON(again, &r); err != nil {
			t.Fatalf("%s, then %s: %v", b, again, err)
		}
	})
}
