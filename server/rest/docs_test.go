package rest

import (
	"html"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/server/api"
)

// Every operation is in the reference, and every code is where a problem's type points.
func TestReferencePages(t *testing.T) {
	doc, err := api.GetSpec()
	if err != nil {
		t.Fatal(err)
	}
	operations, refusals, err := docs(doc)
	if err != nil {
		t.Fatal(err)
	}
	page := func(h http.HandlerFunc) string {
		w := httptest.NewRecorder()
		h(w, httptest.NewRequest("GET", "/docs", nil))
		return w.Body.String()
	}
	p := page(operations)
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			if !strings.Contains(p, `<span class="m">`+method+`</span> <code>`+path+`</code>`) || op.Summary == "" {
				t.Errorf("%s %s is not in the reference", method, path)
			}
		}
	}
	p = page(refusals)
	for _, c := range contracts.Codes {
		if !strings.Contains(p, `<tr id="`+string(c.Code)+`">`) {
			t.Errorf("%s is not in the reference", c.Code)
		}
	}
	for _, c := range apiCodes {
		_, row, ok := strings.Cut(p, `<tr id="`+string(c.Code)+`">`)
		row, _, _ = strings.Cut(html.UnescapeString(row), "</tr>")
		if want := strconv.Itoa(Status(c.Code)) + "<br>" + string(c.Kind); !ok || !strings.Contains(row, want) || !strings.Contains(row, c.Zh) || !strings.Contains(row, c.DoZh) {
			t.Errorf("%s is not in the reference in both languages", c.Code)
		}
	}
}
