package blockaudit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go/msp"
)

// authority is a CA of the test's.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

var serial int64

// issue makes a certificate; by nil is itself.
func issue(t testing.TB, by *authority, edit func(*x509.Certificate)) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial++
	c := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "somebody"}, NotBefore: time.Unix(1_800_000_000, 0), NotAfter: time.Unix(1_900_000_000, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true}
	if edit != nil {
		edit(c)
	}
	parent, signer := c, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func ca(c *x509.Certificate) {
	c.IsCA, c.KeyUsage, c.SubjectKeyId = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign, big.NewInt(serial).Bytes()
	c.Subject = pkix.Name{CommonName: "CA " + big.NewInt(serial).String()}
}

func units(ou ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.Subject.OrganizationalUnit = ou }
}

func roles(issuer []byte) *msp.FabricNodeOUs {
	ou := func(name string) *msp.FabricOUIdentifier {
		return &msp.FabricOUIdentifier{OrganizationalUnitIdentifier: name, Certificate: issuer}
	}
	return &msp.FabricNodeOUs{Enable: true, ClientOuIdentifier: ou("client"), PeerOuIdentifier: ou("peer"), AdminOuIdentifier: ou("admin"), OrdererOuIdentifier: ou("orderer")}
}

func organisationOf(t testing.TB, c *msp.FabricMSPConfig) (*organisation, error) {
	t.Helper()
	c.Name = "A"
	return newOrganisation(&msp.MSPConfig{Config: encoded(t, c)}, false)
}

func identify(t testing.TB, o *organisation, cert []byte) (*identity, error) {
	t.Helper()
	return newIdentity(map[string]*organisation{o.id: o}, encoded(t, &msp.SerializedIdentity{Mspid: "A", IdBytes: cert}))
}

func TestOrganisation(t *testing.T) {
	root, other := issue(t, nil, ca), issue(t, nil, ca)
	middle := issue(t, root, ca)
	revoked := issue(t, root, units("peer"))
	list, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Unix(1_800_000_000, 0), NextUpdate: time.Unix(1_900_000_000, 0),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: revoked.cert.SerialNumber, RevocationTime: time.Unix(1_800_000_000, 0)}}}, root.cert, root.key)
	if err != nil {
		t.Fatal(err)
	}
	plain := &msp.FabricMSPConfig{RootCerts: [][]byte{root.pem}, FabricNodeOus: roles(nil), RevocationList: [][]byte{pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: list})}}
	chained := &msp.FabricMSPConfig{RootCerts: [][]byte{root.pem}, IntermediateCerts: [][]byte{middle.pem}, FabricNodeOus: roles(nil)}
	pinned := &msp.FabricMSPConfig{RootCerts: [][]byte{root.pem, other.pem}, FabricNodeOus: roles(root.pem)}
	free := &msp.FabricMSPConfig{RootCerts: [][]byte{root.pem}}
	listed := &msp.FabricMSPConfig{RootCerts: [][]byte{root.pem}, OrganizationalUnitIdentifiers: []*msp.FabricOUIdentifier{{OrganizationalUnitIdentifier: "bank", Certificate: root.pem}}}
	for name, c := range map[string]struct {
		conf   *msp.FabricMSPConfig
		cert   *authority
		member string // why not; "" for a member
		none   bool   // not even known
	}{
		"a peer":                          {plain, issue(t, root, units("peer")), "", false},
		"of another CA":                   {plain, issue(t, other, units("peer")), "", true},
		"self-signed":                     {plain, issue(t, nil, units("peer")), "", true},
		"revoked":                         {plain, revoked, "revoked", false},
		"no role":                         {plain, issue(t, root, units("bank")), "0 roles", false},
		"two roles":                       {plain, issue(t, root, units("peer", "admin")), "2 roles", false},
		"a role and more":                 {plain, issue(t, root, units("bank", "peer")), "", false},
		"a CA":                            {plain, issue(t, root, ca), "a CA is no member", false},
		"the root":                        {plain, root, "a CA is no member", false},
		"of the intermediate CA":          {chained, issue(t, middle, units("peer")), "", false},
		"of the root above it":            {chained, issue(t, root, units("peer")), "signs CAs, not members", false},
		"of the CA for roles":             {pinned, issue(t, root, units("peer")), "", false},
		"of another CA than for roles":    {pinned, issue(t, other, units("peer")), "another CA", false},
		"no roles asked":                  {free, issue(t, root, nil), "", false},
		"a unit of the organisation's":    {listed, issue(t, root, units("bank")), "", false},
		"none of the organisation's":      {listed, issue(t, root, units("peer")), "aren't among", false},
		"expired, which is another check": {plain, issue(t, root, func(c *x509.Certificate) { units("peer")(c); c.NotAfter = c.NotBefore.Add(time.Hour) }), "", false},
	} {
		o, err := organisationOf(t, c.conf)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		id, err := identify(t, o, c.cert.pem)
		switch {
		case c.none:
			if err == nil {
				t.Errorf("%s: known as %s", name, id.name())
			}
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case c.member == "" && id.member != nil:
			t.Errorf("%s: %v", name, id.member)
		case c.member != "" && (id.member == nil || !strings.Contains(id.member.Error(), c.member)):
			t.Errorf("%s: %v: want %s", name, id.member, c.member)
		}
	}
	for name, c := range map[string]*msp.FabricMSPConfig{
		"no root":                  {},
		"garbage":                  {RootCerts: [][]byte{[]byte("x")}},
		"no CA's":                  {RootCerts: [][]byte{issue(t, root, nil).pem}},
		"a loose intermediate":     {RootCerts: [][]byte{root.pem}, IntermediateCerts: [][]byte{issue(t, other, ca).pem}},
		"a stranger administrator": {RootCerts: [][]byte{root.pem}, Admins: [][]byte{issue(t, other, nil).pem}},
		"a stranger's list":        {RootCerts: [][]byte{root.pem}, RevocationList: [][]byte{[]byte("x")}},
		"another hash":             {RootCerts: [][]byte{root.pem}, CryptoConfig: &msp.FabricCryptoConfig{SignatureHashFamily: "SHA3"}},
		"a name constraint": {RootCerts: [][]byte{issue(t, nil, func(c *x509.Certificate) {
			ca(c)
			c.PermittedDNSDomains = []string{"a.bund"}
		}).pem}},
		"a unit under a stranger": {RootCerts: [][]byte{root.pem}, FabricNodeOus: roles(other.pem)},
	} {
		if _, err := organisationOf(t, c); err == nil {
			t.Errorf("took an organisation with %s", name)
		}
	}
	if _, err := newOrganisation(&msp.MSPConfig{Type: 1}, true); err == nil {
		t.Error("took an Idemix organisation")
	}
}

