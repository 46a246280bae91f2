package network

import (
	"os"
	"path/filepath"
)

// A peer asks an external builder about every package. This one takes those of chaincode that runs as a service, and
// builds nothing: it writes down where the peer's own process of that package listens. The peer's folder of addresses has
// a file for each label.
var builder = map[string]string{
	"detect": `#!/bin/sh
grep -q '"type": *"ccaas"' "$2/metadata.json"
`,
	"build": `#!/bin/sh
set -eu
label=$(sed -n 's/.*"label": *"\([^"]*\)".*/\1/p' "$2/metadata.json")
address=$(cat "$CHAINCODE_ADDRESSES/$label")
sed "s/` + addressOfPeer + `/$address/" "$1/connection.json" >"$3/connection.json"
`,
	"release": `#!/bin/sh
mkdir -p "$2/chaincode/server" && cp "$1/connection.json" "$2/chaincode/server/"
`,
}

// addressOfPeer stands in a package for the address that differs between peers. Were it the address itself, the package's
// id would differ too, and an organisation can approve one id only: its second peer would share the first one's process.
const addressOfPeer = "{{address}}"

func writeBuilder(dir string) error {
	bin := filepath.Join(dir, "builder", "bin")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		return err
	}
	for name, text := range builder {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(text), 0o700); err != nil {
			return err
		}
	}
	return nil
}

func (n *Network) addressesDir(p peer) string { return n.path("peer."+p.name(), "chaincode") }

// writeAddresses tells a peer's builder where the peer's chaincode processes listen.
func (n *Network) writeAddresses(p peer) error {
	for _, d := range n.layout.served() {
		if err := n.writeConfig(n.addressesDir(p), ccLabel(d), []byte(loopback(n.layout.chaincodePort(p, d)))); err != nil {
			return err
		}
	}
	return nil
}
