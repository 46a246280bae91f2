package network

import (
	"fmt"
	"strings"

	"github.com/bund-exchange/bund/ledger/fabric/profile"
)

// Profile describes the network to a client that may act as any organisation.
func (n *Network) Profile() *profile.Network { return n.profileOf(n.main()) }

// inChannel is what a network's ledger id may hold: chaincode puts the channel's name there, so that one process can
// serve several channels, each with a ledger of its own.
const inChannel = "{channel}"

func (n *Network) profileOf(ch channel) *profile.Network {
	r := &profile.Network{Channel: ch.name, Ledger: strings.ReplaceAll(n.layout.Ledger, inChannel, ch.name),
		Market: market, Clearing: clearing, VenueMSP: venueMSP, Custodian: custodianMSP}
	for i := 1; i <= n.layout.Orderers; i++ {
		r.Orderers = append(r.Orderers, profile.Orderer{Name: ordererHost(i), Address: loopback(n.layout.ordererPorts(i).listen), MSP: ordererMSP,
			TLSCA: n.path(ordererOrgDir(), "tlsca", "tlsca."+ordererDomain+"-cert.pem")})
	}
	for _, p := range ch.peers {
		o, _, _ := n.layout.organisation(p.Organisation)
		r.Peers = append(r.Peers, profile.Peer{Name: p.host(), Address: loopback(n.layout.peerPorts(p).listen), MSP: o.MSP, Endorses: o.Endorses,
			TLSCA: n.path(peerOrgDir(o.Name), "tlsca", "tlsca."+o.Domain()+"-cert.pem")})
	}
	for _, o := range ch.organisations {
		for _, u := range []struct{ name, folder string }{{"client", "User1"}, {"admin", "Admin"}} {
			dir := userDir(o.Name, u.folder)
			r.Users = append(r.Users, profile.User{Organisation: o.Name, MSP: o.MSP, MSPDir: n.path(peerOrgDir(o.Name), "msp"), Name: u.name,
				Cert: n.path(dir, "msp", "signcerts", fmt.Sprintf("%s@%s-cert.pem", u.folder, o.Domain())),
				Key:  n.path(dir, "msp", "keystore", "priv_sk")})
		}
	}
	return r
}
