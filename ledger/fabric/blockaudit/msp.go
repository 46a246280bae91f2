package blockaudit

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/golang/protobuf/proto"
	"github.com/hyperledger/fabric-protos-go/msp"
)

// organisation is what a channel's config says of the identities of one MSP: whom it vouches for, and in which role. It
// decides as peers of Fabric 3.1 do for certificates (MSP versions 1.4.3 and 3.0).
type organisation struct {
	id      string
	ed25519 bool // members may have such keys
	opts    x509.VerifyOptions
	parents map[string]bool // CAs that signed other CAs: they vouch for no member themselves
	admins  []string        // canonical certificates
	revoked []*x509.RevocationList
	units   map[string][]string // accepted organisational units with their CAs; any when empty
	roles   map[msp.MSPRole_MSPRoleType]unit
}

// unit is an organisational unit that stands for a role.
type unit struct {
	name   string
	issuer string // canonical chain of the CA that must have signed; "" for any of the organisation's
}

var oidNameConstraints = asn1.ObjectIdentifier{2, 5, 29, 30}

// newOrganisation reads an organisation's MSP. An error means that Fabric couldn't use it either, or that it needs
// something which this program can't judge.
func newOrganisation(conf *msp.MSPConfig, v3 bool) (*organisation, error) {
	if conf.GetType() != 0 {
		return nil, fmt.Errorf("MSP type %d is not X.509", conf.GetType())
	}
	var c msp.FabricMSPConfig
	if err := proto.Unmarshal(conf.Config, &c); err != nil {
		return nil, fmt.Errorf("the MSP is malformed: %w", err)
	}
	o := &organisation{id: c.Name, ed25519: v3, parents: map[string]bool{}, units: map[string][]string{}, roles: map[msp.MSPRole_MSPRoleType]unit{}}
	o.opts = x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool()}
	if c.Name == "" {
		return nil, errors.New("the MSP has no id")
	}
	if h := c.GetCryptoConfig().GetSignatureHashFamily(); h != "" && h != "SHA2" {
		return nil, fmt.Errorf("%s: the hash family %q can't be checked", o.id, h)
	}
	if err := o.readCAs(&c); err != nil {
		return nil, fmt.Errorf("%s: %w", o.id, err)
	}
	if err := o.readUnits(&c); err != nil {
		return nil, fmt.Errorf("%s: %w", o.id, err)
	}
	for _, b := range c.RevocationList {
		der := b
		if p, _ := pem.Decode(b); p != nil {
			der = p.Bytes
		}
		l, err := x509.ParseRevocationList(der)
		if err != nil {
			return nil, fmt.Errorf("%s: a revocation list is malformed: %w", o.id, err)
		}
		o.revoked = append(o.revoked, l)
	}
	for _, b := range c.Admins {
		cert, err := parseCertificate(b)
		if err != nil {
			return nil, fmt.Errorf("%s: an administrator: %w", o.id, err)
		}
		chain, err := o.chain(cert)
		if err != nil {
			return nil, fmt.Errorf("%s: an administrator: %w", o.id, err)
		}
		o.admins = append(o.admins, canonical(chain))
	}
	return o, nil
}

func (o *organisation) readCAs(c *msp.FabricMSPConfig) error {
	if len(c.RootCerts) == 0 {
		return errors.New("there is no root certificate")
	}
	var intermediate []*x509.Certificate
	for i, b := range append(slices.Clone(c.RootCerts), c.IntermediateCerts...) {
		cert, err := parseCertificate(b)
		if err != nil {
			return fmt.Errorf("a CA: %w", err)
		}
		for _, x := range cert.Extensions {
			if x.Id.Equal(oidNameConstraints) {
				return errors.New("a CA with name constraints can't be checked")
			}
		}
		switch {
		case !cert.IsCA:
			return fmt.Errorf("the certificate %q is no CA's", cert.Subject)
		case i < len(c.RootCerts):
			o.opts.Roots.AddCert(cert)
		default:
			o.opts.Intermediates.AddCert(cert)
			intermediate = append(intermediate, cert)
		}
	}
	for _, cert := range intermediate {
		chain, err := o.chain(cert)
		if err != nil {
			return fmt.Errorf("a CA: %w", err)
		}
		for _, p := range chain[1:] {
			o.parents[string(p.RawTBSCertificate)] = true
		}
	}
	return nil
}

