package contracts_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/codetest"
	"github.com/bund-exchange/bund/contracts/policy"
)

var update = flag.Bool("update", false, "write generated files and golden bytes anew")

// RunCorpus looks this flag up.
var _ = flag.Bool("rewrite", false, "write the corpus's expectations of state and events anew")

var codeForm = regexp.MustCompile(`^[a-z]+\.[a-z0-9_]+$`)

// marketCodes are the rules' own codes, and those of the ledger's answers in the form of a rule's.
var marketCodes = codetest.Source{Dirs: []string{"."}, Form: codeForm, Skip: func(path string) bool { return strings.HasPrefix(filepath.Base(path), "codes") },
	Argument: map[string]int{"contracts.refuse": 0, "contracts.malformed": 0, "contracts.noAffiliate": 1, "contracts.Code": 0},
	Relayed: map[string]string{"contracts.refuse": "code", "contracts.malformed": "code", "contracts.noAffiliate": "code",
		"contracts.granted": "d.Denial.Code", "proposal.Refusal": "r.Code"}} // of the policy, of an endorser

func TestEveryCodeIsDocumented(t *testing.T) {
	used := marketCodes.HandedOut(t)
	maps.Copy(used, codetest.Source{Dirs: []string{"../ledger/embedded", "../chaincode"}, Form: codeForm}.HandedOut(t))
	for _, d := range policy.Denials() {
		used[contracts.Code(d.Code)] = "policy.Denials"
		if row, ok := contracts.Lookup(contracts.Code(d.Code)); !ok || row.Zh != d.Zh || row.En != d.En {
			t.Errorf("%s: policy says %q, the table %q", d.Code, d.En, row.En)
		}
	}
	if len(used) < 150 {
		t.Fatalf("only %d codes found: the reader of the source is broken", len(used))
	}
	for c, at := range used {
		if _, ok := contracts.Lookup(c); !ok {
			t.Errorf("%s is used at %s and has no row in Codes", c, at)
		}
	}
	seen := map[contracts.Code]bool{}
	for _, d := range contracts.Codes {
		switch {
		case seen[d.Code]:
			t.Errorf("%s is there twice", d.Code)
		case used[d.Code] == "":
			t.Errorf("%s has a row and is used nowhere", d.Code)
		case d.Zh == "" || d.En == "" || d.DoZh == "" || d.DoEn == "":
			t.Errorf("%s lacks a text", d.Code)
		case d.Class.HTTPStatus() == 500:
			t.Errorf("%s has the unknown class %q", d.Code, d.Class)
		}
		seen[d.Code] = true
	}
}

const refusalsDoc = "../docs/reference/refusals.md"

// TestRefusalsDoc fails when the reference is stale. `go test ./contracts -run TestRefusalsDoc -update` writes it.
func TestRefusalsDoc(t *testing.T) {
	want := refusalsMarkdown()
	if *update {
		if err := os.MkdirAll(filepath.Dir(refusalsDoc), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(refusalsDoc, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(refusalsDoc)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is stale: run go generate ./contracts", refusalsDoc)
	}
}

func refusalsMarkdown() string {
	var b strings.Builder
	b.WriteString(`<!-- made from contracts.Codes by go generate ./contracts; don't edit -->
# 拒绝码 · Refusals

A refusal is the market's answer "no": deterministic, and final for the ledger position at which it was decided. It changes
nothing and is not recorded; where the cure allows it, the same bytes may be accepted later. Everything else that goes wrong
is a failure (a disk, a network: try again) or an unknown outcome (look the command id up).

Codes are stable. The order below is roughly the one in which a command meets them: its form, its signatures, its member,
then the noun that it is about. A command that breaks several rules is refused by the first one met.

拒绝是确定的答复：不改变任何状态，也不上账；其余错误是故障（可重试）或结果未知（按命令号查询）。
`)
	noun := ""
	for _, d := range contracts.Codes {
		if n, _, _ := strings.Cut(string(d.Code), "."); n != noun {
			noun = n
			fmt.Fprintf(&b, "\n| `%s` | HTTP | meaning 含义 | what to do 处理 |\n|---|---|---|---|\n", noun)
		}
		fmt.Fprintf(&b, "| <a id=%q></a>`%s` | %d %s | %s<br>%s | %s<br>%s |\n", d.Code, d.Code, d.Class.HTTPStatus(), d.Class, d.Zh, d.En, d.DoZh, d.DoEn)
	}
	return b.String()
}
