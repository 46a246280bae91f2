package network

import (
	"errors"
	"os"
	"path/filepath"
)

// A peer asks an external builder about every package. This one takes those of chaincode that runs as a service, and
// builds nothing: it writes down where the peer's own process of that package listens, and how the two know each other. The
// peer's folder of addresses has a file for each label. The peer keeps what is written until it starts again: see peerProcess.
var builder = map[string]string{
	"detect": `#!/bin/sh
grep -q '"type": *"ccaas"' "$2/metadata.json"
`,
	"build": `#!/bin/sh
set -eu
label=$(sed -n 's/.*"label": *"\([^"]*\)".*/\1/p' "$2/metadata.json")
cp "$CHAINCODE_ADDRESSES/$label" "$3/address"
`,
	"release": `#!/bin/sh
set -eu
umask 077
pem() { sed 's/$/\\n/' "$1" | tr -d '\n'; }
# One by one: what fails within the text below would not end this.
address=$(cat "$1/address")
root=$(pem "$PEER_CRYPTO/chaincode/tls/server.crt")
cert=$(pem "$PEER_CRYPTO/tls/server.crt")
key=$(pem "$PEER_CRYPTO/tls/server.key")
mkdir -p "$2/chaincode/server"
cat >"$2/chaincode/server/connection.json" <<end
{"address": "$address", "dial_timeout": "10s", "tls_required": true, "client_auth_required": true,
"root_cert": "$root", "client_cert": "$cert", "client_key": "$key"}
end
`,
}

// writeBuilder leaves alone what is there already, and writes nothing in place: a peer that has just started may run it, and
// one that can't keeps that failure until it starts again.
func writeBuilder(dir string) error {
	bin := filepath.Join(dir, "builder", "bin")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		return err
	}
	for name, text := range builder {
		file := filepath.Join(bin, name)
		if old, err := os.ReadFile(file); err == nil && string(old) == text {
			continue
		}
		err := errors.Join(os.WriteFile(file+".new", []byte(text), 0o700), os.Rename(file+".new", file))
		if err != nil {
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
