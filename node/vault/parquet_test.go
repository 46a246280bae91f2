package vault

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"io"
	"math"
	"math/big"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/bund-exchange/bund/contracts"
)

type taxRecord struct {
	Red      bool    `parquet:"red"`
	Code     string  `parquet:"code"`
	Month    int32   `parquet:"month,date"`
	Filed    int64   `parquet:"filed,timestamp(millisecond)"`
	Invoiced *int64  `parquet:"invoiced,decimal(2:18),optional"`
	Staff    *int32  `parquet:"staff,optional"`
	Level    *string `parquet:"level,optional"`
	Note     string  `parquet:"note,optional"`
}

func ptr[T any](v T) *T { return &v }

func epochDay(t *testing.T, day string) int32 {
	t.Helper()
	d, err := time.Parse(time.DateOnly, day)
	if err != nil {
		t.Fatal(err)
	}
	return int32(d.Unix() / 86400)
}

// taxRecords is taxRows, turned around.
func taxRecords(t *testing.T) []taxRecord {
	at := func(s string) int64 {
		d, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return d.UnixMilli()
	}
	return []taxRecord{
		{Code: beta, Month: epochDay(t, "2024-02-01"), Filed: at("2024-01-31T00:00:00Z"), Staff: ptr(int32(0))},
		{Code: alpha, Month: epochDay(t, "2024-02-01"), Filed: at("2024-02-18T09:00:00.250+08:00"), Invoiced: ptr(int64(-700)), Level: ptr("X"), Note: "行一\n行二"},
		{Code: alpha, Month: epochDay(t, "2024-01-01"), Filed: at("2024-03-10T09:00:00+08:00"), Invoiced: ptr(int64(9050)), Staff: ptr(int32(12)), Level: ptr("A"), Red: true, Note: "corrected, twice"},
		{Code: alpha, Month: epochDay(t, "2024-01-01"), Filed: at("2024-01-15T09:00:00+08:00"), Invoiced: ptr(int64(10050)), Staff: ptr(int32(12)), Level: ptr("A")},
	}
}

