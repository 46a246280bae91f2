package policy

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts/canon"
	"pgregory.net/rapid"
)

const (
	monday  = 1_793_548_800_000 // 2026-11-02T00:00:00+08:00
	aDay    = 86_400_000
	tuesday = monday + aDay
)

// template is a tax-indicator product for small companies' loans.
func template() Policy {
	return Policy{
		Purposes: []Purpose{Evaluation, PostLoan, PreLoan, QuotaReview}, Operations: []Operation{Query, Verify, JointStatistics, PSI},
		Fields: []string{"vat_12m", "arrears", "red_ratio"}, Regions: []Region{"CN"}, NotBefore: monday, NotAfter: monday + 365*aDay,
		MaxCalls: 1000, MinimumCohort: 30, RetentionDays: 90, ConsentRequired: true,
		Prohibitions: []Prohibition{Distribute, TransferAbroad}, Duties: []Duty{Attribute, Delete},
	}.Ordered()
}

const templateGolden = `{"consentRequired":true,"duties":["attribute","delete"],"fields":["arrears","red_ratio","vat_12m"],"maxCalls":"1000",` +
	`"minimumCohort":"30","notAfter":"1825084800000","notBefore":"1793548800000","operations":["joint_statistics","psi","query","verify"],` +
	`"prohibitions":["distribute","transfer_abroad"],"purposes":["evaluation","post_loan","pre_loan","quota_review"],"regions":["CN"],"retentionDays":"90"}`

func TestStoredForm(t *testing.T) {
	b := canon.Marshal(template())
	if string(b) != templateGolden {
		t.Fatalf("%s", b)
	}
	p, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if again := canon.Marshal(p); !bytes.Equal(again, b) {
		t.Fatalf("%s", again)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct{ name, old, new, field, word string }{
		{"unknown term", `"maxCalls":"1000",`, `"maxCalls":"1000","maxUsers":"3",`, "maxUsers", "unknown"},
		{"unknown purpose", `"post_loan"`, `"postloan"`, "purposes.1", "unknown term"},
		{"purpose in capitals", `"post_loan"`, `"POST_LOAN"`, "purposes.1", "unknown term"},
		{"unknown operation", `"psi"`, `"psj"`, "operations.1", "unknown term"},
		{"unknown prohibition", `"distribute"`, `"display"`, "prohibitions.0", "unknown term"},
		{"unknown duty", `"delete"`, `"destroy"`, "duties.1", "unknown term"},
		{"unknown region", `"CN"`, `"Cn"`, "regions.0", "country"},
		{"unknown province", `"CN"`, `"CN-39"`, "regions.0", "province"},
		{"region of another country", `"CN"`, `"SG-01"`, "regions.0", "province"},
		{"region abroad", `"CN"`, `"SG"`, "", "transfer_abroad"},
		{"region abroad in GB/T 2260", `"CN"`, `"CN-81"`, "", "transfer_abroad"},
		{"no purpose", `["evaluation","post_loan","pre_loan","quota_review"]`, `[]`, "", "purposes: want 1"},
		{"no operation", `["joint_statistics","psi","query","verify"]`, `[]`, "", "operations: want 1"},
		{"no field", `["arrears","red_ratio","vat_12m"]`, `[]`, "", "fields: want 1"},
		{"no region", `["CN"]`, `[]`, "", "regions: want 1"},
		{"empty field", `"arrears"`, `""`, "", "fields: want names"},
		{"field with a space", `"arrears"`, `"arrears x"`, "", "fields: want names"},
		{"long field", `"arrears"`, `"a` + strings.Repeat("x", maxFieldBytes) + `"`, "", "fields: want names"},
		{"twice", `"arrears",`, `"arrears","arrears",`, "", "fields: want ascending"},
		{"order", `"arrears","red_ratio"`, `"red_ratio","arrears"`, "", "fields: want ascending"},
		{"window upside down", `"notBefore":"1793548800000"`, `"notBefore":"1825084800000"`, "", "notAfter"},
		{"time in seconds", `"notBefore":"1793548800000"`, `"notBefore":"1793548800"`, "", "notBefore"},
		{"time as text", `"notBefore":"1793548800000"`, `"notBefore":"2026-11-02"`, "notBefore", "decimal"},
		{"negative quota", `"maxCalls":"1000"`, `"maxCalls":"-1"`, "", "maxCalls"},
		{"zero quota written", `"maxCalls":"1000"`, `"maxCalls":"0"`, "maxCalls", "zero value"},
		{"negative cohort", `"minimumCohort":"30"`, `"minimumCohort":"-30"`, "", "minimumCohort"},
		{"negative retention", `"retentionDays":"90"`, `"retentionDays":"-1"`, "", "retentionDays"},
		{"endless retention", `"retentionDays":"90"`, `"retentionDays":"99999"`, "", "retentionDays"},
		{"null", `"consentRequired":true`, `"consentRequired":null`, "consentRequired", "null"},
		{"ODRL instead", `"retentionDays":"90"}`, `"retentionDays":"90","uid":"x"}`, "uid", "unknown"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if strings.Count(templateGolden, c.old) != 1 {
				t.Fatalf("%q stands %d times in the golden bytes", c.old, strings.Count(templateGolden, c.old))
			}
			p, err := Decode([]byte(strings.Replace(templateGolden, c.old, c.new, 1)))
			var e *canon.Error
			if !errors.As(err, &e) || e.Field != c.field || !strings.Contains(e.What, c.word) {
				t.Fatalf("%v", err)
			}
			if p.Purposes != nil {
				t.Error("a half-read policy is left behind")
			}
		})
	}
	for _, empty := range []string{``, `{}`, `[]`, `""`} {
		if _, err := Decode([]byte(empty)); err == nil {
			t.Errorf("%q reads as an empty policy", empty)
		}
	}
}

