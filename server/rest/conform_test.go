package rest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/bund-exchange/bund/server/api"
)

func TestBadBodiesAreRefused(t *testing.T) {
	s := serve(t, begun(t))
	s.account("zhang", s.Buyer.ID, "")
	good := fmt.Sprintf(`{"login":"zhang","password":%q}`, password)
	s.visitor().ask("POST", "/session", good).into(t, 200, nil)
	for name, body := range map[string]string{
		"empty":            ``,
		"not JSON":         `login=zhang`,
		"an array":         `[]`,
		"trailing":         good + `{}`,
		"unknown":          fmt.Sprintf(`{"login":"zhang","password":%q,"x":1}`, password),
		"duplicate":        fmt.Sprintf(`{"login":"zhang","login":"zhang","password":%q}`, password),
		"case-folded":      fmt.Sprintf(`{"Login":"zhang","password":%q}`, password),
		"folded beside":    fmt.Sprintf(`{"login":"zhang","Login":"li","password":%q}`, password),
		"missing":          `{"login":"zhang"}`,
		"null":             `{"login":"zhang","password":null}`,
		"wrong type":       `{"login":1,"password":"x"}`,
		"too long":         `{"login":"` + strings.Repeat("x", 200) + `","password":"x"}`,
		"bad UTF-8":        "{\"login\":\"zh\xffng\",\"password\":\"x\"}",
		"NUL":              `{"login":"a\u0000b","password":"x"}`,
		"byte order mark":  "\ufeff" + good,
		"deep":             strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40),
		"an exponent":      `{"login":1e400,"password":"x"}`,
		"half a surrogate": `{"login":"\ud800","password":"x"}`,
	} {
		t.Run(name, func(t *testing.T) {
			p := s.visitor().ask("POST", "/session", body).problem(t, 400, "invalid_request")
			if p.Errors == nil || len(*p.Errors) == 0 {
				t.Fatalf("no field is named")
			}
			for _, e := range *p.Errors {
				if e.Detail == "" || len(e.Detail) > 300 || strings.Contains(e.Detail, "Schema:") {
					t.Errorf("%+v", e)
				}
			}
		})
	}
	var fields []string
	for _, e := range *s.visitor().ask("POST", "/session", `{"login":"","x":1}`).problem(t, 400, "invalid_request").Errors {
		fields = append(fields, e.Field+": "+e.Detail)
	}
	if all := strings.Join(fields, "\n"); len(fields) < 3 || !strings.Contains(all, "/login") || !strings.Contains(all, "/password") || !strings.Contains(all, `"x"`) {
		t.Errorf("all faults are listed at once: %q", fields)
	}
}

func TestOtherBadRequests(t *testing.T) {
	s := serve(t, begun(t))
	v := s.machine(s.Buyer.ID)
	v.ask("GET", "/nothing", nil).problem(t, 404, "request.path")
	v.ask("PATCH", "/session", nil).problem(t, 405, "request.method")
	v.ask("GET", "/session?x=1", nil).problem(t, 400, "invalid_request")
	v.ask("GET", "/session?%zz", nil).problem(t, 400, "invalid_request")
	v.ask("GET", "/session", "{}").problem(t, 400, "invalid_request")
	s.visitor().ask("POST", "/session", strings.Repeat("x", maxBodyBytes+1)).problem(t, 413, "request.too_large")
	for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "application/json; charset=gbk", "nonsense/", "multipart/form-data; boundary=x"} {
		s.visitor("Content-Type", kind).ask("POST", "/session", "{}").problem(t, 415, "request.media_type")
	}
	s.visitor("Content-Encoding", "gzip").ask("POST", "/session", "{}").problem(t, 415, "request.media_type")
	s.visitor("Content-Type", "application/json; charset=UTF-8").ask("POST", "/session", "{}").problem(t, 400, "invalid_request")
	// What PostgreSQL can't store isn't in a parameter either, and white space is no reason.
	for _, q := range []string{"/members?role=%00", "/members?role=%ff", "/products?q=%E7%BA%B3%00"} {
		s.visitor().ask("GET", q, nil).problem(t, 400, "invalid_request")
	}
	for _, reason := range []string{"a%00b", "%20%20", "%E3%80%80%E3%80%80", "a%20"} {
		s.machine(s.Regulator.ID).ask("GET", "/supervision/entries?reason="+reason, nil).problem(t, 400, "invalid_request")
	}
	// An operation that wants one kind of sign-in doesn't take another.
	s.visitor("Authorization", "Basic eDp5").ask("GET", "/session", nil).problem(t, 401, "session.required")
	s.visitor("Authorization", "Bearer ").ask("GET", "/session", nil).problem(t, 401, "client.token")
}

