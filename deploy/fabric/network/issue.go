package network

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// issue makes a machine's or a person's folder of keys and certificates after a pattern: the same files, new keys, and
// certificates that say the same of another host or user, under the same CAs of the organisation. cryptogen extend would not do:
// it never makes an administrator anew, and leaves a half folder behind when it is interrupted. This one appears whole.
func (n *Network) issue(organisation, pattern, dir, patternName, name string) error {
	half := dir + ".half"
	if err := os.RemoveAll(half); err != nil {
		return err
	}
	org := n.path(peerOrgDir(organisation))
	domain := organisation + ".bund"
	sign, err := readCA(filepath.Join(org, "ca"), "ca."+domain)
	if err != nil {
		return err
	}
	tls, err := readCA(filepath.Join(org, "tlsca"), "tlsca."+domain)
	if err != nil {
		return err
	}
	err = filepath.WalkDir(pattern, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(pattern, file)
		if err != nil {
			return err
		}
		to := filepath.Join(half, strings.ReplaceAll(rel, patternName, name))
		if d.IsDir() {
			return os.MkdirAll(to, 0o700)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		switch folder, base := filepath.Base(filepath.Dir(rel)), filepath.Base(rel); {
		case filepath.Ext(base) == ".key" || base == "priv_sk":
			return nil // comes with its certificate
		case folder == "signcerts":
			return sign.issue(b, patternName, name, to, filepath.Join(half, "msp", "keystore", "priv_sk"))
		case folder == "tls" && base != "ca.crt":
			return tls.issue(b, patternName, name, to, strings.TrimSuffix(to, ".crt")+".key")
		}
		return os.WriteFile(to, b, 0o600)
	})
	if err != nil {
		return err
	}
	return os.Rename(half, dir)
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func readCA(dir, name string) (*authority, error) {
	cert, err := readPEM(filepath.Join(dir, name+"-cert.pem"))
	if err != nil {
		return nil, err
	}
	key, err := readPEM(filepath.Join(dir, "priv_sk"))
	if err != nil {
		return nil, err
	}
	a := &authority{}
	if a.cert, err = x509.ParseCertificate(cert); err != nil {
		return nil, fmt.Errorf("couldn't read the certificate of %s: %w", name, err)
	}
	k, err := x509.ParsePKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the key of %s: %w", name, err)
	}
	var ok bool
	if a.key, ok = k.(*ecdsa.PrivateKey); !ok {
		return nil, fmt.Errorf("the key of %s is not ECDSA", name)
	}
	return a, nil
}

func readPEM(file string) ([]byte, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM", file)
	}
	return block.Bytes, nil
}

// validFor is how long a certificate holds. A network of real organisations has its CAs decide that, and for a year rather.
const validFor = 10 * 365 * 24 * time.Hour

// issue writes a new key, and a certificate of it that says what old says, of name where old says patternName, and of other
// uses if any are given.
func (a *authority) issue(old []byte, patternName, name, certFile, keyFile string, uses ...x509.ExtKeyUsage) error {
	block, _ := pem.Decode(old)
	if block == nil {
		return errors.New("the pattern holds no certificate")
	}
	was, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	if len(uses) == 0 {
		uses = was.ExtKeyUsage
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		return err
	}
	renamed := func(s string) string {
		if short, _, ok := strings.Cut(patternName, "."); ok && s == short {
			s, _, _ = strings.Cut(name, ".")
			return s
		}
		return strings.ReplaceAll(s, patternName, name)
	}
	// The beginning lies a little back: the clocks of those who check it differ.
	from := time.Now().Add(-5 * time.Minute).UTC().Truncate(time.Second)
	// Fabric asks whether an identity's CA held when the identity began to, and cryptogen's CAs begin at a full minute.
	if from.Before(a.cert.NotBefore) {
		from = a.cert.NotBefore
	}
	t := &x509.Certificate{SerialNumber: serial, Subject: was.Subject, NotBefore: from, NotAfter: from.Add(validFor), KeyUsage: was.KeyUsage,
		ExtKeyUsage: uses, BasicConstraintsValid: true, IPAddresses: was.IPAddresses}
	t.Subject.CommonName = renamed(was.Subject.CommonName)
	for _, h := range was.DNSNames {
		t.DNSNames = append(t.DNSNames, renamed(h))
	}
	cert, err := a.sign(t, key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name, kind string
		body       []byte
	}{{keyFile, "PRIVATE KEY", der}, {certFile, "CERTIFICATE", cert}} {
		if err := os.MkdirAll(filepath.Dir(f.name), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(f.name, pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: f.body}), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// sign gives the certificate with the smaller of the two equivalent signatures, the only one that Fabric lets an identity
// have.
func (a *authority) sign(t *x509.Certificate, key *ecdsa.PrivateKey) ([]byte, error) {
	half := new(big.Int).Rsh(a.key.Params().N, 1)
	for {
		der, err := x509.CreateCertificate(rand.Reader, t, a.cert, &key.PublicKey, a.key)
		if err != nil {
			return nil, err
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		var sig struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(c.Signature, &sig); err != nil {
			return nil, err
		}
		if sig.S.Cmp(half) <= 0 {
			return der, nil
		}
	}
}
