package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

func TestConfig(t *testing.T) {
	s := newStand(t, "postgres://nobody@127.0.0.1:1/none")
	s.write("machine.seed", strings.Repeat("22", 32))
	good, err := os.ReadFile(s.path("market.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := ReadConfig(s.path("market.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Dir != s.path("market") || c.Secure {
		t.Errorf("%+v", c)
	}
	for name, x := range map[string]struct{ from, to, says string }{
		"unknown key":        {"quorum: 1", "quorum: 1\nquorums: 2", "quorums"},
		"unknown nested":     {"{url: ", "{uri: 1, url: ", "uri"},
		"twice":              {"quorum: 1", "quorum: 1\nquorum: 1", "quorum"},
		"folded":             {"quorum: 1", "Quorum: 1", "Quorum"},
		"wrong type":         {"quorum: 1", "quorum: many", "many"},
		"second document":    {"dir: market", "dir: market\n---\nquorum: 2", "one document"},
		"no ledger":          {"ledger: " + ledgerID, "", "ledger is missing"},
		"foreign log key":    {"ledger: " + ledgerID, "ledger: bund.other/1", "bund.other/1"},
		"no such key file":   {"machine.seed", "machin.seed", "couldn't read key"},
		"unreachable quorum": {"quorum: 1", "quorum: 2", "quorum"},
	} {
		t.Run(name, func(t *testing.T) {
			b := strings.Replace(string(good), x.from, x.to, 1)
			s.write("market.yaml", b)
			if _, err := ReadConfig(s.path("market.yaml")); err == nil || !strings.Contains(err.Error(), x.says) {
				t.Errorf("got %v, want it to say %q", err, x.says)
			}
		})
	}
}

func TestKeyFiles(t *testing.T) {
	s := newStand(t, "postgres://nobody@127.0.0.1:1/none")
	s.write("machine.seed", strings.Repeat("22", 32))
	for _, name := range []string{"log.key", "promise.seed", "machine.seed"} {
		if err := os.Chmod(s.path(name), 0o640); err != nil {
			t.Fatal(err)
		}
		s.refused([]string{"others may read", name}, "run")
		if err := os.Chmod(s.path(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.write("promise.seed", "11")
	s.refused([]string{"promise.seed is not 64 hex digits"}, "run")
}

func TestUsage(t *testing.T) {
	for _, x := range []struct {
		args string
		code int
		says string
	}{
		{"", 0, "marketd run"}, {"--help", 0, "marketd run"}, {"-h", 0, "marketd run"}, {"help", 0, "marketd run"}, {"run --help", 0, "marketd run"}, {"init -h", 0, "marketd init"},
		{"walk", 2, `no command "walk"`}, {"run", 2, "--config is missing"}, {"run --config x y", 2, `"y" is no flag`}, {"run --conf x", 2, "conf"},
		{"backup --config x", 2, "--to is missing"}, {"run --config /nonexistent/market.yaml", 1, "couldn't read configuration"},
	} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), strings.Fields(x.args), &out, &errs); code != x.code {
			t.Errorf("marketd %s: exit code %d, want %d", x.args, code, x.code)
		}
		if said := out.String() + errs.String(); !strings.Contains(said, x.says) {
			t.Errorf("marketd %s doesn't say %q:\n%s", x.args, x.says, said)
		}
		if x.code == 0 && errs.Len() > 0 || x.code != 0 && out.Len() > 0 {
			t.Errorf("marketd %s wrote to the wrong stream", x.args)
		}
	}
}
