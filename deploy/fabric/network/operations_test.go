package network_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/deploy/fabric/network"
)

// operations asks every orderer and peer at its operations address, as its administrator, as another organisation's and as
// nobody.
func operations(t *testing.T, n *network.Network) {
	crypto := filepath.Join(filepath.Dir(n.ProfileFile()), "crypto")
	admin := func(domain string) string {
		kind := "peerOrganizations"
		if domain == "orderer.bund" {
			kind = "ordererOrganizations"
		}
		return filepath.Join(crypto, kind, domain, "users", "Admin@"+domain, "tls")
	}
	asked := 0
	for _, p := range n.Processes() {
		kind, org, _ := strings.Cut(p.Name, ".")
		domain, other := org+".bund", "venue.bund"
		switch {
		case kind == "orderer":
			domain = "orderer.bund"
		case kind != "peer":
			continue
		case org == "venue":
			other = "custodian.bund"
		}
		asked++
		at := fmt.Sprintf("://127.0.0.1:%d", p.Ports[2])
		const payload = `{"spec":"payload"}`
		for who, c := range map[string]*http.Client{
			"nobody": caller(t, admin(domain), ""), "another organisation's administrator": caller(t, admin(domain), admin(other)),
		} {
			for path, method := range map[string]string{"/logspec": "PUT", "/metrics": "GET", "/healthz": "GET"} {
				if status, body, err := ask(t, c, method, "https"+at+path, payload); err == nil {
					t.Errorf("%s answers %s's %s %s: %d %s", p.Name, who, method, path, status, body)
				}
			}
		}
		status, body, err := ask(t, http.DefaultClient, "PUT", "http"+at+"/logspec", payload)
		if err == nil && (status != 400 || !strings.Contains(body, "HTTP request to an HTTPS server")) {
			t.Errorf("%s answers without TLS: %d %s", p.Name, status, body)
		}
		own := caller(t, admin(domain), admin(domain))
		for path, want := range map[string]string{"/logspec": `{"spec":"warn"}`, "/metrics": "\nledger_blockchain_height{", "/healthz": `"status":"OK"`} {
			if status, body, err := ask(t, own, "GET", "https"+at+path, ""); err != nil || status != 200 || !strings.Contains(body, want) {
				t.Errorf("%s answers its administrator's %s: %d %v %.200s", p.Name, path, status, err, body)
			}
		}
	}
	if asked != 6 {
		t.Errorf("asked %d processes, not 6", asked)
	}
}

// caller trusts the CA in one folder and shows the administrator's certificate in another; "" shows none.
func caller(t *testing.T, server, own string) *http.Client {
	t.Helper()
	if own != "" {
		own = filepath.Join(own, "client")
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: clientTLS(t, server, own), DisableKeepAlives: true}}
}

// clientTLS trusts the CA in a folder and shows a certificate, named by its file without .crt; "" shows none.
func clientTLS(t *testing.T, server, own string) *tls.Config {
	t.Helper()
	ca, err := os.ReadFile(filepath.Join(server, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	c := &tls.Config{RootCAs: x509.NewCertPool()}
	c.RootCAs.AppendCertsFromPEM(ca)
	if own != "" {
		cert, err := tls.LoadX509KeyPair(own+".crt", own+".key")
		if err != nil {
			t.Fatal(err)
		}
		// Also where the server says that it wants certificates of another CA.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	}
	return c
}

func ask(t *testing.T, c *http.Client, method, url, body string) (status int, answer string, err error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}
