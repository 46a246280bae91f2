package codes_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/codetest"
	"github.com/bund-exchange/bund/node/codes"
)

var update = flag.Bool("update", false, "write the reference anew")

var codeForm = regexp.MustCompile(`^([a-z]+(\.[a-z0-9_]+|_[a-z]+)?|[A-Z]+(_[A-Z]+)+)$`)

// sources are the node, and the protocols whose refusals it hands on as they are.
var sources = []string{"..", "../../privacy/score", "../../privacy/psi", "../../privacy/lookup", "../../privacy/consent", "../../privacy/envelope", "../../privacy/stats"}

// nodeCodes are handed out by the node and by those protocols.
var nodeCodes = codetest.Source{Dirs: sources, Form: codeForm, Skip: func(path string) bool { return filepath.Dir(path) == "../codes" },
	Argument: map[string]int{"datanode.refuse": 2, "datanode.refusePeer": 1, "datanode.refused": 0, "score.refuse": 0, "compute.refuse": 0, "psi.refuse": 0, "session.refuse": 0, "meter.refuse": 0, "meter.refuseLocked": 0, "lookup.refuse": 0, "consent.refuse": 0, "envelope.refuse": 0, "stats.refuse": 0},
	Relayed: map[string]string{
		"datanode.localError":  "mr.Code cr.Code contracts.Code(p.Code)", // of the provider, the rules, the market
		"datanode.admit":       "r.Code",
		"datanode.execute":     "r.Code",
		"datanode.refused":     "code",
		"datanode.peerAPI":     "refusal.Code",
		"datanode.take":        "refusal.Code",
		"datanode.do":          "contracts.Code(p.Code)", // of the provider
		"datanode.peer":        "refusal.Code",
		"envelope.refuse":      "code",
		"stats.refuse":         "code",
		"score.refuse":         "code",
		"psi.refuse":           "code",
		"compute.refuse":       "code",
		"compute.ask":          "done.Code", // given before, and kept
		"session.refuse":       "code",
		"session.readProblem":  "p.Code", // of the other side
		"meter.refuse":         "code",
		"meter.refuseLocked":   "code",
		"meter.readRefusal":    "p.Code", // of the provider
		"lookup.refuse":        "code",
		"consent.refuse":       "code",
		"datanode.serveTable":  "cr.Code mr.Code",
		"datanode.serveTicket": "no.Code",
		"datanode.peerRefusal": "contracts.Code(p.Code)", // of the other node
	}}

func TestEveryCodeIsDocumented(t *testing.T) {
	used := nodeCodes.HandedOutAll(t)
	if len(used) < 25 {
		t.Fatalf("only %d codes found: the reader of the source is broken", len(used))
	}
	rows := map[contracts.Code]bool{}
	for _, p := range codes.Parts {
		for _, d := range p.Codes {
			_, market := contracts.Lookup(d.Code)
			switch {
			case rows[d.Code]:
				t.Errorf("%s is there twice", d.Code)
			case market:
				t.Errorf("%s is a code of the market, with a row there", d.Code)
			case used[d.Code] == "":
				t.Errorf("%s has a row and is used nowhere", d.Code)
			case d.Zh == "" || d.En == "" || d.DoZh == "" || d.DoEn == "":
				t.Errorf("%s lacks a text", d.Code)
			case d.Kind != codes.Refusal && d.Kind != codes.Failure && d.Kind != codes.Unknown:
				t.Errorf("%s has the unknown kind %q", d.Code, d.Kind)
			}
			rows[d.Code] = true
		}
	}
	for c, at := range used {
		if _, market := contracts.Lookup(c); !market && !rows[c] {
			t.Errorf("%s is used at %s and has no row in codes.Parts", c, at)
		}
	}
}

const nodeCodesDoc = "../../docs/reference/node-codes.md"

// TestNodeCodesDoc fails when the reference is stale. `go test ./node/codes -run TestNodeCodesDoc -update` writes it.
func TestNodeCodesDoc(t *testing.T) {
	want := markdown()
	if *update {
		if err := os.WriteFile(nodeCodesDoc, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(nodeCodesDoc)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is stale: run go generate ./node/codes", nodeCodesDoc)
	}
}

func markdown() string {
	var b strings.Builder
	b.WriteString(`<!-- made from codes.Parts by go generate ./node/codes; don't edit -->
# 数据节点的答复码 · Codes of a data node

A data node answers with these codes beside the market's own, which it passes on as they are ([refusals](refusals.md)).
A refusal is a deterministic "no": billed nothing, and no leaf is written. After a failure the same request may be sent
again. An unknown outcome may have been done: the request's nonce or the command's id tells.

拒绝是确定的答复，不计费、不写收据；故障可重试同样的请求；结果未知则以同一 nonce 或命令号查询。
`)
	for _, p := range codes.Parts {
		fmt.Fprintf(&b, "\n| %s · %s | kind | meaning 含义 | what to do 处理 |\n|---|---|---|---|\n", p.Zh, p.En)
		for _, d := range p.Codes {
			fmt.Fprintf(&b, "| <a id=%q></a>`%s` | %s | %s<br>%s | %s<br>%s |\n", d.Code, d.Code, d.Kind, d.Zh, d.En, d.DoZh, d.DoEn)
		}
	}
	return b.String()
}