func TestBrokenHTTPDoesNoHarm(t *testing.T) {
	s := serve(t, begun(t))
	for _, x := range []struct{ raw, status string }{
		{"POST /session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{", " 400 "}, // ends too early
		{"POST /session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", " 400 "},
		{"POST /session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n\r\n", " 413 "}, // before it comes
	} {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(c, x.raw)
		c.(*net.TCPConn).CloseWrite()
		line, err := bufio.NewReader(c).ReadString('\n')
		if err != nil || !strings.Contains(line, x.status) {
			t.Errorf("got %q, %v", line, err)
		}
		c.Close()
	}
	s.visitor().ask("GET", "/healthz", nil).into(t, 200, nil)
}

// Every object that a caller may send is closed: the document refuses unknown and differently capitalised fields.
func TestRequestBodiesAreClosed(t *testing.T) {
	doc, err := api.GetSpec()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	var walk func(where string, ref *openapi3.SchemaRef)
	walk = func(where string, ref *openapi3.SchemaRef) {
		if ref == nil || ref.Value == nil {
			return
		}
		sch := ref.Value
		seen++
		if sch.Type == nil || len(*sch.Type) != 1 || sch.Const != nil || sch.If != nil || len(sch.PrefixItems) > 0 || len(sch.PatternProperties) > 0 {
			t.Errorf("%s: the validator is told that this is 3.0, and knows only schemas with one type and the words of 3.0", where)
		}
		if len(sch.Properties) > 0 && (sch.AdditionalProperties.Has == nil || *sch.AdditionalProperties.Has) {
			t.Errorf("%s: additionalProperties isn't false", where)
		}
		for name, p := range sch.Properties {
			walk(where+"."+name, p)
		}
		walk(where+"[]", sch.Items)
	}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			for _, p := range append(append(openapi3.Parameters{}, item.Parameters...), op.Parameters...) {
				walk(method+" "+path+" "+p.Value.Name, p.Value.Schema)
			}
			if op.RequestBody == nil {
				continue
			}
			for kind, media := range op.RequestBody.Value.Content {
				walk(method+" "+path+" "+kind, media.Schema)
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d schemas were looked at", seen)
	}
}

func TestDocumentIsServed(t *testing.T) {
	s := serve(t, begun(t))
	var doc map[string]any
	a := s.visitor().ask("GET", "/openapi.json", nil)
	if err := json.Unmarshal(a.body, &doc); err != nil || doc["openapi"] != "3.1.0" {
		t.Errorf("got %.60s, %v", a.body, err)
	}
}

func FuzzSubmission(f *testing.F) {
	f.Add(`{"raw":"{}","signatures":[{"key":"ed25519:00","sig":"` + strings.Repeat("0", 128) + `"}]}`)
	f.Add(`{"raw":"é","signatures":[],"openings":[{"salt":"00","value":"x"}]}`)
	f.Fuzz(func(t *testing.T, body string) {
		if checkJSON([]byte(body)) != nil {
			return
		}
		var in api.Submission
		if json.Unmarshal([]byte(body), &in) != nil {
			return
		}
		for i := range in.Signatures {
			if len(in.Signatures[i].Sig) != 128 {
				return // the document refuses it
			}
		}
		if in.Openings != nil {
			for _, o := range *in.Openings {
				if len(o.Salt) != 64 {
					return
				}
			}
		}
		sub, err := submissionOf(&in)
		if err == nil && string(sub.Raw) != in.Raw {
			t.Errorf("%q became %q", in.Raw, sub.Raw)
		}
	})
}