func TestNarrowsNamesTheTerm(t *testing.T) {
	edits := map[Term][]func(*Policy){
		TermPurposes:        {func(p *Policy) { p.Purposes = append(p.Purposes, BackTest) }},
		TermOperations:      {func(p *Policy) { p.Operations = []Operation{File} }},
		TermFields:          {func(p *Policy) { p.Fields = append(p.Fields, "vat_24m") }},
		TermRegions:         {func(p *Policy) { p.Regions = []Region{"CN", "SG"} }, func(p *Policy) { p.Regions = []Region{"CN-81"} }},
		TermNotBefore:       {func(p *Policy) { p.NotBefore-- }, func(p *Policy) { p.NotBefore = 0 }},
		TermNotAfter:        {func(p *Policy) { p.NotAfter++ }, func(p *Policy) { p.NotAfter = 0 }},
		TermMaxCalls:        {func(p *Policy) { p.MaxCalls++ }, func(p *Policy) { p.MaxCalls = 0 }},
		TermMinimumCohort:   {func(p *Policy) { p.MinimumCohort-- }, func(p *Policy) { p.MinimumCohort = 0 }},
		TermRetentionDays:   {func(p *Policy) { p.RetentionDays++ }},
		TermConsentRequired: {func(p *Policy) { p.ConsentRequired = false }},
		TermProhibitions:    {func(p *Policy) { p.Prohibitions = p.Prohibitions[:1] }},
		TermDuties:          {func(p *Policy) { p.Duties = nil }},
	}
	if err := template().Narrows(template()); err != nil {
		t.Fatalf("a policy widens itself: %v", err)
	}
	for term, widen := range edits {
		for i, edit := range widen {
			p := template()
			edit(&p)
			p = p.Ordered()
			var w *Widening
			if err := p.Narrows(template()); !errors.As(err, &w) || w.Term != term {
				t.Errorf("%s %d: %v", term, i, err)
			}
		}
	}
	less := template()
	less.Purposes, less.Operations, less.Fields, less.Regions = less.Purposes[1:2], less.Operations[2:3], less.Fields[:1], []Region{"CN-31", "CN-310115"}
	less.NotBefore, less.NotAfter, less.MaxCalls, less.MinimumCohort, less.RetentionDays = less.NotBefore+1, less.NotAfter-1, 1, 31, 0
	less.Prohibitions = append(less.Prohibitions, CreditDecision)
	less = less.Ordered()
	if err := less.Narrows(template()); err != nil {
		t.Errorf("%v", err)
	}
	open := template()
	open.NotBefore, open.NotAfter, open.MaxCalls, open.MinimumCohort, open.ConsentRequired = 0, 0, 0, 0, false
	if err := template().Narrows(open); err != nil {
		t.Errorf("%v", err)
	}
}

func request() Request {
	return Request{Purpose: PreLoan, Operation: Query, Fields: []string{"vat_12m"}, Region: "CN-31", Time: tuesday, Calls: 10, Consent: true}
}

