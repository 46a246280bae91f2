package polish_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/dictionary"
	"github.com/bund-exchange/bund/deploy/sample/polish"
	"github.com/bund-exchange/bund/node/vault"
)

var loaded = sync.OnceValues(polish.Companies)

func companies(t testing.TB) []polish.Company {
	t.Helper()
	c, err := loaded()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCompanies(t *testing.T) {
	c := companies(t)
	bankrupt, codes := 0, map[contracts.CreditCode]bool{}
	for i := range c {
		if c[i].Bankrupt {
			bankrupt++
		}
		if err := c[i].Code.Check(); err != nil || !c[i].Code.Synthetic() {
			t.Fatalf("%s: %v", c[i].Code, err)
		}
		codes[c[i].Code] = true
	}
	if len(c) != 5850 || bankrupt != 408 || len(codes) != 5850 {
		t.Errorf("%d companies, %d bankrupt, %d codes", len(c), bankrupt, len(codes))
	}
	if !slices.IsSortedFunc(c, func(a, b polish.Company) int { return strings.Compare(string(a.Code), string(b.Code)) }) {
		t.Error("not in the order of their codes")
	}
	// The file has the bankrupt companies last; the codes must not say so. In ten equal parts of the codes the
	// bankrupt are spread as chance would have it: each has 40.8 on average, with a deviation of 6.2.
	for part := range 10 {
		n := 0
		for i := part * 585; i < (part+1)*585; i++ {
			if c[i].Bankrupt {
				n++
			}
		}
		if n < 20 || n > 62 {
			t.Errorf("part %d of the codes has %d bankrupt companies", part, n)
		}
	}
}

// TestFileIsTheOneAttributed: what ATTRIBUTION.md says of the file holds.
func TestFileIsTheOneAttributed(t *testing.T) {
	f, err := os.Open("5year.arff.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	if _, err := io.Copy(h, z); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{hex.EncodeToString(h.Sum(nil)), "CC BY 4.0", "10.24432/C5F600", "Zięba", "Tomczak"} {
		if !strings.Contains(polish.Attribution, want) {
			t.Errorf("the attribution doesn't have %s", want)
		}
	}
}

// TestTracesAreAsAttributed: the two traces of recording that ATTRIBUTION.md warns of.
func TestTracesAreAsAttributed(t *testing.T) {
	var same, sameBankrupt, zero, zeroBankrupt int
	for _, c := range companies(t) {
		n := 0
		if c.Bankrupt {
			n = 1
		}
		if c.Ratio(24) == c.Ratio(18) {
			same, sameBankrupt = same+1, sameBankrupt+n
		}
		if c.Ratio(22) == 0 {
			zero, zeroBankrupt = zero+1, zeroBankrupt+n
		}
	}
	if same != 169 || sameBankrupt != 164 || zero != 534 || zeroBankrupt != 0 {
		t.Errorf("%d companies have X24 = X18, %d bankrupt; %d have X22 = 0, %d bankrupt", same, sameBankrupt, zero, zeroBankrupt)
	}
}

func TestColumnsAreSplitOnce(t *testing.T) {
	var all []int
	all = append(append(all, polish.BankColumns...), polish.ProviderColumns...)
	all = append(all, 21, 27, 37, 45, 60, 64)
	slices.Sort(all)
	for i, c := range all {
		if c != i+1 {
			t.Fatalf("columns are %v", all)
		}
	}
	if len(polish.BankColumns) != 19 || len(polish.ProviderColumns) != 39 || len(all) != 64 {
		t.Errorf("%d and %d columns", len(polish.BankColumns), len(polish.ProviderColumns))
	}
	for _, c := range append(slices.Clone(polish.BankColumns), polish.ProviderColumns...) {
		if zh, en := polish.Title(c); zh == "" || en == "" {
			t.Errorf("x%d has no title", c)
		}
	}
}

// TestProviderHalfImports puts the provider's half into a vault, as the sample market does.
func TestProviderHalfImports(t *testing.T) {
	schema, err := vault.ReadSchema(polish.ProviderDictionary())
	if err != nil {
		t.Fatal(err)
	}
	c := companies(t)
	var text bytes.Buffer
	if err := polish.WriteProvider(&text, c); err != nil {
		t.Fatal(err)
	}
	v, err := vault.Open(vault.Config{Dir: t.TempDir(), Now: func() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	d, err := v.Import(context.Background(), "polish", schema, vault.CSV(&text), polish.AsOf)
	if err != nil {
		t.Fatal(err)
	}
	if d.Rows() != 5850 || d.Keys() != 5850 || d.AsOf.Time().In(contracts.Shanghai).Format(time.DateTime) != "2013-12-31 23:59:59" {
		t.Errorf("got %d rows of %v", d.Rows(), d.AsOf.Time())
	}
	for _, i := range []int{0, 1234, 5849} {
		a := d.Lookup(context.Background(), vault.Query{Key: string(c[i].Code), Fields: polish.Names(polish.ProviderColumns)})
		for k, value := range a.Values {
			if want := c[i].Ratio(polish.ProviderColumns[k]).String(); value.Text != want {
				t.Errorf("%s: got %s, want %s", value.Field, value.Text, want)
			}
		}
		if a.Outcome != vault.Found || len(a.Values) != 39 {
			t.Errorf("got %+v", a)
		}
	}
	for _, q := range d.Quality() {
		if q.Satisfying != q.Tested {
			t.Errorf("quality %s %s: %d of %d", q.Dimension, q.Rule, q.Satisfying, q.Tested)
		}
	}
	// A change here is a change of the data that the published headline rests on.
	if want := contracts.Hash("531152e5dc1128c9f08737d1098b67cd07d4f798bcf251df15f26fa8751670b5"); d.Digest() != want {
		t.Errorf("digest %s, want %s", d.Digest(), want)
	}
}

func TestSchemaIsTheFile(t *testing.T) {
	s := polish.Schema()
	read, err := dictionary.Read(polish.ProviderDictionary())
	if err != nil {
		t.Fatal(err)
	}
	if read.Digest() != s.Digest() || s.Key != "code" || !slices.Equal(s.Names(), append([]string{"code"}, polish.Names(polish.ProviderColumns)...)) {
		t.Errorf("file %s, schema %s with fields %v", read.Digest(), s.Digest(), s.Names())
	}
}

// TestHalvesAreApart: what the bank holds has nothing of what the provider sells, and the other way about.
func TestHalvesAreApart(t *testing.T) {
	all := companies(t)
	half := polish.BankHalf(all)
	for i := range half {
		if half[i].Code != all[i].Code || half[i].Bankrupt != all[i].Bankrupt {
			t.Fatalf("company %d is %s, want %s", i, half[i].Code, all[i].Code)
		}
		for c := 1; c <= 64; c++ {
			want := polish.Micro(0)
			if slices.Contains(polish.BankColumns, c) {
				want = all[i].Ratio(c)
			}
			if got := half[i].Ratio(c); got != want {
				t.Fatalf("company %d: x%d is %v, want %v", i, c, got, want)
			}
		}
	}
	var csv bytes.Buffer
	if err := polish.WriteProvider(&csv, all); err != nil {
		t.Fatal(err)
	}
	header, _, _ := strings.Cut(csv.String(), "\n")
	if header != "code,"+strings.Join(polish.Names(polish.ProviderColumns), ",") {
		t.Errorf("the provider sells %s", header)
	}
}

func TestBankHalf(t *testing.T) {
	var text bytes.Buffer
	if err := polish.WriteBank(&text, companies(t)); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
	if len(lines) != 5851 || !strings.HasPrefix(lines[0], "code,x2,x3,") || !strings.HasSuffix(lines[0], ",x59,bankrupt") {
		t.Errorf("%d lines, header %s", len(lines), lines[0])
	}
	ones := 0
	for _, l := range lines[1:] {
		if strings.HasSuffix(l, ",1") {
			ones++
		}
	}
	if ones != 408 {
		t.Errorf("%d bankrupt", ones)
	}
	if err := polish.WriteBank(brokenWriter{}, companies(t)); err == nil {
		t.Error("a failing writer went unnoticed")
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