func writeParquet[T any](t testing.TB, rows []T, options ...parquet.WriterOption) []byte {
	t.Helper()
	var b bytes.Buffer
	w := parquet.NewGenericWriter[T](&b, options...)
	if _, err := w.Write(rows); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func importParquet(v *Vault, schema *Schema, b []byte) (*Dataset, error) {
	asOf := contracts.Millis(0)
	if schema.AsOf == "" {
		asOf = ms(noon)
	}
	return v.Import(context.Background(), "tax", schema, Parquet(bytes.NewReader(b), int64(len(b))), asOf)
}

func TestParquetGivesTheDigestOfCSV(t *testing.T) {
	v := newVault(t)
	want := importCSV(t, v, "csv", taxSchema(), taxHeader+strings.Join(taxRows, ""))
	for name, options := range map[string][]parquet.WriterOption{
		"plain":        nil,
		"two groups":   {parquet.MaxRowsPerRowGroup(3)},
		"zstd, small":  {parquet.Compression(&parquet.Zstd), parquet.PageBufferSize(16)},
		"format of v2": {parquet.DataPageVersion(2)},
	} {
		d, err := importParquet(v, taxSchema(), writeParquet(t, taxRecords(t), options...))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := d.Verify(context.Background()); err != nil || d.Digest() != want.Digest() || d.Source != "parquet" {
			t.Errorf("%s: %d rows of %s with digest %s, want %s: %v", name, d.Rows(), d.Source, d.Digest(), want.Digest(), err)
		}
	}
}

func TestParquetNumbers(t *testing.T) {
	schema := &Schema{Key: "k", Fields: []Field{{Name: "k", Title: "键", TitleEn: "key", Type: Text}}}
	for _, name := range []string{"f", "d", "big", "u", "n"} {
		schema.Fields = append(schema.Fields, Field{Name: name, Title: name, TitleEn: name, Type: Decimal, Scale: 18})
	}
	type numbers struct {
		K   string   `parquet:"k"`
		F   float32  `parquet:"f"`
		D   float64  `parquet:"d"`
		Big [11]byte `parquet:"big,decimal(3:24)"`
		U   uint64   `parquet:"u"`
		N   int64    `parquet:"n"`
	}
	var minus [11]byte // -1.001
	two := new(big.Int).Lsh(big.NewInt(1), 88)
	two.Sub(two, big.NewInt(1001)).FillBytes(minus[:])
	d, err := importParquet(newVault(t), schema, writeParquet(t, []numbers{{"a", 0.1, 1e-7, minus, 1<<64 - 1, -1 << 63}}))
	if err != nil {
		t.Fatal(err)
	}
	a := d.Lookup(context.Background(), Query{Key: "a", Fields: []string{"f", "d", "big", "u", "n"}})
	want := []string{"0.1", "0.0000001", "-1.001", "18446744073709551615", "-9223372036854775808"}
	for i, v := range a.Values {
		if v.Text != want[i] {
			t.Errorf("%s: got %s, want %s", v.Field, v.Text, want[i])
		}
	}
	if len(a.Values) != len(want) {
		t.Fatalf("got %+v", a)
	}
	for _, c := range []struct {
		n     int64
		scale int
		want  string
	}{{5, 0, "5"}, {5, 1, "0.5"}, {-5, 3, "-0.005"}, {0, 2, "0.00"}, {12345, 2, "123.45"}} {
		if got := scaled(big.NewInt(c.n), c.scale); got != c.want {
			t.Errorf("%d·10^-%d: got %s, want %s", c.n, c.scale, got, c.want)
		}
	}
}

// TestParquetSizesAreNotBelieved: a file whose words ask for gigabytes is a fault before they are taken.
func TestParquetSizesAreNotBelieved(t *testing.T) {
	good := writeParquet(t, taxRecords(t))
	footer := bytes.Clone(good)
	copy(footer[len(footer)-8:], "\xf0\xff\xff\xff")
	// The first page header begins at 4: field 1 (type), then field 2 is the size as decoded, a varint.
	if good[4] != 0x15 || good[6] != 0x15 {
		t.Fatalf("the first page header begins with % x", good[4:12])
	}
	page := slices.Concat(good[:7], []byte("\xfe\xff\xff\xff\x0f"), good[8:])
	for name, b := range map[string][]byte{"footer": footer, "page": page} {
		v := newVault(t)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := importParquet(v, taxSchema(), b)
		runtime.ReadMemStats(&after)
		var faults Faults
		if taken := after.TotalAlloc - before.TotalAlloc; !errors.As(err, &faults) || faults[0].Code != FileFormat || taken > 100<<20 {
			t.Errorf("%s: got %v after %d bytes", name, err, taken)
		}
	}
}

func TestParquetFaults(t *testing.T) {
	good := writeParquet(t, taxRecords(t))
	type lists struct {
		K []string `parquet:"k"`
	}
	type local struct {
		K string `parquet:"k"`
		T int64  `parquet:"t,timestamp(microsecond:local)"`
	}
	type fine struct {
		K string `parquet:"k"`
		T int64  `parquet:"t,timestamp(nanosecond)"`
	}
	type double struct {
		K string  `parquet:"k"`
		T float64 `parquet:"t"`
	}
	schema := func(typ Type) *Schema {
		return &Schema{Key: "k", Fields: []Field{{Name: "k", Title: "键", TitleEn: "key", Type: Text}, {Name: "t", Title: "值", TitleEn: "value", Type: typ}}}
	}
	one := &Schema{Key: "k", Fields: schema(Text).Fields[:1]}
	for name, c := range map[string]struct {
		schema *Schema
		file   []byte
		code   FaultCode
		line   int64
		field  string
	}{
		"nothing":           {taxSchema(), nil, FileFormat, 0, ""},
		"CSV":               {taxSchema(), []byte(taxHeader + taxRows[0]), FileFormat, 0, ""},
		"cut":               {taxSchema(), good[:len(good)-1], FileFormat, 0, ""},
		"other columns":     {one, good, HeaderUnknown, 1, "red"},
		"list":              {one, writeParquet(t, []lists{{[]string{"a"}}}), ColumnType, 0, "k"},
		"local time":        {schema(Instant), writeParquet(t, []local{{"a", 1}}), ColumnType, 0, "t"},
		"time as date":      {schema(Date), writeParquet(t, []fine{{"a", 1}}), ColumnType, 0, "t"},
		"double as integer": {schema(Integer), writeParquet(t, []double{{"a", 1}}), ColumnType, 0, "t"},
		"too fine":          {schema(Instant), writeParquet(t, []fine{{"a", 1e6}, {"b", 1}}), ValueType, 2, "t"},
		"infinite":          {schema(Decimal), writeParquet(t, []double{{"a", math.Inf(1)}}), ValueType, 1, "t"},
		"huge":              {schema(Decimal), writeParquet(t, []double{{"a", 1e50}}), ValueType, 1, "t"},
		"empty key":         {schema(Decimal), writeParquet(t, []double{{"", 1}}), ValueMissing, 1, "k"},
		"same key":          {schema(Decimal), writeParquet(t, []double{{"a", 1}, {"a", 1}}), KeyDuplicate, 2, "k"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := importParquet(newVault(t), c.schema, c.file)
			var faults Faults
			if !errors.As(err, &faults) {
				t.Fatalf("got %v, want faults", err)
			}
			if f := faults[0]; f.Code != c.code || f.Line != c.line || f.Field != c.field {
				t.Errorf("got %+v, want %s in row %d, field %q", f, c.code, c.line, c.field)
			}
		})
	}
}