func (o *organisation) readUnits(c *msp.FabricMSPConfig) error {
	issuer := func(b []byte) (string, error) {
		cert, err := parseCertificate(b)
		if err != nil {
			return "", fmt.Errorf("the CA of a unit: %w", err)
		}
		chain, err := o.chain(cert)
		if err != nil {
			return "", fmt.Errorf("the CA of a unit: %w", err)
		}
		return canonical(chain), nil
	}
	for _, u := range c.OrganizationalUnitIdentifiers {
		by, err := issuer(u.Certificate)
		if err != nil {
			return err
		}
		o.units[u.OrganizationalUnitIdentifier] = append(o.units[u.OrganizationalUnitIdentifier], by)
	}
	n := c.FabricNodeOus
	if !n.GetEnable() {
		return nil
	}
	for role, u := range map[msp.MSPRole_MSPRoleType]*msp.FabricOUIdentifier{msp.MSPRole_CLIENT: n.ClientOuIdentifier, msp.MSPRole_PEER: n.PeerOuIdentifier,
		msp.MSPRole_ADMIN: n.AdminOuIdentifier, msp.MSPRole_ORDERER: n.OrdererOuIdentifier} {
		if u == nil {
			continue
		}
		x := unit{name: u.OrganizationalUnitIdentifier}
		if len(u.Certificate) > 0 {
			var err error
			if x.issuer, err = issuer(u.Certificate); err != nil {
				return err
			}
		}
		o.roles[role] = x
	}
	return nil
}

// chain gives the one chain from a certificate to a root. Like peers, it takes the certificate at its own beginning: a
// certificate that has run out since must not make the past invalid. Its time is a check of its own.
func (o *organisation) chain(cert *x509.Certificate) ([]*x509.Certificate, error) {
	opts := o.opts
	opts.CurrentTime = cert.NotBefore.Add(time.Second)
	chains, err := cert.Verify(opts)
	if err != nil {
		return nil, fmt.Errorf("the certificate %q: %w", cert.Subject, err)
	}
	if len(chains) != 1 {
		return nil, fmt.Errorf("the certificate %q has %d chains to a root: want one", cert.Subject, len(chains))
	}
	return chains[0], nil
}

// validate gives the reason why a member's certificate doesn't count, nil when it does.
func (o *organisation) validate(cert *x509.Certificate, chain []*x509.Certificate) error {
	switch {
	case cert.PublicKeyAlgorithm != x509.ECDSA && !(o.ed25519 && cert.PublicKeyAlgorithm == x509.Ed25519):
		return fmt.Errorf("a key of %s is not allowed", cert.PublicKeyAlgorithm)
	case cert.IsCA:
		return errors.New("a CA is no member")
	case len(chain) < 2:
		return errors.New("no CA signed the certificate")
	case o.parents[string(chain[1].RawTBSCertificate)]:
		return errors.New("the certificate's CA signs CAs, not members")
	}
	for _, l := range o.revoked {
		if !bytes.Equal(l.AuthorityKeyId, chain[1].SubjectKeyId) {
			continue
		}
		for _, r := range l.RevokedCertificateEntries {
			if r.SerialNumber.Cmp(cert.SerialNumber) == 0 && chain[1].CheckSignature(l.SignatureAlgorithm, l.RawTBSRevocationList, l.Signature) == nil {
				return errors.New("the certificate is revoked")
			}
		}
	}
	by := canonical(chain[1:])
	if len(o.units) > 0 && !slices.ContainsFunc(cert.Subject.OrganizationalUnit, func(u string) bool { return slices.Contains(o.units[u], by) }) {
		return errors.New("the certificate's units aren't among the organisation's")
	}
	if len(o.roles) == 0 {
		return nil
	}
	n := 0
	for _, u := range cert.Subject.OrganizationalUnit {
		for _, r := range o.roles {
			if r.name != u {
				continue
			}
			if r.issuer != "" && r.issuer != by {
				return fmt.Errorf("another CA than the one for %s signed the certificate", u)
			}
			n++
			break
		}
	}
	if n != 1 {
		return fmt.Errorf("the certificate has %d roles: want one", n)
	}
	return nil
}

func parseCertificate(b []byte) (*x509.Certificate, error) {
	p, _ := pem.Decode(b)
	if p == nil {
		return nil, errors.New("the certificate is not PEM")
	}
	cert, err := x509.ParseCertificate(p.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the certificate is malformed: %w", err)
	}
	return cert, nil
}
