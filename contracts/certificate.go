package contracts

import (
	"encoding/binary"
	"fmt"
)

// Certificate is a trade certificate (交易凭证): one number that ties together all that the ledger holds of a trade.
type Certificate struct {
	Number     string `json:"number"`
	Agreement  ID     `json:"agreement"`
	Digest     Hash   `json:"digest"` // of the agreement, both signed it
	Settlement string `json:"settlement"`
	Root       Hash   `json:"root"` // of the receipt log at settlement
	Size       int64  `json:"size"`
	Issued     Millis `json:"issued"`
}

// KeyCertificate is where an agreement's certificate for a period stands.
func KeyCertificate(agreement ID, period int64) string {
	return "certificate/" + string(agreement) + "/" + pad(period)
}

// CertificateIssue certifies a settled period of a trade.
type CertificateIssue struct {
	Agreement ID    `json:"agreement"`
	Period    int64 `json:"period"`
}

var certificateKinds = []*spec{
	kind("certificate.issue", applyCertificateIssue, twoPeople(RoleVenue), personal),
}

func applyCertificateIssue(t *tx, b *CertificateIssue) *Refusal {
	a, r := t.agreement(b.Agreement, true)
	if r != nil {
		return r
	}
	if a.Kind == Test {
		return refuse("certificate.test", "a test is not a trade").at("agreement")
	}
	s, ok := get[Settlement](t, KeySettlement(b.Agreement, b.Period))
	if !ok {
		return refuse("settlement.unknown", "this period is not settled").at("period")
	}
	if t.has(KeyCertificate(b.Agreement, b.Period)) {
		return refuse("certificate.done", "this period has its certificate").at("period")
	}
	p, ok := get[ClosedPeriod](t, KeyPeriod(b.Agreement, b.Period))
	if !ok || p.Report == nil {
		return refuse("period.unreported", "the period has no final report yet").at("period")
	}
	number, r := t.serial("BUND", "")
	if r != nil {
		return r
	}
	t.put(KeyCertificate(b.Agreement, b.Period), Certificate{Number: number, Agreement: b.Agreement, Digest: a.Digest, Settlement: s.Number,
		Root: p.Report.Root, Size: p.Report.Size, Issued: t.env.Now})
	t.event("certificate.issued", b.Agreement)
	return nil
}

// serial derives a number from the command id: <prefix>[-<region>]-<yyyymmdd>-<7 digits><check>, the check digit by
// ISO 7064 MOD 11,10 over the digits. A collision is refused: the signer makes another command id.
func (t *tx) serial(prefix, region string) (string, *Refusal) {
	h := HashOf("bund/serial/v1", []byte(prefix), []byte(t.cmd.ID)).Bytes()
	n := fmt.Sprintf("%07d", binary.BigEndian.Uint64(h[:8])%10_000_000)
	day := t.env.Now.Time().In(Shanghai).Format("20060102")
	s := prefix + "-"
	if region != "" {
		s += region + "-"
	}
	s += day + "-" + n
	s += string(mod1110(region + day + n))
	key := "serial/" + s
	if t.spec.clearing {
		key = "clr/" + key
	}
	if t.has(key) {
		return "", refuse("serial.taken", "this number is taken: sign again under a new command id")
	}
	t.write(key, []byte(`"`+string(t.cmd.ID)+`"`))
	return s, nil
}

// mod1110 is the check digit of ISO 7064 MOD 11,10.
func mod1110(digits string) byte {
	p := 10
	for i := range len(digits) {
		s := (p + int(digits[i]-'0')) % 10
		if s == 0 {
			s = 10
		}
		p = s * 2 % 11
	}
	return byte('0' + (11-p)%10)
}

// ValidSerial reports whether a number's check digit is right.
func ValidSerial(number string) bool {
	var digits string
	for i := range len(number) {
		if c := number[i]; c >= '0' && c <= '9' {
			digits += string(c)
		}
	}
	return len(digits) > 8 && mod1110(digits[:len(digits)-1]) == digits[len(digits)-1]
}
