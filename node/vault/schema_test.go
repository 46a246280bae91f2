package vault

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
)

const written = `
key: code
asOf: month
fields:
  - {name: code, title: 统一社会信用代码, titleEn: credit code, type: text, format: credit_code}
  - {name: month, title: 所属期, titleEn: period, type: date}
  - name: level
    title: 纳税信用级别
    titleEn: tax credit level
    type: code
    nullable: true
    empty: 未评级
    emptyEn: not rated
    codes:
      - {code: A, title: A级, titleEn: level A}
`

func TestReadSchema(t *testing.T) {
	s, err := ReadSchema([]byte(written))
	if err != nil {
		t.Fatal(err)
	}
	if s.Key != "code" || s.AsOf != "month" || len(s.Fields) != 3 || s.Fields[2].Codes[0].Title != "A级" || !s.Fields[2].Nullable {
		t.Errorf("got %+v", s)
	}
	for name, change := range map[string][2]string{
		"unknown key":            {"asOf: month", "asOff: month"},
		"folded key":             {"asOf: month", "asof: month"},
		"key twice":              {"key: code", "key: code\nkey: code"},
		"second document":        {"asOf: month", "asOf: month\n---\na: 1"},
		"no fields":              {written, "key: code"},
		"key is no field":        {"key: code", "key: cod"},
		"key is no text":         {"key: code", "key: month"},
		"asOf is no time":        {"asOf: month", "asOf: level"},
		"asOf is no field":       {"asOf: month", "asOf: day"},
		"knownAt without asOf":   {"asOf: month", "knownAt: month"},
		"knownAt is asOf":        {"asOf: month", "asOf: month\nknownAt: month"},
		"lag without knownAt":    {"asOf: month", "asOf: month\nlagHours: 3"},
		"negative lag":           {"asOf: month", "asOf: month\nlagHours: -3"},
		"name twice":             {"name: month", "name: code"},
		"name twice by case":     {"name: level", "name: Month"},
		"bad name":               {"name: level", "name: 级别"},
		"no title":               {"titleEn: period, ", ""},
		"unknown type":           {"type: date", "type: day"},
		"scale of text":          {"format: credit_code", "format: credit_code, scale: 2"},
		"unknown format":         {"format: credit_code", "format: phone"},
		"format of a date":       {"type: date", "type: date, format: credit_code"},
		"empty without meaning":  {"    emptyEn: not rated\n", ""},
		"meaning without empty":  {"    nullable: true\n", ""},
		"codes of text":          {"type: code", "type: text"},
		"code twice":             {"{code: A, title: A级, titleEn: level A}", "{code: A, title: A级, titleEn: level A}\n      - {code: A, title: B, titleEn: B}"},
		"code without title":     {"title: A级", "title: ''"},
		"tolerant about nothing": {"type: date", "type: date, tolerant: true"},
		"tolerant key":           {"format: credit_code", "format: credit_code, tolerant: true"},
		"nullable key":           {"format: credit_code", "format: credit_code, nullable: true, empty: 无, emptyEn: none"},
		"nullable asOf":          {"type: date", "type: date, nullable: true, empty: 无, emptyEn: none"},
		"control character":      {"titleEn: period", `titleEn: "a\u0007b"`},
	} {
		if !strings.Contains(written, change[0]) {
			t.Fatalf("%s changes nothing", name)
		}
		if _, err := ReadSchema([]byte(strings.Replace(written, change[0], change[1], 1))); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := ReadSchema(make([]byte, 2<<20)); err == nil {
		t.Error("accepted 2 MiB")
	}
}

func TestSchemaDigestCoversEverything(t *testing.T) {
	seen := map[contracts.Hash]string{taxSchema().Digest(): "unchanged"}
	for name, change := range map[string]func(*Schema){
		"lag":       func(s *Schema) { s.LagHours++ },
		"knownAt":   func(s *Schema) { s.KnownAt, s.LagHours = "", 0 },
		"order":     func(s *Schema) { s.Fields[6], s.Fields[7] = s.Fields[7], s.Fields[6] },
		"unit":      func(s *Schema) { s.Fields[3].Unit = "万元" },
		"scale":     func(s *Schema) { s.Fields[3].Scale = 3 },
		"meaning":   func(s *Schema) { s.Fields[3].Empty = "零申报" },
		"meaningEn": func(s *Schema) { s.Fields[3].EmptyEn = "zero" },
		"title":     func(s *Schema) { s.Fields[4].Title = "参保人数" },
		"code":      func(s *Schema) { s.Fields[5].Codes[1].TitleEn = "new" },
		"tolerant":  func(s *Schema) { s.Fields[5].Tolerant = false },
		"format":    func(s *Schema) { s.Fields[0].Format = "" },
	} {
		s := taxSchema()
		change(s)
		if err := s.Check(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if same, ok := seen[s.Digest()]; ok {
			t.Errorf("%s: same digest as %s", name, same)
		}
		seen[s.Digest()] = name
	}
}

func TestQualityFigures(t *testing.T) {
	// Four rows: one without amount, one without staff, one code outside its list, one known before its fact, one
	// known 69 days after it.
	d := importCSV(t, newVault(t), "tax", taxSchema(), taxHeader+strings.Join(taxRows, ""))
	want := map[string][2]int64{
		"completeness record":               {1, 4}, // the second
		"completeness element.code":         {4, 4},
		"completeness element.month":        {4, 4},
		"completeness element.filed":        {4, 4},
		"completeness element.invoiced":     {3, 4},
		"completeness element.staff":        {3, 4},
		"completeness element.level":        {3, 4},
		"completeness element.red":          {4, 4},
		"completeness element.note":         {2, 4},
		"accuracy unique.code":              {4, 4},
		"accuracy format.code":              {4, 4},
		"accuracy format.month":             {4, 4},
		"accuracy format.filed":             {4, 4},
		"accuracy format.invoiced":          {3, 3},
		"accuracy format.staff":             {3, 3},
		"conformity codes.level":            {2, 3},
		"accuracy format.red":               {4, 4},
		"consistency known_not_before_fact": {3, 4},
		"timeliness known_within_lag":       {3, 4},
	}
	got := d.Quality()
	for _, q := range got {
		name := q.Dimension + " " + q.Rule
		if w, ok := want[name]; !ok || w != [2]int64{q.Satisfying, q.Tested} || q.Check() != nil {
			t.Errorf("%s: %d of %d, want %v", name, q.Satisfying, q.Tested, w)
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
	// They don't depend on the order of the source.
	turned := slices.Clone(taxRows)
	slices.Reverse(turned)
	if d2 := importCSV(t, newVault(t), "tax", taxSchema(), taxHeader+strings.Join(turned, "")); !slices.Equal(got, d2.Quality()) {
		t.Error("other figures for another order")
	}
	none := importCSV(t, newVault(t), "none", taxSchema(), taxHeader)
	if a := none.Lookup(context.Background(), Query{Key: alpha, Fields: []string{"note"}}); a.Outcome != NotFound || none.Rows() != 0 {
		t.Errorf("got %+v of %d rows", a, none.Rows())
	}
	for _, q := range none.Quality() {
		if q.Tested != 0 || q.Satisfying != 0 {
			t.Errorf("no rows: %+v", q)
		}
	}
}

// FuzzReadSchema: what is read is checked, and has a digest that reading it again gives too.
func FuzzReadSchema(f *testing.F) {
	f.Add([]byte(written))
	f.Add([]byte(`{"key":"k","fields":[{"name":"k","title":"键","titleEn":"key","type":"text"}]}`))
	f.Add([]byte("key: k\nfields: [&a {name: k, title: t, titleEn: t, type: text}, *a]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ReadSchema(b)
		if err != nil {
			return
		}
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
		again, err := ReadSchema(canon.Marshal(s)) // JSON with integers as strings, which YAML reads as integers only bare
		if err == nil && again.Digest() != s.Digest() {
			t.Fatal("another digest")
		}
	})
}
