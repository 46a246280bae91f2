package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
)

// Names of the two definitions in BUND_DEFINITION; also, unless BUND_OTHER says otherwise, on the channel.
const (
	market   = "market"
	clearing = "clearing"
)

// config is what the environment says.
type config struct {
	packageID  string
	address    string
	definition string // market or clearing
	ledger     string // {channel} in it stands for the channel's name
	venueMSP   string
	other      string // name of the other definition on the channel
	tls        shim.TLSProperties
}

// ledgerOf gives the id of the ledger on a call's channel: one process may serve several channels.
func (c config) ledgerOf(stub shim.ChaincodeStubInterface) string {
	return strings.ReplaceAll(c.ledger, "{channel}", stub.GetChannelID())
}

func readConfig(getenv func(string) string) (config, error) {
	c := config{packageID: getenv("CHAINCODE_ID"), address: getenv("CHAINCODE_SERVER_ADDRESS"), definition: getenv("BUND_DEFINITION"),
		ledger: getenv("BUND_LEDGER"), venueMSP: getenv("BUND_VENUE_MSP"), other: getenv("BUND_OTHER")}
	switch {
	case c.packageID == "":
		return c, errors.New("CHAINCODE_ID is missing")
	case c.address == "":
		return c, errors.New("CHAINCODE_SERVER_ADDRESS is missing")
	case c.ledger == "":
		return c, errors.New("BUND_LEDGER is missing")
	}
	if c.venueMSP == "" {
		c.venueMSP = "VenueMSP"
	}
	other := ""
	switch c.definition {
	case market:
		other = clearing
	case clearing:
		other = market
	default:
		return c, fmt.Errorf("BUND_DEFINITION is %q, want market or clearing", c.definition)
	}
	if c.other == "" {
		c.other = other
	}
	return c, c.readTLS(getenv)
}

func (c *config) readTLS(getenv func(string) string) error {
	cert, key, ca := getenv("CHAINCODE_TLS_CERT"), getenv("CHAINCODE_TLS_KEY"), getenv("CHAINCODE_TLS_CLIENT_CA")
	if cert == "" && key == "" && ca == "" {
		c.tls.Disabled = true
		if !onLoopback(c.address) {
			// What travels here holds openings.
			return fmt.Errorf("%s is not on loopback, and there is no TLS", c.address)
		}
		return nil
	}
	if cert == "" || key == "" {
		return errors.New("TLS needs both CHAINCODE_TLS_CERT and CHAINCODE_TLS_KEY")
	}
	for _, f := range []struct {
		file string
		to   *[]byte
	}{{cert, &c.tls.Cert}, {key, &c.tls.Key}, {ca, &c.tls.ClientCACerts}} {
		if f.file == "" {
			continue
		}
		b, err := os.ReadFile(f.file)
		if err != nil {
			return fmt.Errorf("couldn't read a TLS file: %w", err)
		}
		*f.to = b
	}
	return nil
}

func onLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func (c config) server(cc shim.Chaincode) *shim.ChaincodeServer {
	return &shim.ChaincodeServer{CCID: c.packageID, Address: c.address, CC: cc, TLSProps: c.tls}
}
