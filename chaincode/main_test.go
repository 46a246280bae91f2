package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func environment(pairs ...string) func(string) string {
	m := map[string]string{"CHAINCODE_ID": "market:0", "CHAINCODE_SERVER_ADDRESS": "127.0.0.1:0", "BUND_DEFINITION": market, "BUND_LEDGER": "bund.test/main"}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(k string) string { return m[k] }
}

func TestConfig(t *testing.T) {
	c, err := readConfig(environment())
	if err != nil || c.venueMSP != "VenueMSP" || c.other != clearing || !c.tls.Disabled {
		t.Errorf("%+v %v", c, err)
	}
	if c, err = readConfig(environment("BUND_DEFINITION", clearing, "BUND_OTHER", "market2", "CHAINCODE_SERVER_ADDRESS", "[::1]:1")); err != nil || c.other != "market2" {
		t.Errorf("%+v %v", c, err)
	}
	pem := filepath.Join(t.TempDir(), "cert.pem")
	if err := os.WriteFile(pem, []byte("PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err = readConfig(environment("CHAINCODE_SERVER_ADDRESS", "0.0.0.0:7", "CHAINCODE_TLS_CERT", pem, "CHAINCODE_TLS_KEY", pem, "CHAINCODE_TLS_CLIENT_CA", pem))
	if err != nil || c.tls.Disabled || string(c.tls.Cert)+string(c.tls.Key)+string(c.tls.ClientCACerts) != "PEMPEMPEM" {
		t.Errorf("%+v %v", c, err)
	}
	for name, pairs := range map[string][]string{
		"no id":               {"CHAINCODE_ID", ""},
		"no address":          {"CHAINCODE_SERVER_ADDRESS", ""},
		"no ledger":           {"BUND_LEDGER", ""},
		"a third definition":  {"BUND_DEFINITION", "escrow"},
		"the world, plain":    {"CHAINCODE_SERVER_ADDRESS", "0.0.0.0:7"},
		"everything, plain":   {"CHAINCODE_SERVER_ADDRESS", ":7"},
		"no port":             {"CHAINCODE_SERVER_ADDRESS", "127.0.0.1"},
		"a key alone":         {"CHAINCODE_TLS_KEY", pem},
		"a CA alone":          {"CHAINCODE_TLS_CLIENT_CA", pem},
		"a missing TLS file":  {"CHAINCODE_TLS_CERT", pem, "CHAINCODE_TLS_KEY", pem + ".not"},
		"no definition named": {"BUND_DEFINITION", ""},
	} {
		if _, err := readConfig(environment(pairs...)); err == nil {
			t.Errorf("took %s", name)
		}
	}
}

func TestRun(t *testing.T) {
	for _, x := range []struct {
		args []string
		env  []string
		code int
		out  string
		err  string
	}{
		{args: []string{"--help"}, out: "BUND_DEFINITION"},
		{args: []string{"serve"}, code: 2, err: "BUND_DEFINITION"},
		{env: []string{"BUND_LEDGER", ""}, code: 2, err: "BUND_LEDGER is missing"},
		{env: []string{"CHAINCODE_SERVER_ADDRESS", "127.0.0.1:port"}, code: 1, err: "couldn't serve"},
	} {
		var out, err strings.Builder
		if code := run(t.Context(), x.args, environment(x.env...), &out, &err); code != x.code || !strings.Contains(out.String(), x.out) || !strings.Contains(err.String(), x.err) {
			t.Errorf("%+v: %d %q %q", x, code, &out, &err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, err strings.Builder
	if code := run(ctx, nil, environment(), &out, &err); code != 0 {
		t.Errorf("asked to end: %d %q", code, &err)
	}
}

func TestLedgerOf(t *testing.T) {
	for ledger, want := range map[string]string{"bund.sample/1": "bund.sample/1", "bund.test/{channel}": "bund.test/bund"} {
		if got := (config{ledger: ledger}).ledgerOf(&fakeStub{}); got != want {
			t.Errorf("%s on channel bund: %s", ledger, got)
		}
	}
}
