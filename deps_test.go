package bund_test

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/bund-exchange/bund"

// rooms says what each room may import of the others. A longer path wins.
var rooms = []struct {
	room string
	may  []string
	why  string
}{
	{"contracts", []string{"contracts"}, "the rules depend on nothing"},
	{"chaincode", []string{"chaincode", "contracts"}, "chaincode runs the rules and nothing else"},
	{"ledger", []string{"ledger", "contracts"}, "a ledger knows no server and no node"},
	{"server", []string{"server", "ledger", "contracts"}, "the market holds no provider's records: no node, no privacy"},
	{"privacy", []string{"privacy", "contracts"}, "protocols are bytes in, bytes out"},
	{"node", []string{"node", "privacy", "ledger", "contracts"}, "a node trusts no server code"},
	{"deploy/smoke", []string{"deploy", "contracts", "ledger/evidence", "ledger/publish"}, "smoke walks through public APIs only"},
	{"deploy", []string{"deploy", "contracts", "ledger", "node", "server"}, "deploy wires; nothing imports it"},
}

// external says who alone may import a library.
var external = map[string][]string{
	"github.com/lib/pq":           {"server/pg", "node/datanode"}, // a node may keep its tables in its owner's PostgreSQL, and trusts no server code
	"github.com/labstack/echo/v4": {"server/api", "server/rest", "server/marketd"},
}

// testTools are what tests of every room may import: they bring a real database, a real network, and no rule of the market.
var testTools = []string{"server/pg/pgtest", "deploy/fabric/network"}

type listed struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

// TestArrows holds the imports of the whole module against the rooms of the architecture.
func TestArrows(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	seen := 0
	for dec.More() {
		var p listed
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		seen++
		from := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		for i, imp := range append(append(p.Imports, p.TestImports...), p.XTestImports...) {
			to, ok := strings.CutPrefix(imp, module+"/")
			if !ok || i >= len(p.Imports) && within(to, testTools) {
				continue
			}
			if !mayImport(from, to) {
				t.Errorf("%s imports %s: %s", from, to, why(from))
			}
		}
		for _, imp := range p.Imports {
			for lib, may := range external {
				if (imp == lib || strings.HasPrefix(imp, lib+"/")) && !within(from, may) {
					t.Errorf("%s imports %s: only %v may", from, imp, may)
				}
			}
			if within(from, []string{"contracts"}) && (imp == "net/http" || imp == "os" || imp == "database/sql" || imp == "math/rand" || imp == "math/rand/v2") &&
				!strings.Contains(from, "contractstest") {
				t.Errorf("%s imports %s: rules do no I/O and know no chance", from, imp)
			}
		}
	}
	if seen < 10 {
		t.Fatalf("only %d packages listed", seen)
	}
}

func room(from string) int {
	best := -1
	for i, r := range rooms {
		if within(from, []string{r.room}) && (best < 0 || len(r.room) > len(rooms[best].room)) {
			best = i
		}
	}
	return best
}

func mayImport(from, to string) bool {
	i := room(from)
	return i < 0 || within(to, rooms[i].may)
}

func why(from string) string { return rooms[room(from)].why }

func within(path string, roots []string) bool {
	for _, r := range roots {
		if path == r || strings.HasPrefix(path, r+"/") {
			return true
		}
	}
	return false
}
