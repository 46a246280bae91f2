package network

import "fmt"

// Organisation has peers, clients and an administrator on the channel.
type Organisation struct {
	Name     string `json:"name"` // a host name's label: venue, custodian, provider, buyer, regulator
	MSP      string `json:"msp"`
	Endorses bool   `json:"endorses"` // its peers run the chaincode; the regulator's don't
}

// Founders are the organisations that a new channel begins with.
func Founders() []Organisation {
	return []Organisation{
		{"venue", "VenueMSP", true},
		{"custodian", "CustodianMSP", true},
		{"provider", "ProviderMSP", true},
		{"buyer", "BuyerMSP", true},
		{"regulator", "RegulatorMSP", false},
	}
}

const (
	venueMSP      = "VenueMSP"
	custodianMSP  = "CustodianMSP"
	ordererMSP    = "OrdererMSP"
	ordererDomain = "orderer.bund"
)

// Domain is what the host names of the organisation's machines end with.
func (o Organisation) Domain() string { return o.Name + ".bund" }

// peer is one peer of an organisation; its number counts from 1.
type peer struct {
	Organisation string `json:"organisation"`
	Number       int    `json:"number"`
}

// name is the peer's in process names: venue, or provider.2.
func (p peer) name() string {
	if p.Number == 1 {
		return p.Organisation
	}
	return fmt.Sprintf("%s.%d", p.Organisation, p.Number)
}

func (p peer) host() string { return fmt.Sprintf("peer%d.%s.bund", p.Number, p.Organisation) }