func TestDecisions(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*Policy, *Request)
		code Code // "": permitted
		term Term
	}{
		{"as agreed", func(p *Policy, r *Request) {}, "", ""},
		{"all fields", func(p *Policy, r *Request) { r.Fields = p.Fields }, "", ""},
		{"first moment", func(p *Policy, r *Request) { r.Time = p.NotBefore }, "", ""},
		{"before", func(p *Policy, r *Request) { r.Time = p.NotBefore - 1 }, DenyWindow, TermNotBefore},
		{"last moment", func(p *Policy, r *Request) { r.Time = p.NotAfter - 1 }, "", ""},
		{"after", func(p *Policy, r *Request) { r.Time = p.NotAfter }, DenyWindow, TermNotAfter},
		{"no time", func(p *Policy, r *Request) { p.NotBefore, r.Time = 0, 0 }, DenyWindow, TermNotBefore},
		{"no time bound", func(p *Policy, r *Request) { p.NotBefore, p.NotAfter, r.Time = 0, 0, monday+5000*aDay }, "", ""},
		{"beyond all time", func(p *Policy, r *Request) { p.NotAfter, r.Time = 0, maxTime }, DenyWindow, TermNotAfter},
		{"other purpose", func(p *Policy, r *Request) { r.Purpose = BackTest }, DenyPurpose, TermPurposes},
		{"no purpose", func(p *Policy, r *Request) { r.Purpose = "" }, DenyPurpose, TermPurposes},
		{"unknown purpose", func(p *Policy, r *Request) { r.Purpose = "marketing" }, DenyPurpose, TermPurposes},
		{"other operation", func(p *Policy, r *Request) { r.Operation = File }, DenyOperation, TermOperations},
		{"no operation", func(p *Policy, r *Request) { r.Operation = "" }, DenyOperation, TermOperations},
		{"other field", func(p *Policy, r *Request) { r.Fields = []string{"vat_12m", "owner_phone"} }, DenyField, TermFields},
		{"case-folded field", func(p *Policy, r *Request) { r.Fields = []string{"VAT_12m"} }, DenyField, TermFields},
		{"no field is not all fields", func(p *Policy, r *Request) { r.Fields = nil }, DenyField, TermFields},
		{"psi names no field", func(p *Policy, r *Request) { r.Operation, r.Fields = PSI, nil }, "", ""},
		{"province in country", func(p *Policy, r *Request) { r.Region = "CN-11" }, "", ""},
		{"district in province", func(p *Policy, r *Request) { p.Regions, r.Region = []Region{"CN-31"}, "CN-310115" }, "", ""},
		{"other province", func(p *Policy, r *Request) { p.Regions, r.Region = []Region{"CN-31"}, "CN-32" }, DenyRegion, TermRegions},
		{"country for a province", func(p *Policy, r *Request) { p.Regions, r.Region = []Region{"CN-31"}, "CN" }, DenyRegion, TermRegions},
		{"province for a district", func(p *Policy, r *Request) { p.Regions, r.Region = []Region{"CN-310115"}, "CN-31" }, DenyRegion, TermRegions},
		{"abroad", func(p *Policy, r *Request) { r.Region = "SG" }, DenyRegion, TermRegions},
		{"Hong Kong is abroad here", func(p *Policy, r *Request) { r.Region = "CN-81" }, DenyRegion, TermRegions},
		{"Hong Kong, named", func(p *Policy, r *Request) {
			p.Prohibitions, p.Regions, r.Region = nil, []Region{"CN", "CN-81"}, "CN-81"
		}, "", ""},
		{"no region", func(p *Policy, r *Request) { r.Region = "" }, DenyRegion, TermRegions},
		{"malformed region", func(p *Policy, r *Request) { r.Region = "CN-3" }, DenyRegion, TermRegions},
		{"no consent", func(p *Policy, r *Request) { r.Consent = false }, DenyConsent, TermConsentRequired},
		{"consent not needed", func(p *Policy, r *Request) { p.ConsentRequired, r.Consent = false, false }, "", ""},
		{"last call", func(p *Policy, r *Request) { r.Calls = 999 }, "", ""},
		{"one call too many", func(p *Policy, r *Request) { r.Calls = 1000 }, DenyQuota, TermMaxCalls},
		{"negative calls", func(p *Policy, r *Request) { r.Calls = -1 }, DenyQuota, TermMaxCalls},
		{"no quota", func(p *Policy, r *Request) { p.MaxCalls, r.Calls = 0, 1e12 }, "", ""},
		{"small cohort", func(p *Policy, r *Request) { r.Operation, r.Cohort = JointStatistics, 29 }, DenyCohort, TermMinimumCohort},
		{"cohort", func(p *Policy, r *Request) { r.Operation, r.Cohort = JointStatistics, 30 }, "", ""},
		{"precedence", func(p *Policy, r *Request) { *r = Request{Time: tuesday} }, DenyPurpose, TermPurposes},
		{"nothing", func(p *Policy, r *Request) { *r = Request{} }, DenyWindow, TermNotBefore},
		{"empty policy", func(p *Policy, r *Request) { *p = Policy{} }, DenyPurpose, TermPurposes},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, r := template(), request()
			c.edit(&p, &r)
			d := Evaluate(p, r)
			if d.Permit != (c.code == "") || d.Denial.Code != c.code || d.Denial.Term != c.term {
				t.Fatalf("%+v", d)
			}
			if !d.Permit && (d.Denial.Zh == "" || d.Denial.En == "") {
				t.Error("a denial without an explanation")
			}
		})
	}
}

