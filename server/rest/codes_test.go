package rest

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/codetest"
)

var update = flag.Bool("update", false, "write the reference anew")

// A code of the API has a noun and a word, or words without a dot.
var apiCodeForm = regexp.MustCompile(`^[a-z]+(\.[a-z_]+|(_[a-z]+)*)$`)

// serverCodes are handed out under server/.
var serverCodes = codetest.Source{Dirs: []string{".."}, Form: apiCodeForm, Skip: func(path string) bool { return path == "../rest/codes.go" },
	Argument: map[string]int{"rest.refuse": 0, "rest.failed": 0, "identity.refuse": 0},
	Relayed:  map[string]string{"rest.refuse": "code", "identity.refuse": "code"}}

func TestEveryCodeIsDocumented(t *testing.T) {
	used := serverCodes.HandedOutAll(t)
	if len(used) < 25 {
		t.Fatalf("only %d codes found: the reader of the source is broken", len(used))
	}
	rows := map[contracts.Code]bool{}
	for _, d := range apiCodes {
		_, market := contracts.Lookup(d.Code)
		status := Status(d.Code)
		switch {
		case rows[d.Code]:
			t.Errorf("%s is there twice", d.Code)
		case market:
			t.Errorf("%s is a code of the ledger, with a row there", d.Code)
		case used[d.Code] == "":
			t.Errorf("%s has a row and is used nowhere", d.Code)
		case d.Zh == "" || d.En == "" || d.DoZh == "" || d.DoEn == "":
			t.Errorf("%s lacks a text", d.Code)
		case d.Kind != kindRefusal && d.Kind != kindFailure && d.Kind != kindUnknown:
			t.Errorf("%s has the unknown kind %q", d.Code, d.Kind)
		case (d.Kind == kindRefusal) != (status < 500):
			t.Errorf("%s is a %s with status %d", d.Code, d.Kind, status)
		}
		rows[d.Code] = true
	}
	for c, at := range used {
		if _, market := contracts.Lookup(c); !market && !rows[c] {
			t.Errorf("%s is used at %s and has no row in apiCodes", c, at)
		}
	}
	for c := range exactStatus {
		if _, market := contracts.Lookup(c); !market && !rows[c] {
			t.Errorf("%s has a status and isn't a code any more", c)
		}
	}
}

const apiCodesDoc = "../../docs/reference/api-codes.md"

// TestAPICodesDoc fails when the reference is stale. `go test ./server/rest -run TestAPICodesDoc -update` writes it.
func TestAPICodesDoc(t *testing.T) {
	want := apiCodesMarkdown()
	if *update {
		if err := os.WriteFile(apiCodesDoc, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(apiCodesDoc)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is stale: run go generate ./server/rest", apiCodesDoc)
	}
}

func apiCodesMarkdown() string {
	var b strings.Builder
	b.WriteString(`<!-- made from apiCodes by go generate ./server/rest; don't edit -->
# 市场接口的答复码 · Codes of the market's API

The API answers with these codes beside the ledger's own ([refusals](refusals.md)). A refusal is a deterministic "no".
After a failure the same request may be sent again: nothing was decided. An unknown outcome may have been done: look it up
before trying again. Clients branch on the code; the HTTP status is presentation.

拒绝是确定的答复；故障未作决定，可重试同样的请求；结果未知则先查询再重试。程序按答复码判断，HTTP 状态仅供呈现。

| code | HTTP | kind | meaning 含义 | what to do 处理 |
|---|---|---|---|---|
`)
	for _, d := range apiCodes {
		fmt.Fprintf(&b, "| <a id=%q></a>`%s` | %d | %s | %s<br>%s | %s<br>%s |\n", d.Code, d.Code, Status(d.Code), d.Kind, d.Zh, d.En, d.DoZh, d.DoEn)
	}
	return b.String()
}
