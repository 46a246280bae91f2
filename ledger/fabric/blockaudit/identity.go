package blockaudit

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/golang/protobuf/proto"
	"github.com/hyperledger/fabric-protos-go/msp"
)

// identity is somebody who signs: a certificate that an organisation of the channel vouches for.
type identity struct {
	of     *organisation
	cert   *x509.Certificate
	key    string // tells it from all others
	issuer string // canonical chain of its CA
	member error  // why it isn't a valid member; nil when it is
}

// newIdentity reads a serialised identity. An error means that nothing is known of who that is.
func newIdentity(organisations map[string]*organisation, serialised []byte) (*identity, error) {
	var s msp.SerializedIdentity
	if err := proto.Unmarshal(serialised, &s); err != nil {
		return nil, fmt.Errorf("the identity is malformed: %w", err)
	}
	o := organisations[s.Mspid]
	if o == nil {
		return nil, fmt.Errorf("the organisation %q is not on the channel", clip(s.Mspid))
	}
	cert, err := parseCertificate(s.IdBytes)
	if err != nil {
		return nil, err
	}
	chain, err := o.chain(cert)
	if err != nil {
		return nil, err
	}
	return &identity{of: o, cert: cert, key: o.id + "\x00" + canonical(chain), issuer: canonical(chain[1:]), member: o.validate(cert, chain)}, nil
}

// name is for people.
func (id *identity) name() string { return id.of.id + "/" + id.cert.Subject.CommonName }

// verify gives the reason why sig isn't this identity's signature over message.
func (id *identity) verify(message, sig []byte) error {
	switch k := id.cert.PublicKey.(type) {
	case *ecdsa.PublicKey:
		var x ecdsaSignature
		if _, err := asn1.Unmarshal(sig, &x); err != nil || x.R == nil || x.S == nil || x.R.Sign() <= 0 || x.S.Sign() <= 0 {
			return errors.New("the signature is malformed")
		}
		if x.S.Cmp(half(k)) > 0 {
			return errors.New("the signature is not in its low form")
		}
		d := sha256.Sum256(message)
		if !ecdsa.Verify(k, d[:], x.R, x.S) {
			return errors.New("the signature is wrong")
		}
		return nil
	case ed25519.PublicKey:
		if !ed25519.Verify(k, message, sig) {
			return errors.New("the signature is wrong")
		}
		return nil
	}
	return fmt.Errorf("a key of %s is not allowed", id.cert.PublicKeyAlgorithm)
}

type ecdsaSignature struct{ R, S *big.Int }

// half is the largest low S.
func half(k *ecdsa.PublicKey) *big.Int { return new(big.Int).Rsh(k.Params().N, 1) }

// plainSignature reports whether sig is the one encoding of itself. Peers accept more behind an ECDSA signature; where no
// hash covers a signature, that would be room for anything.
func plainSignature(sig []byte) bool {
	var x ecdsaSignature
	rest, err := asn1.Unmarshal(sig, &x)
	if err != nil {
		return len(sig) == ed25519.SignatureSize
	}
	again, err := asn1.Marshal(x)
	return err == nil && len(rest) == 0 && string(again) == string(sig)
}

// canonical names a chain of certificates as Fabric does: SHA-256 over them, each with its signature in the low form. An
// ECDSA signature has a high and a low form, and certificates that differ only in that count as the same one.
func canonical(chain []*x509.Certificate) string {
	h := sha256.New()
	for i, c := range chain {
		h.Write(lowForm(c, chain[min(i+1, len(chain)-1)]))
	}
	return string(h.Sum(nil))
}

func lowForm(cert, parent *x509.Certificate) []byte {
	k, ok := parent.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return cert.Raw
	}
	var sig ecdsaSignature
	if _, err := asn1.Unmarshal(cert.Signature, &sig); err != nil || sig.S == nil || sig.S.Cmp(half(k)) <= 0 {
		return cert.Raw
	}
	var c struct{ Signed, Algorithm, Signature asn1.RawValue }
	if _, err := asn1.Unmarshal(cert.Raw, &c); err != nil {
		return cert.Raw
	}
	sig.S.Sub(k.Params().N, sig.S)
	low, err := asn1.Marshal(sig)
	if err != nil {
		return cert.Raw
	}
	b, err := asn1.Marshal(struct {
		Signed, Algorithm asn1.RawValue
		Signature         asn1.BitString
	}{c.Signed, c.Algorithm, asn1.BitString{Bytes: low, BitLength: 8 * len(low)}})
	if err != nil {
		return cert.Raw
	}
	return b
}

// satisfies reports whether the identity is what a principal of a policy asks for.
func (id *identity) satisfies(p *msp.MSPPrincipal) bool {
	if p.GetPrincipalClassification() == msp.MSPPrincipal_COMBINED {
		return id.satisfiesAll(p, maxNesting)
	}
	return id.satisfiesOne(p)
}

// maxNesting bounds what a policy of somebody else may nest.
const maxNesting = 32

func (id *identity) satisfiesAll(p *msp.MSPPrincipal, depth int) bool {
	if p.GetPrincipalClassification() != msp.MSPPrincipal_COMBINED {
		return id.satisfiesOne(p)
	}
	var c msp.CombinedPrincipal
	if err := proto.Unmarshal(p.Principal, &c); err != nil || len(c.Principals) == 0 || depth == 0 {
		return false
	}
	return !slices.ContainsFunc(c.Principals, func(p *msp.MSPPrincipal) bool { return !id.satisfiesAll(p, depth-1) })
}

func (id *identity) satisfiesOne(p *msp.MSPPrincipal) bool {
	switch p.GetPrincipalClassification() {
	case msp.MSPPrincipal_ROLE:
		var r msp.MSPRole
		if err := proto.Unmarshal(p.GetPrincipal(), &r); err != nil || r.MspIdentifier != id.of.id {
			return false
		}
		return id.has(r.Role)
	case msp.MSPPrincipal_ORGANIZATION_UNIT:
		var u msp.OrganizationUnit
		if err := proto.Unmarshal(p.GetPrincipal(), &u); err != nil || u.MspIdentifier != id.of.id || id.member != nil {
			return false
		}
		return slices.Contains(id.cert.Subject.OrganizationalUnit, u.OrganizationalUnitIdentifier) && string(u.CertifiersIdentifier) == id.issuer
	case msp.MSPPrincipal_IDENTITY:
		other, err := newIdentity(map[string]*organisation{id.of.id: id.of}, p.GetPrincipal())
		return err == nil && other.key == id.key && other.member == nil
	case msp.MSPPrincipal_ANONYMITY:
		var a msp.MSPIdentityAnonymity
		return proto.Unmarshal(p.GetPrincipal(), &a) == nil && a.AnonymityType == msp.MSPIdentityAnonymity_NOMINAL
	}
	return false
}

func (id *identity) has(role msp.MSPRole_MSPRoleType) bool {
	if role == msp.MSPRole_ADMIN && slices.Contains(id.of.admins, id.key[len(id.of.id)+1:]) {
		return true
	}
	if id.member != nil {
		return false
	}
	if role == msp.MSPRole_MEMBER {
		return true
	}
	u, ok := id.of.roles[role]
	return ok && slices.Contains(id.cert.Subject.OrganizationalUnit, u.name)
}

// clip keeps a stranger's text in a message short.
func clip(s string) string {
	if len(s) > 48 {
		return s[:48]
	}
	return s
}