func TestDenialsAreDistinct(t *testing.T) {
	seen := map[Code]bool{}
	for _, d := range Denials() {
		if seen[d.Code] || !strings.HasPrefix(string(d.Code), "policy.") || d.Term == "" || d.Zh == "" || !strings.HasSuffix(d.En, ".") {
			t.Errorf("%+v", d)
		}
		seen[d.Code] = true
	}
}

func some[T ~string](t *rapid.T, label string, low int, from ...T) []T {
	return ordered(rapid.SliceOfN(rapid.SampledFrom(from), low, len(from)).Draw(t, label))
}

func drawPolicy(t *rapid.T, label string) Policy {
	zeroOr := func(what string, low, high int64) int64 {
		if rapid.Bool().Draw(t, label+what+"?") {
			return rapid.Int64Range(low, high).Draw(t, label+what)
		}
		return 0
	}
	p := Policy{
		Purposes: some(t, label+"purposes", 1, PreLoan, PostLoan, Evaluation), Operations: some(t, label+"operations", 1, Query, PSI, Compute),
		Fields: some(t, label+"fields", 1, "a", "b", "c"), Regions: some(t, label+"regions", 1, Region("CN"), "CN-31", "CN-310115", "CN-32", "CN-81", "SG"),
		NotBefore: zeroOr("notBefore", monday, monday+3), NotAfter: zeroOr("notAfter", monday+4, monday+7), MaxCalls: zeroOr("maxCalls", 1, 4),
		MinimumCohort: zeroOr("minimumCohort", 1, 4), RetentionDays: rapid.Int64Range(0, 2).Draw(t, label+"retention"),
		ConsentRequired: rapid.Bool().Draw(t, label+"consent"),
		Prohibitions:    some(t, label+"prohibitions", 0, Distribute, Reidentify), Duties: some(t, label+"duties", 0, Delete, Attribute),
	}
	if err := p.Check(); err != nil {
		t.Fatalf("%v", err)
	}
	return p
}

// drawRequest draws a use that p mostly permits: independent ones hardly ever reach a permission.
func drawRequest(t *rapid.T, p Policy) Request {
	r := Request{
		Purpose: rapid.SampledFrom(p.Purposes).Draw(t, "purpose"), Operation: rapid.SampledFrom(p.Operations).Draw(t, "operation"),
		Fields: some(t, "fields", 1, p.Fields...), Region: rapid.SampledFrom(p.Regions).Draw(t, "region"),
		Time: max(p.NotBefore, monday) + rapid.Int64Range(0, 3).Draw(t, "time"), Calls: rapid.Int64Range(0, 2).Draw(t, "calls"), Consent: true, Cohort: 5,
	}
	for range rapid.IntRange(0, 2).Draw(t, "slips") {
		switch rapid.IntRange(0, 7).Draw(t, "slip") {
		case 0:
			r.Purpose = rapid.SampledFrom([]Purpose{PreLoan, PostLoan, Evaluation, BackTest}).Draw(t, "other purpose")
		case 1:
			r.Operation = rapid.SampledFrom([]Operation{Query, PSI, Compute, File}).Draw(t, "other operation")
		case 2:
			r.Fields = some(t, "other fields", 0, "a", "b", "c", "d")
		case 3:
			r.Region = rapid.SampledFrom([]Region{"CN", "CN-31", "CN-310115", "CN-32", "CN-81", "CN-810000", "SG", "US", ""}).Draw(t, "other region")
		case 4:
			r.Time = monday + rapid.Int64Range(-1, 8).Draw(t, "other time")
		case 5:
			r.Calls = rapid.Int64Range(-1, 5).Draw(t, "other calls")
		case 6:
			r.Consent = false
		case 7:
			r.Cohort = rapid.Int64Range(-1, 5).Draw(t, "other cohort")
		}
	}
	return r
}

