package vault

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/bund-exchange/bund/contracts"
)

func TestCSVFaults(t *testing.T) {
	row := taxRows[0]
	with := func(old, new string) string {
		return taxHeader + beta + ",2024-02-01,2024-02-02T00:00:00Z,,,,true,\n" + strings.Replace(row, old, new, 1)
	}
	long := strings.Repeat("x", MaxValueBytes+1)
	for name, c := range map[string]struct {
		text  string
		code  FaultCode
		line  int64
		field string
	}{
		"nothing":              {"", FileEmpty, 0, ""},
		"only a mark":          {"\ufeff", FileEmpty, 0, ""},
		"UTF-16":               {"\xff\xfec\x00o\x00", FileEncoding, 1, ""},
		"two marks":            {"\ufeff\ufeff" + taxHeader, HeaderUnknown, 1, "\ufeffcode"},
		"header in other case": {strings.Replace(taxHeader, "note", "Note", 1) + row, HeaderUnknown, 1, "Note"},
		"header with a space":  {strings.Replace(taxHeader, ",note", ", note", 1) + row, HeaderUnknown, 1, " note"},
		"other separator":      {strings.ReplaceAll(taxHeader, ",", ";"), HeaderUnknown, 1, "code;month;filed;invoiced;staff;level;re…"},
		"column missing":       {strings.Replace(taxHeader, ",note", "", 1), HeaderMissing, 1, "note"},
		"column twice":         {strings.Replace(taxHeader, ",note", ",note,note", 1), HeaderDuplicate, 1, "note"},
		"column too many":      {strings.Replace(taxHeader, ",note", ",note,extra", 1), HeaderUnknown, 1, "extra"},
		"no header":            {row + row, HeaderUnknown, 1, alpha},
		"value too few":        {with(",false,", ",false"), RowRagged, 3, ""},
		"value too many":       {with(",false,", ",false,,"), RowRagged, 3, ""},
		"blank line":           {taxHeader + "\n" + row, RowBlank, 2, ""},
		"blank first line":     {"\n" + taxHeader + row, RowBlank, 1, ""},
		"blank after a quote":  {taxHeader + taxRows[2] + "\n" + taxRows[3], RowBlank, 4, ""},
		"quote in a value":     {with("12,A", `1"2,A`), RowQuote, 3, ""},
		"text after a quote":   {with("12,A", `"12"x,A`), RowQuote, 3, ""},
		"quote left open":      {taxHeader + alpha + `,"2024-01-01` + "\n" + taxRows[3], RowQuote, 3, ""},
		"row without end":      {taxHeader + `"` + strings.Repeat("x\n", 2*MaxRowBytes), RowTooLong, 2, ""},
		"not UTF-8":            {with(",false,", ",false,\xb9\xe3\xb6\xab"), ValueEncoding, 3, "note"},
		"half a character":     {with(",false,", ",false,\xe5\xa4"), ValueEncoding, 3, "note"},
		"zero byte":            {with(",false,", ",false,a\x00b"), ValueControl, 3, "note"},
		"C1 control":           {with(",false,", ",false,a\u0085b"), ValueControl, 3, "note"},
		"lone CR":              {with(",false,", ",false,a\rb"), ValueControl, 3, "note"},
		"value too long":       {with(",false,", ",false,"+long), ValueTooLong, 3, "note"},
		"key missing":          {with(alpha, ""), ValueMissing, 3, "code"},
		"date missing":         {with("2024-01-01", ""), ValueMissing, 3, "month"},
		"no such date":         {with("2024-01-01", "2024-02-30"), ValueType, 3, "month"},
		"other date form":      {with("2024-01-01", "2024/01/01"), ValueType, 3, "month"},
		"date in the future":   {with("2024-01-01", "2024-06-02"), ValueFuture, 3, "month"},
		"date in antiquity":    {with("2024-01-01", "1024-01-01"), ValueFuture, 3, "month"},
		"time without offset":  {with("09:00:00+08:00", "09:00:00"), ValueType, 3, "filed"},
		"time with a comma":    {with("2024-01-15T09:00:00+08:00", `"2024-01-15T09:00:00,5+08:00"`), ValueType, 3, "filed"},
		"time too fine":        {with("09:00:00+08:00", "09:00:00.0001+08:00"), ValueType, 3, "filed"},
		"one-digit hour":       {with("09:00:00+08:00", "9:00:00+08:00"), ValueType, 3, "filed"},
		"known in the future":  {with("2024-01-15T", "2025-01-15T"), ValueFuture, 3, "filed"},
		"decimal exponent":     {with("100.50", "1e2"), ValueType, 3, "invoiced"},
		"decimal comma":        {with("100.50", `"100,50"`), ValueType, 3, "invoiced"},
		"decimal plus":         {with("100.50", "+100"), ValueType, 3, "invoiced"},
		"decimal without zero": {with("100.50", ".5"), ValueType, 3, "invoiced"},
		"decimal NaN":          {with("100.50", "NaN"), ValueType, 3, "invoiced"},
		"decimal too fine":     {with("100.50", "100.501"), ValueScale, 3, "invoiced"},
		"decimal too long":     {with("100.50", strings.Repeat("9", 39)), ValueType, 3, "invoiced"},
		"integer with zero":    {with("12,A", "012,A"), ValueType, 3, "staff"},
		"integer minus zero":   {with("12,A", "-0,A"), ValueType, 3, "staff"},
		"integer too big":      {with("12,A", "9223372036854775808,A"), ValueType, 3, "staff"},
		"integer with space":   {with("12,A", " 12,A"), ValueType, 3, "staff"},
		"boolean word":         {with("false", "no"), ValueType, 3, "red"},
		"wrong check digit":    {with(alpha, alpha[:17]+"0"), ValueFormat, 3, "code"},
		"same key twice":       {taxHeader + row + taxRows[1] + row, KeyDuplicate, 4, "code"},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVault(t)
			before := importCSV(t, v, "tax", taxSchema(), taxHeader+taxRows[3])
			d, err := v.Import(context.Background(), "tax", taxSchema(), CSV(strings.NewReader(c.text)), 0)
			var faults Faults
			if !errors.As(err, &faults) || d != nil {
				t.Fatalf("got %v, want faults", err)
			}
			if f := faults[0]; f.Code != c.code || f.Line != c.line || f.Field != c.field || f.Detail == "" {
				t.Errorf("got %+v, want %s in line %d, field %q", f, c.code, c.line, c.field)
			}
			var first *Fault
			if !errors.As(err, &first) || !strings.Contains(err.Error(), string(c.code)) {
				t.Errorf("the error hides its fault: %v", err)
			}
			assertOnly(t, v, before)
		})
	}
}

