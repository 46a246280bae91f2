package evidence

import (
	"strings"

	"github.com/bund-exchange/bund/contracts"
)

// certificate holds a trade certificate against the agreement, the settlement and the report that it ties together.
func certificate(a *audit, it *item, body *contracts.CertificateIssue, before view) {
	key := contracts.KeyCertificate(body.Agreement, body.Period)
	c := written[contracts.Certificate](it, key)
	where := it.where("writes." + key)
	if c == nil {
		a.fail(CheckCertificates, where, say{"the certificate is not written", "未写入凭证"})
		return
	}
	ag := read[contracts.Agreement](before, contracts.KeyAgreement(body.Agreement))
	st := read[contracts.Settlement](before, contracts.KeySettlement(body.Agreement, body.Period))
	p := read[contracts.ClosedPeriod](before, contracts.KeyPeriod(body.Agreement, body.Period))
	switch {
	case ag == nil || st == nil || p == nil || p.Report == nil:
		a.fail(CheckCertificates, where, say{"there is no settled period of such an agreement", "没有该协议的已结算期间"})
	case c.Agreement != body.Agreement:
		a.fail(CheckCertificates, where+": agreement", say{"it names another agreement", "协议不符"})
	case c.Digest != ag.Digest:
		a.fail(CheckCertificates, where+": digest", say{"it is not the agreement's", "与协议摘要不符"})
	case c.Settlement != st.Number:
		a.fail(CheckCertificates, where+": settlement", say{"it is not the settlement's number", "与结算编号不符"})
	case c.Root != p.Report.Root || c.Size != p.Report.Size:
		a.fail(CheckCertificates, where+": root", say{"it is not the reported receipt log's", "与报告的回执日志不符"})
	case c.Issued != it.e.Time:
		a.fail(CheckCertificates, where+": issued", say{"it is not the entry's time", "与条目时间不符"})
	default:
		a.count(CheckCertificates, 1)
	}
}

// serials checks the number of every certificate, registration and settlement: its check digit, and that nobody had it
// before.
func serials(a *audit, it *item, before view) {
	for _, w := range it.e.Writes {
		number, ok := strings.CutPrefix(strings.TrimPrefix(w.Key, "clr/"), "serial/")
		if !ok {
			continue
		}
		if had, _ := before.Get(w.Key); had != nil {
			a.fail(CheckCertificates, it.where("writes."+w.Key), say{"the number was given out before", "编号此前已发出"})
		} else if !contracts.ValidSerial(number) {
			a.fail(CheckCertificates, it.where("writes."+w.Key), say{"its check digit is wrong", "校验位错误"})
		} else {
			a.count(CheckCertificates, 1)
		}
	}
}