// narrowed draws a policy that is meant to permit less: independent ones would hardly ever.
func narrowed(t *rapid.T, p Policy) Policy {
	q := drawPolicy(t, "narrow.")
	keep := func(what string) bool { return rapid.IntRange(0, 4).Draw(t, "keep "+what) > 0 }
	if keep("purposes") {
		q.Purposes = some(t, "narrow purposes", 1, p.Purposes...)
	}
	if keep("operations") {
		q.Operations = some(t, "narrow operations", 1, p.Operations...)
	}
	if keep("fields") {
		q.Fields = some(t, "narrow fields", 1, p.Fields...)
	}
	if keep("regions") {
		q.Regions = some(t, "narrow regions", 1, p.Regions...)
	}
	if keep("bounds") {
		q.NotBefore, q.NotAfter, q.MaxCalls, q.MinimumCohort, q.RetentionDays = p.NotBefore, p.NotAfter, p.MaxCalls, p.MinimumCohort, p.RetentionDays
	}
	if keep("consent") {
		q.ConsentRequired = q.ConsentRequired || p.ConsentRequired
	}
	if keep("rules") {
		q.Prohibitions, q.Duties = ordered(append(q.Prohibitions, p.Prohibitions...)), ordered(append(q.Duties, p.Duties...))
	}
	return q
}

func TestNarrowerPermitsLess(t *testing.T) {
	narrow, permitted, both := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		p := drawPolicy(t, "")
		q := narrowed(t, p)
		n := q.Narrows(p) == nil
		if n {
			narrow++
		}
		for range 10 {
			r := drawRequest(t, q)
			if !Evaluate(q, r).Permit {
				continue
			}
			permitted++
			if n {
				both++
				if d := Evaluate(p, r); !d.Permit {
					t.Fatalf("the narrower policy permits what the template denies with %s", d.Denial.Code)
				}
			}
		}
	})
	t.Logf("%d narrow, %d permitted, %d both", narrow, permitted, both)
	if narrow == 0 || permitted == 0 || both == 0 {
		t.Error("the draw never reached the property")
	}
}

func TestNarrowsIsAnOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPolicy(t, "")
		if err := p.Narrows(p); err != nil {
			t.Fatal(err)
		}
		q := narrowed(t, p)
		r := narrowed(t, q)
		if r.Narrows(q) == nil && q.Narrows(p) == nil {
			if err := r.Narrows(p); err != nil {
				t.Fatalf("not transitive: %v", err)
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(templateGolden))
	for _, c := range [][2]string{{`"CN"`, `"CN-310115"`}, {`"psi"`, `"psj"`}, {`"maxCalls":"1000",`, ``}, {`"retentionDays":"90"`, `"retentionDays":90`}, {`true`, `null`}} {
		f.Add([]byte(strings.Replace(templateGolden, c[0], c[1], 1)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Decode(b)
		if err != nil {
			return
		}
		if again := canon.Marshal(p); !bytes.Equal(again, b) {
			t.Fatalf("%q reads as %q", b, again)
		}
		if err := p.Check(); err != nil {
			t.Fatalf("decoded and is not valid: %v", err)
		}
		if same := canon.Marshal(p.Ordered()); !bytes.Equal(same, b) {
			t.Fatalf("%q is not in order", b)
		}
		if err := p.Narrows(p); err != nil {
			t.Fatal(err)
		}
		Evaluate(p, Request{Purpose: p.Purposes[0], Operation: p.Operations[0], Fields: p.Fields, Region: p.Regions[0], Time: p.NotBefore})
		p.ODRL("urn:x")
	})
}

func BenchmarkEvaluate(b *testing.B) {
	p, r := template(), request()
	for b.Loop() {
		if !Evaluate(p, r).Permit {
			b.Fatal("denied")
		}
	}
}
