package profile_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/ledger/fabric/profile"
)

func TestWriteRead(t *testing.T) {
	dir := t.TempDir()
	n := &profile.Network{Channel: "bund", Ledger: "l/1", Market: "market", Clearing: "clearing", VenueMSP: "V", Custodian: "C",
		Orderers: []profile.Orderer{{Name: "o", Address: "127.0.0.1:1", MSP: "O", TLSCA: filepath.Join(dir, "ca.pem")}},
		Peers:    []profile.Peer{{Name: "p", Address: "127.0.0.1:2", MSP: "V", TLSCA: "/elsewhere/ca.pem", Endorses: true}},
		Users:    []profile.User{{Organisation: "venue", MSP: "V", Name: "client", MSPDir: filepath.Join(dir, "msp"), Cert: "/c", Key: "/k"}}}
	file := filepath.Join(dir, "network.yaml")
	if err := n.Write(file); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil || strings.Contains(string(b), dir) {
		t.Fatalf("%v\n%s", err, b)
	}
	got, err := profile.Read(file)
	if err != nil || !reflect.DeepEqual(got, n) {
		t.Fatalf("%v %+v", err, got)
	}
	for _, bad := range []string{"unknown: 1\n" + string(b), strings.Replace(string(b), "ledger: l/1\n", "", 1), string(b) + "---\na: b\n"} {
		if err := os.WriteFile(file, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := profile.Read(file); err == nil {
			t.Errorf("read %q", bad)
		}
	}
}