// assertOnly: nothing of an import was kept.
func assertOnly(t testing.TB, v *Vault, want *Dataset) {
	t.Helper()
	if d, ok := v.Dataset(want.Name); !ok || d != want {
		t.Errorf("the current snapshot changed")
	}
	files, err := os.ReadDir(filepath.Join(v.cfg.Dir, want.Name))
	if err != nil || len(files) != 2 {
		t.Errorf("want one snapshot and its manifest, got %v %v", files, err)
	}
}

func TestFaultsNameNoValue(t *testing.T) {
	secret := "Secret-4711"
	text := taxHeader + strings.NewReplacer("2024-01-01", secret, "12", secret, "false", secret).Replace(taxRows[0]) + secret + "\n"
	_, err := newVault(t).Import(context.Background(), "tax", taxSchema(), CSV(strings.NewReader(text)), 0)
	var faults Faults
	if !errors.As(err, &faults) || len(faults) != 4 {
		t.Fatalf("got %v, want four faults", err)
	}
	for _, f := range faults {
		if strings.Contains(f.Error(), secret) {
			t.Errorf("the fault shows a value: %v", f)
		}
	}
}

func TestFaultsAreBounded(t *testing.T) {
	text := taxHeader + strings.Repeat("x\n", 1000)
	_, err := newVault(t).Import(context.Background(), "tax", taxSchema(), CSV(strings.NewReader(text)), 0)
	var faults Faults
	if !errors.As(err, &faults) || len(faults) != maxFaults || faults[19].Line != 21 {
		t.Fatalf("got %d faults: %v", len(faults), err)
	}
	dup := taxHeader + strings.Repeat(taxRows[0], 1000)
	if _, err := newVault(t).Import(context.Background(), "tax", taxSchema(), CSV(strings.NewReader(dup)), 0); !errors.As(err, &faults) || len(faults) != maxFaults {
		t.Fatalf("got %v", err)
	}
}

