package rest

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/bund-exchange/bund/contracts"
)

// The API's reference for people: /docs lists every operation, /docs/reference/refusals every code that a problem's
// type points to. Both are made once, from the document, from the rules' own table and from apiCodes.

//go:embed docs.html
var docsHTML string

type docsPage struct {
	Title string
	Tags  []docsTag
	Codes []docsCode
}

type docsTag struct {
	Name, Description string
	Operations        []docsOperation
}

type docsOperation struct {
	Method, Path, Summary, Description string
	Parameters                         []docsParameter
	Open                               bool // needs no sign-in
}

type docsParameter struct {
	Name, In, Description string
	Required              bool
}

type docsCode struct {
	Code               string
	Status             int
	Kind               kind
	Zh, En, DoZh, DoEn string
}

func operationsOf(doc *openapi3.T) (tags []docsTag) {
	for _, t := range doc.Tags {
		tag := docsTag{Name: t.Name, Description: t.Description}
		for _, path := range doc.Paths.InMatchingOrder() {
			for method, op := range doc.Paths.Value(path).Operations() {
				if !slices.Contains(op.Tags, t.Name) {
					continue
				}
				o := docsOperation{Method: method, Path: path, Summary: op.Summary, Description: op.Description, Open: op.Security != nil && len(*op.Security) == 0}
				for _, p := range op.Parameters {
					if p.Value != nil {
						o.Parameters = append(o.Parameters, docsParameter{p.Value.Name, p.Value.In, p.Value.Description, p.Value.Required})
					}
				}
				tag.Operations = append(tag.Operations, o)
			}
		}
		slices.SortFunc(tag.Operations, func(a, b docsOperation) int { return strings.Compare(a.Path+a.Method, b.Path+b.Method) })
		tags = append(tags, tag)
	}
	return tags
}

func codesOf() (codes []docsCode) {
	for _, c := range apiCodes {
		codes = append(codes, docsCode{string(c.Code), Status(c.Code), c.Kind, c.Zh, c.En, c.DoZh, c.DoEn})
	}
	for _, c := range contracts.Codes {
		codes = append(codes, docsCode{string(c.Code), Status(c.Code), kindRefusal, c.Zh, c.En, c.DoZh, c.DoEn})
	}
	slices.SortStableFunc(codes, func(a, b docsCode) int { return strings.Compare(a.Code, b.Code) })
	return codes
}

// docs gives the handlers of the two pages.
func docs(doc *openapi3.T) (operations, refusals http.HandlerFunc, err error) {
	t, err := template.New("docs").Parse(docsHTML)
	if err != nil {
		return nil, nil, err
	}
	page := func(p docsPage) (http.HandlerFunc, error) {
		var b bytes.Buffer
		if err := t.Execute(&b, p); err != nil {
			return nil, err
		}
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
			w.Write(b.Bytes())
		}, nil
	}
	if operations, err = page(docsPage{Title: "外滩市场接口 · Bund market API", Tags: operationsOf(doc)}); err != nil {
		return nil, nil, err
	}
	refusals, err = page(docsPage{Title: "答复码 · Codes", Codes: codesOf()})
	return operations, refusals, err
}
