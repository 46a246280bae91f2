package network_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"path/filepath"
	"testing"
	"time"

	"github.com/bund-exchange/bund/deploy/fabric/network"
)

// TestIssueUnderNewCA has a certificate begin no earlier than its CA, that of a network made a moment ago.
func TestIssueUnderNewCA(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now().Add(-time.Minute)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: began, NotAfter: began.Add(time.Hour), IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "server.crt")
	if err := network.Issue(ca, key, file, file+".key"); err != nil {
		t.Fatal(err)
	}
	if got := certificate(t, file); got.NotBefore.Before(ca.NotBefore) || got.Subject.CommonName != "peer" {
		t.Errorf("%s from %s on, its CA from %s on", got.Subject, got.NotBefore, ca.NotBefore)
	}
}