// TestLowForm changes a certificate's signature into its other form: it is the same identity, for it is the same key and
// nobody but the CA is to say how many there are.
func TestLowForm(t *testing.T) {
	root := issue(t, nil, ca)
	member := issue(t, root, units("peer"))
	var whole struct {
		Signed, Algorithm asn1.RawValue
		Signature         asn1.BitString
	}
	if _, err := asn1.Unmarshal(member.cert.Raw, &whole); err != nil {
		t.Fatal(err)
	}
	var sig ecdsaSignature
	if _, err := asn1.Unmarshal(whole.Signature.Bytes, &sig); err != nil {
		t.Fatal(err)
	}
	sig.S.Sub(root.key.Params().N, sig.S)
	b, err := asn1.Marshal(sig)
	if err != nil {
		t.Fatal(err)
	}
	whole.Signature = asn1.BitString{Bytes: b, BitLength: 8 * len(b)}
	der, err := asn1.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	o, err := organisationOf(t, &msp.FabricMSPConfig{RootCerts: [][]byte{root.pem}, FabricNodeOus: roles(nil), Admins: [][]byte{member.pem}})
	if err != nil {
		t.Fatal(err)
	}
	one, err := identify(t, o, member.pem)
	if err != nil {
		t.Fatal(err)
	}
	two, err := identify(t, o, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	if err != nil {
		t.Fatal(err)
	}
	if string(one.cert.Raw) == string(two.cert.Raw) || one.key != two.key {
		t.Error("the two forms of a certificate are two identities")
	}
	for _, id := range []*identity{one, two} {
		if !id.has(msp.MSPRole_ADMIN) || !id.satisfies(&msp.MSPPrincipal{PrincipalClassification: msp.MSPPrincipal_IDENTITY, Principal: encoded(t, &msp.SerializedIdentity{Mspid: "A", IdBytes: member.pem})}) {
			t.Error("one of the two forms isn't known again")
		}
	}
}
