package network

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
)

// operations is where a peer or orderer answers its operator. Whoever is answered may also set the log level, and that of
// payload writes private values down: it answers only those who show a TLS certificate of its own organisation.
type operations struct {
	port int
	tls  string // folder of the organisation's administrator: client.crt, client.key, and ca.crt
}

func (n *Network) ordererOperations(i int) operations {
	return operations{n.layout.ordererPorts(i).operations, n.path(ordererOrgDir(), "users", "Admin@"+ordererDomain, "tls")}
}

func (n *Network) peerOperations(p peer) operations {
	return operations{n.layout.peerPorts(p).operations, n.path(userDir(p.Organisation, "Admin"), "tls")}
}

// client is the administrator's, for one request: a rotation gives him other files.
func (o operations) client() (*http.Client, error) {
	cert, err := tls.LoadX509KeyPair(filepath.Join(o.tls, "client.crt"), filepath.Join(o.tls, "client.key"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(filepath.Join(o.tls, "ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s holds no certificate", filepath.Join(o.tls, "ca.crt"))
	}
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: roots}}}, nil
}
