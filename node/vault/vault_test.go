package vault

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bund-exchange/bund/contracts"
)

var noon = time.Date(2024, 6, 1, 12, 0, 0, 0, contracts.Shanghai)

func newVault(t testing.TB) *Vault {
	t.Helper()
	v, err := Open(Config{Dir: t.TempDir(), Now: func() time.Time { return noon }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

// taxSchema has every type, a code list, a format, and both times.
func taxSchema() *Schema {
	return &Schema{Key: "code", AsOf: "month", KnownAt: "filed", LagHours: 24 * 20, Fields: []Field{
		{Name: "code", Title: "统一社会信用代码", TitleEn: "credit code", Type: Text, Format: CreditCodeFormat},
		{Name: "month", Title: "所属期", TitleEn: "period", Type: Date},
		{Name: "filed", Title: "申报时间", TitleEn: "time of filing", Type: Instant},
		{Name: "invoiced", Title: "开票额", TitleEn: "invoiced amount", Type: Decimal, Scale: 2, Unit: "元", Nullable: true, Empty: "未申报", EmptyEn: "not filed"},
		{Name: "staff", Title: "人数", TitleEn: "headcount", Type: Integer, Nullable: true, Empty: "未参保", EmptyEn: "not insured"},
		{Name: "level", Title: "纳税信用级别", TitleEn: "tax credit level", Type: Coded, Tolerant: true, Nullable: true, Empty: "未评", EmptyEn: "not rated",
			Codes: []Code{{Code: "A", Title: "A级", TitleEn: "level A"}, {Code: "M", Title: "M级", TitleEn: "level M"}}},
		{Name: "red", Title: "有红冲", TitleEn: "has red invoices", Type: Boolean},
		{Name: "note", Title: "备注", TitleEn: "note", Type: Text, Nullable: true, Empty: "无", EmptyEn: "none"},
	}}
}

const taxHeader = "code,month,filed,invoiced,staff,level,red,note\n"

var alpha, beta = string(contracts.SyntheticCreditCode(1)), string(contracts.SyntheticCreditCode(2))

var taxRows = []string{
	alpha + ",2024-01-01,2024-01-15T09:00:00+08:00,100.50,12,A,false,\n",
	alpha + ",2024-01-01,2024-03-10T09:00:00+08:00,90.5,12,A,true,\"corrected, twice\"\n", // a correction, known later
	alpha + ",2024-02-01,2024-02-18T09:00:00.250+08:00,-7,,X,false,\"行一\n行二\"\n",
	beta + ",2024-02-01,2024-01-31T00:00:00Z,,0,,false,\n",
}

func importCSV(t testing.TB, v *Vault, name string, s *Schema, text string) *Dataset {
	t.Helper()
	d, err := v.Import(context.Background(), name, s, CSV(strings.NewReader(text)), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Verify(context.Background()); err != nil {
		t.Fatal(err)
	}
	return d
}

func ms(t time.Time) contracts.Millis { return contracts.Millis(t.UnixMilli()) }

func TestLookupIsBitemporal(t *testing.T) {
	d := importCSV(t, newVault(t), "tax", taxSchema(), taxHeader+strings.Join(taxRows, ""))
	day := func(m time.Month, d int) contracts.Millis {
		return ms(time.Date(2024, m, d, 0, 0, 0, 0, contracts.Shanghai))
	}
	for _, c := range []struct {
		name          string
		key           string
		asOf, knownAt contracts.Millis
		want          Outcome
		invoiced      string
	}{
		{"latest", alpha, 0, 0, Found, "-7"},
		{"January as corrected", alpha, day(1, 20), 0, Found, "90.5"},
		{"January as known in February", alpha, day(1, 20), day(2, 1), Found, "100.5"},
		{"all as known in February", alpha, 0, day(2, 1), Found, "100.5"},
		{"a correction never beats a later month", alpha, 0, day(4, 1), Found, "-7"},
		{"the first moment of the month counts", alpha, day(1, 1), 0, Found, "90.5"},
		{"just before it", alpha, day(1, 1) - 1, 0, NotFound, ""},
		{"before anything was known", alpha, 0, day(1, 14), NotFound, ""},
		{"empty is found and empty", beta, 0, 0, Found, ""},
		{"another company", string(contracts.SyntheticCreditCode(3)), 0, 0, NotFound, ""},
	} {
		a := d.Lookup(context.Background(), Query{Key: c.key, AsOf: c.asOf, KnownAt: c.knownAt, Fields: []string{"invoiced", "code"}})
		if a.Outcome != c.want || a.Snapshot != d.Digest() {
			t.Errorf("%s: got %+v, want %s", c.name, a, c.want)
			continue
		}
		if a.Outcome == Found && (a.Values[0] != Value{"invoiced", c.invoiced, c.invoiced == ""} || a.Values[1] != Value{"code", c.key, false}) {
			t.Errorf("%s: got values %v, want invoiced %q", c.name, a.Values, c.invoiced)
		}
	}
	a := d.Lookup(context.Background(), Query{Key: alpha, Fields: []string{"note"}})
	if a.AsOf != day(2, 1) || a.KnownAt != ms(time.Date(2024, 2, 18, 9, 0, 0, 250e6, contracts.Shanghai)) || a.Map()["note"] != "行一\n行二" {
		t.Errorf("got %+v", a)
	}
	if d.AsOf != day(2, 1) || d.Rows() != 4 || d.Keys() != 2 || d.Source != "csv" {
		t.Errorf("got dataset %+v", d)
	}
}

func TestLookupRefusesBadQueries(t *testing.T) {
	v := newVault(t)
	d := importCSV(t, v, "tax", taxSchema(), taxHeader+strings.Join(taxRows, ""))
	for name, q := range map[string]Query{
		"no key":        {Fields: []string{"note"}},
		"bad code":      {Key: alpha[:17] + "Z", Fields: []string{"note"}},
		"no fields":     {Key: alpha},
		"unknown field": {Key: alpha, Fields: []string{"Note"}},
		"field twice":   {Key: alpha, Fields: []string{"note", "note"}},
		"negative time": {Key: alpha, Fields: []string{"note"}, AsOf: -1},
		"control":       {Key: alpha + "\x00", Fields: []string{"note"}},
	} {
		if a := d.Lookup(context.Background(), q); a.Outcome != BadRequest || a.Detail == "" {
			t.Errorf("%s: got %+v", name, a)
		}
	}
	plain := &Schema{Key: "k", Fields: []Field{{Name: "k", Title: "键", TitleEn: "key", Type: Text}}}
	p, err := v.Import(context.Background(), "plain", plain, CSV(strings.NewReader("k\na\n")), ms(noon))
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []Query{{Key: "a", Fields: []string{"k"}, AsOf: ms(noon)}, {Key: "a", Fields: []string{"k"}, KnownAt: ms(noon)}} {
		if a := p.Lookup(context.Background(), q); a.Outcome != BadRequest {
			t.Errorf("got %+v", a)
		}
	}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if a := p.Lookup(gone, Query{Key: "a", Fields: []string{"k"}}); a.Outcome != SourceTimeout || a.Err == nil {
		t.Errorf("got %+v", a)
	}
	p.Close()
	if a := p.Lookup(context.Background(), Query{Key: "a", Fields: []string{"k"}}); a.Outcome != SourceError || a.Err == nil {
		t.Errorf("got %+v", a)
	}
}

// TestDigestAsDocumented computes the digest by the package comment alone.
func TestDigestAsDocumented(t *testing.T) {
	s := taxSchema()
	d := importCSV(t, newVault(t), "tax", s, taxHeader+strings.Join(taxRows, ""))
	h := sha256.New()
	schema, _ := hex.DecodeString(string(s.Digest()))
	h.Write(append([]byte("bund/dataset/v1\x00"), schema...))
	for _, row := range [][]string{
		{alpha, "2024-01-01", "2024-01-15T01:00:00.000Z", "100.5", "12", "A", "false", ""},
		{alpha, "2024-01-01", "2024-03-10T01:00:00.000Z", "90.5", "12", "A", "true", "corrected, twice"},
		{alpha, "2024-02-01", "2024-02-18T01:00:00.250Z", "-7", "", "X", "false", "行一\n行二"},
		{beta, "2024-02-01", "2024-01-31T00:00:00.000Z", "", "0", "", "false", ""},
	} {
		var b []byte
		for _, v := range row {
			b = append(binary.AppendUvarint(b, uint64(len(v))), v...)
		}
		h.Write(append(binary.AppendUvarint(nil, uint64(len(b))), b...))
	}
	if want := contracts.Hash(hex.EncodeToString(h.Sum(nil))); d.Digest() != want {
		t.Errorf("digest %s, want %s", d.Digest(), want)
	}
	// A change of the canonical forms would orphan every digest on the ledger.
	if want := contracts.Hash("49a22716de4a35bac487103855dd8179d4df30b1c5086ffe7326944d95bc9161"); d.Digest() != want {
		t.Errorf("digest %s is not the committed one", d.Digest())
	}
	other := taxSchema()
	other.Fields[3].Unit = "万元"
	if d2 := importCSV(t, newVault(t), "tax", other, taxHeader+strings.Join(taxRows, "")); d2.Digest() == d.Digest() {
		t.Error("another schema gives the same digest")
	}
}

func TestDigestIgnoresHowTheSourceIsWritten(t *testing.T) {
	v := newVault(t)
	want := importCSV(t, v, "tax", taxSchema(), taxHeader+strings.Join(taxRows, "")).Digest()
	same := map[string]string{
		"mark":         "\ufeff" + taxHeader + strings.Join(taxRows, ""),
		"no last LF":   strings.TrimSuffix(taxHeader+strings.Join(taxRows, ""), "\n"),
		"CRLF":         strings.ReplaceAll(taxHeader+strings.Join(taxRows, ""), "\n", "\r\n"),
		"more zeros":   strings.ReplaceAll(taxHeader+strings.Join(taxRows, ""), "100.50", "100.5000"),
		"other offset": strings.ReplaceAll(taxHeader+strings.Join(taxRows, ""), "2024-01-31T00:00:00Z", "2024-01-31T08:00:00.000+08:00"),
		"quoted":       strings.ReplaceAll(taxHeader+strings.Join(taxRows, ""), ",12,A,", `,"12","A",`),
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 5 {
		rows := slices.Clone(taxRows)
		rng.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		same[fmt.Sprintf("order %d", i)] = taxHeader + strings.Join(rows, "")
	}
	for name, text := range same {
		if got := importCSV(t, v, "tax", taxSchema(), text).Digest(); got != want {
			t.Errorf("%s: digest %s, want %s", name, got, want)
		}
	}
	different := map[string]string{
		"a value":        strings.ReplaceAll(taxHeader+strings.Join(taxRows, ""), "100.50", "100.51"),
		"empty for zero": strings.ReplaceAll(taxHeader+strings.Join(taxRows, ""), ",0,", ",,"),
		"a row less":     taxHeader + strings.Join(taxRows[1:], ""),
	}
	for name, text := range different {
		if got := importCSV(t, v, "tax", taxSchema(), text).Digest(); got == want {
			t.Errorf("%s: the same digest", name)
		}
	}
}

// hastyDisk syncs nothing, for tests that are not about crashes.
type hastyDisk struct{ osDisk }

type hastyFile struct{ file }

func (hastyFile) Sync() error { return nil }

func (d hastyDisk) create(path string) (file, error) {
	f, err := d.osDisk.create(path)
	return hastyFile{f}, err
}

func (hastyDisk) syncDir(string) error { return nil }

// TestImportAgainstMap holds a vault against a plain map, over random rows, with a sort that has to spill.
func TestImportAgainstMap(t *testing.T) {
	schema := &Schema{Key: "k", AsOf: "d", Fields: []Field{
		{Name: "d", Title: "日", TitleEn: "day", Type: Date}, {Name: "k", Title: "键", TitleEn: "key", Type: Text},
		{Name: "v", Title: "值", TitleEn: "value", Type: Text, Nullable: true, Empty: "无", EmptyEn: "none"}}}
	base := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(base, "")
		if err != nil {
			t.Fatal(err)
		}
		v, err := openOn(hastyDisk{}, Config{Dir: dir, Now: func() time.Time { return noon }, SortBytes: rapid.IntRange(400, 6000).Draw(t, "sortBytes")})
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		type id struct {
			key string
			day int
		}
		rows := map[id]string{}
		var b strings.Builder
		b.WriteString("v,k,d\n")
		for range rapid.IntRange(0, 200).Draw(t, "rows") {
			r := id{rapid.StringMatching(`[a-z]{1,2}[啊0-9]?`).Draw(t, "key"), rapid.IntRange(1, 28).Draw(t, "day")}
			if _, dup := rows[r]; dup {
				continue
			}
			rows[r] = rapid.StringMatching(`[a-c]{0,30}`).Draw(t, "value")
			fmt.Fprintf(&b, "%s,%s,2024-02-%02d\n", rows[r], r.key, r.day)
		}
		d, err := v.Import(context.Background(), "map", schema, CSV(strings.NewReader(b.String())), 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Verify(context.Background()); err != nil || d.Rows() != int64(len(rows)) {
			t.Fatalf("%d rows, want %d: %v", d.Rows(), len(rows), err)
		}
		for r := range rows {
			asked := rapid.IntRange(1, 29).Draw(t, "asked")
			want, at := Answer{Outcome: NotFound}, 0
			for day := 1; day <= asked; day++ {
				if value, ok := rows[id{r.key, day}]; ok {
					want, at = Answer{Outcome: Found, Values: []Value{{"v", value, value == ""}}}, day
				}
			}
			a := d.Lookup(context.Background(), Query{Key: r.key, Fields: []string{"v"}, AsOf: ms(time.Date(2024, 2, asked, 0, 0, 0, 0, contracts.Shanghai))})
			if a.Outcome != want.Outcome || !slices.Equal(a.Values, want.Values) {
				t.Fatalf("%v at %d: got %+v, want %+v of day %d", r, asked, a, want, at)
			}
		}
		if a := d.Lookup(context.Background(), Query{Key: "A", Fields: []string{"v"}}); a.Outcome != NotFound {
			t.Fatalf("got %+v", a)
		}
		left, _ := filepath.Glob(filepath.Join(dir, "map", "tmp-*"))
		if len(left) > 0 {
			t.Fatalf("left %v", left)
		}
	})
}

func TestVaultReopens(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Dir: dir, Now: func() time.Time { return noon }}
	v, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("opened twice: %v", err)
	}
	first := importCSV(t, v, "tax", taxSchema(), taxHeader+taxRows[0])
	second := importCSV(t, v, "tax", taxSchema(), taxHeader+strings.Join(taxRows, ""))
	// Whoever holds the replaced snapshot goes on reading it.
	if a := first.Lookup(context.Background(), Query{Key: beta, Fields: []string{"note"}}); a.Outcome != NotFound || a.Snapshot != first.Digest() {
		t.Errorf("got %+v", a)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tax", "tmp-7"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}

	if v, err = Open(cfg); err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	d, ok := v.Dataset("tax")
	if !ok || d.Digest() != second.Digest() || d.AsOf != second.AsOf || d.Imported != ms(noon) || !slices.Equal(v.Names(), []string{"tax"}) {
		t.Fatalf("got %+v", d)
	}
	if _, err := os.Stat(filepath.Join(dir, "tax", "tmp-7")); !errors.Is(err, os.ErrNotExist) {
		t.Error("the unfinished import is still there")
	}
	old, err := v.At("tax", first.Digest())
	if err != nil || old.Rows() != 1 {
		t.Fatalf("couldn't open the earlier snapshot: %v", err)
	}
	old.Close()
	if v.Forget("tax", second.Digest()) == nil {
		t.Error("forgot the current snapshot")
	}
	if err := v.Forget("tax", first.Digest()); err != nil {
		t.Error(err)
	}
	if _, err := v.At("tax", first.Digest()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("opened a forgotten snapshot: %v", err)
	}
	for _, name := range []string{"", "..", "a/b", "lock", "-x", "Tax"} {
		if _, err := v.Import(context.Background(), name, taxSchema(), CSV(strings.NewReader(taxHeader)), 0); err == nil {
			t.Errorf("imported a dataset called %q", name)
		}
	}
}

func TestOpenRefusesADamagedVault(t *testing.T) {
	for name, harm := range map[string]func(dir string, digest contracts.Hash) error{
		"snapshot gone": func(dir string, d contracts.Hash) error { return os.Remove(snapshotPath(dir, d)) },
		"snapshot cut":  func(dir string, d contracts.Hash) error { return os.Truncate(snapshotPath(dir, d), 200) },
		"snapshot empty": func(dir string, d contracts.Hash) error {
			return os.Truncate(snapshotPath(dir, d), 0)
		},
		"other snapshot": func(dir string, d contracts.Hash) error {
			other := contracts.HashOf("another")
			m, err := os.ReadFile(filepath.Join(dir, "current"))
			if err != nil {
				return err
			}
			m = []byte(strings.Replace(string(m), string(d), string(other), 1))
			return errors.Join(os.Rename(snapshotPath(dir, d), snapshotPath(dir, other)), os.WriteFile(filepath.Join(dir, "current"), m, 0o600))
		},
		"manifest not canonical": func(dir string, d contracts.Hash) error {
			return os.WriteFile(filepath.Join(dir, "current"), []byte("{}"), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{Dir: t.TempDir(), Now: func() time.Time { return noon }}
			v, err := Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			d := importCSV(t, v, "tax", taxSchema(), taxHeader+strings.Join(taxRows, ""))
			v.Close()
			if err := harm(filepath.Join(cfg.Dir, "tax"), d.Digest()); err != nil {
				t.Fatal(err)
			}
			if v, err := Open(cfg); err == nil {
				v.Close()
				t.Fatal("opened")
			} else if !strings.Contains(err.Error(), "dataset tax") {
				t.Errorf("the error doesn't say where: %v", err)
			}
		})
	}
}

// TestEveryFlippedBit: no damage of a snapshot file is ever an answer.
func TestEveryFlippedBit(t *testing.T) {
	v := newVault(t)
	text := taxHeader + strings.Join(taxRows, "")
	for n := range uint32(18) {
		text += string(contracts.SyntheticCreditCode(10+n)) + ",2024-02-01,2024-02-18T09:00:00Z,5,1,M,true,\n"
	}
	d := importCSV(t, v, "tax", taxSchema(), text)
	good, err := os.ReadFile(d.path)
	if err != nil {
		t.Fatal(err)
	}
	var queries []Query
	for n := uint32(0); n < 30; n += 3 {
		queries = append(queries, Query{Key: string(contracts.SyntheticCreditCode(n)), Fields: taxSchema().Names()})
	}
	want := make([]Answer, len(queries))
	for i, q := range queries {
		want[i] = d.Lookup(context.Background(), q)
	}
	path := filepath.Join(t.TempDir(), filepath.Base(d.path))
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for at := range good {
		bad := slices.Clone(good[max(at-1, 0) : at+1])
		bad[len(bad)-1] ^= 1 << (at % 8)
		// The byte before is put back in the same write.
		if _, err := f.WriteAt(bad, int64(max(at-1, 0))); err != nil {
			t.Fatal(err)
		}
		s, err := openSnapshot(path)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("byte %d: %v", at, err)
			}
			continue
		}
		if err := s.Verify(context.Background()); !errors.Is(err, ErrDamaged) {
			t.Errorf("byte %d: Verify says %v", at, err)
		}
		for i, q := range queries {
			a := s.Lookup(context.Background(), q)
			if a.Outcome != SourceError && (a.Outcome != want[i].Outcome || !slices.Equal(a.Values, want[i].Values)) {
				t.Fatalf("byte %d: damage gave the answer %+v, want %+v", at, a, want[i])
			}
		}
		s.Close()
	}
}