type failingReaderAt struct{ err error }

func (f failingReaderAt) ReadAt([]byte, int64) (int, error) { return 0, f.err }

func TestParquetReadingFailureIsNoFault(t *testing.T) {
	broken := errors.New("pulled the plug")
	_, err := newVault(t).Import(context.Background(), "tax", taxSchema(), Parquet(failingReaderAt{broken}, 1000), 0)
	var faults Faults
	if !errors.Is(err, broken) || errors.As(err, &faults) {
		t.Errorf("got %v", err)
	}
}

// FuzzImportParquet: a damaged file gives Faults, or rows that can be written as CSV and have the same digest then.
func FuzzImportParquet(f *testing.F) {
	type record struct {
		K string  `parquet:"k"`
		V float64 `parquet:"v,optional"`
	}
	schema := &Schema{Key: "k", Fields: []Field{{Name: "k", Title: "键", TitleEn: "key", Type: Text},
		{Name: "v", Title: "值", TitleEn: "value", Type: Decimal, Scale: 18, Nullable: true, Empty: "无", EmptyEn: "none"}}}
	f.Add(writeParquet(f, []record{{"a", 1.5}, {"b", 0}}), 40, byte(7))
	f.Add(writeParquet(f, []record{{"a", 1.5}, {"啊", -2}}, parquet.Compression(&parquet.Snappy)), 0, byte('P'))
	type compact struct {
		K string  `parquet:"k,dict"`
		V float64 `parquet:"v,dict,optional"`
	}
	f.Add(writeParquet(f, []compact{{"a", 1.5}, {"b", 1.5}}, parquet.DataPageVersion(2), parquet.Compression(&parquet.Zstd)), 4, byte(255))
	f.Add([]byte("PAR1PAR1"), 0, byte(0))
	v, err := openOn(hastyDisk{}, Config{Dir: f.TempDir(), Now: func() time.Time { return noon }})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte, at int, to byte) {
		if b = bytes.Clone(b); at >= 0 && at < len(b) {
			b[at] = to
		}
		d, err := importParquet(v, schema, b)
		if err != nil {
			var faults Faults
			if !errors.As(err, &faults) {
				t.Fatalf("not faults: %v", err)
			}
			return
		}
		defer os.Remove(d.path)
		var text bytes.Buffer
		w := csv.NewWriter(&text)
		w.Write(schema.Names())
		values := make([][]byte, 2)
		d.each(context.Background(), func(_ int64, row []byte) error {
			splitRow(values, row)
			return w.Write([]string{string(values[0]), string(values[1])})
		})
		w.Flush()
		again, err := v.Import(context.Background(), "tax", schema, CSV(io.Reader(&text)), ms(noon))
		if err != nil || again.Digest() != d.Digest() {
			t.Fatalf("another digest from CSV: %v", err)
		}
	})
}