func TestReadingFailureIsNoFault(t *testing.T) {
	broken := errors.New("pulled the plug")
	for _, text := range []string{"", taxHeader, taxHeader + strings.Join(taxRows, "")} {
		r := io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken))
		_, err := newVault(t).Import(context.Background(), "tax", taxSchema(), CSV(r), 0)
		var faults Faults
		if !errors.Is(err, broken) || errors.As(err, &faults) {
			t.Errorf("got %v", err)
		}
	}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := newVault(t).Import(gone, "tax", taxSchema(), CSV(strings.NewReader(taxHeader)), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// FuzzImportCSV: whatever comes in, an import either ends in Faults and keeps nothing, or keeps a snapshot that
// verifies, has every row that a lenient reader sees, and gives the same digest when it is written out and imported
// again.
func FuzzImportCSV(f *testing.F) {
	f.Add([]byte("k,d,v\n"))
	f.Add([]byte("k,d,v\na,2024-01-01,1.50\nb,2024-01-01,\n"))
	f.Add([]byte("\ufeffv,k,d\r\n-0.0,\"a\"\"b\",2024-01-01\r\n"))
	f.Add([]byte("k,d,v\na,2024-01-01,1\na,2024-01-01,1\n"))
	f.Add([]byte("k,d,v\n\"a\nb\",2024-01-01,1\n\nc,2024-01-02,1\n"))
	f.Add([]byte("k,d,v\n\"a"))
	f.Add([]byte("k,d,v\na\xff,2024-01-01,1e9\n"))
	schema := &Schema{Key: "k", AsOf: "d", Fields: []Field{
		{Name: "k", Title: "键", TitleEn: "key", Type: Text}, {Name: "d", Title: "日", TitleEn: "day", Type: Date},
		{Name: "v", Title: "值", TitleEn: "value", Type: Decimal, Scale: 3, Nullable: true, Empty: "无", EmptyEn: "none"}}}
	dir := f.TempDir()
	v, err := openOn(hastyDisk{}, Config{Dir: dir, Now: func() time.Time { return noon }, SortBytes: 200})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		ctx := context.Background()
		d, err := v.Import(ctx, "fuzz", schema, CSV(bytes.NewReader(text)), 0)
		if err != nil {
			var faults Faults
			if !errors.As(err, &faults) || len(faults) == 0 || len(faults) > maxFaults {
				t.Fatalf("not faults: %v", err)
			}
			return
		}
		defer v.disk.remove(d.path)
		if err := d.Verify(ctx); err != nil {
			t.Fatal(err)
		}
		r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(text, []byte("\ufeff"))))
		rows, err := r.ReadAll()
		if err != nil || int64(len(rows)-1) != d.Rows() {
			t.Fatalf("kept %d rows of %d: %v", d.Rows(), len(rows)-1, err)
		}
		for _, row := range rows[1:] {
			for i, name := range rows[0] {
				if name != "k" {
					continue
				}
				if a := d.Lookup(ctx, Query{Key: row[i], Fields: []string{"v"}}); a.Outcome != Found {
					t.Fatalf("key %q: %+v", row[i], a)
				}
			}
		}
		var again bytes.Buffer
		w := csv.NewWriter(&again)
		w.Write(schema.Names())
		values := make([][]byte, len(schema.Fields))
		d.each(ctx, func(_ int64, row []byte) error {
			splitRow(values, row)
			return w.Write([]string{string(values[0]), string(values[1]), string(values[2])})
		})
		w.Flush()
		d2, err := v.Import(ctx, "fuzz", schema, CSV(&again), 0)
		if err != nil || d2.Digest() != d.Digest() {
			t.Fatalf("written out and imported again: %v", err)
		}
	})
}

func BenchmarkImportAndLookup(b *testing.B) {
	const n = 100_000
	var text bytes.Buffer
	text.WriteString(taxHeader)
	for i := range uint32(n) {
		text.WriteString(string(contracts.SyntheticCreditCode(i)) + ",2024-01-01,2024-01-15T09:00:00+08:00,100.50,12,A,false,\n")
	}
	v := newVault(b)
	b.Run("import-100k-rows", func(b *testing.B) {
		for range b.N {
			if _, err := v.Import(context.Background(), "tax", taxSchema(), CSV(bytes.NewReader(text.Bytes())), 0); err != nil {
				b.Fatal(err)
			}
		}
	})
	d, ok := v.Dataset("tax")
	if !ok {
		b.Skip("nothing imported")
	}
	b.Run("lookup-8-fields", func(b *testing.B) {
		fields, i := taxSchema().Names(), uint32(0)
		for range b.N {
			if a := d.Lookup(context.Background(), Query{Key: string(contracts.SyntheticCreditCode(i % n)), Fields: fields}); a.Outcome != Found {
				b.Fatal(a)
			}
			i += 7919
		}
	})
}
