package vault

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/bund-exchange/bund/contracts"
)

// Source is where the rows of an import come from: CSV, Parquet or Postgres. A source is read once.
type Source interface {
	kind() string
	// open checks the columns against the schema. Its errors are a *Fault, Faults, or a failure of reading.
	open(ctx context.Context, s *Schema) (rowReader, error)
}

// rowReader gives a source's rows as text.
type rowReader interface {
	// next gives the next row's values in the schema's order, "" for empty, valid until the next call, and the row's
	// line. After a *Fault it may be called again, to find more of them. It ends with io.EOF.
	next() (values []string, line int64, err error)
	close() error
}

// Import reads a source and makes it the dataset's current snapshot. asOf is the date of the data as a whole, needed
// where the schema has no asOf field and refused where it has one.
//
// When it returns nil, the snapshot is durable. Its error is Faults when the input is bad: then, and after any other
// error, the former snapshot is still the current one. An error wrapping ErrUnconfirmed is the exception: the new
// snapshot may be the current one after the next open.
func (v *Vault) Import(ctx context.Context, name string, schema *Schema, source Source, asOf contracts.Millis) (*Dataset, error) {
	if err := checkName(name); err != nil {
		return nil, fmt.Errorf("couldn't import dataset %q: %w", clip(name), err)
	}
	if err := schema.Check(); err != nil {
		return nil, fmt.Errorf("couldn't import dataset %s: schema: %w", name, err)
	}
	if (asOf == 0) != (schema.AsOf != "") || asOf.Check() != nil {
		return nil, fmt.Errorf("couldn't import dataset %s: want asOf exactly where the schema has no asOf field", name)
	}
	v.importing.Lock()
	defer v.importing.Unlock()
	d, err := v.importInto(ctx, name, schema, source, asOf)
	if err != nil {
		return nil, fmt.Errorf("couldn't import dataset %s: %w", name, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	// The replaced snapshot isn't closed: lookups may be reading it. Its file is closed by the garbage collector when
	// nobody holds it any more, as every os.File is.
	v.open[name] = d
	return d, nil
}

func (v *Vault) importInto(ctx context.Context, name string, schema *Schema, source Source, asOf contracts.Millis) (*Dataset, error) {
	dir := filepath.Join(v.cfg.Dir, name)
	if err := v.disk.mkdir(dir); err != nil {
		return nil, fmt.Errorf("couldn't make folder: %w", err)
	}
	if err := v.disk.syncDir(v.cfg.Dir); err != nil {
		return nil, fmt.Errorf("couldn't sync vault folder: %w", err)
	}
	scratch := newScratch(v.disk, dir)
	defer scratch.cleanUp()

	now := contracts.Millis(v.cfg.Now().UnixMilli())
	in := &intake{schema: schema, now: now, counter: newCounter(schema), rows: newSorter(scratch, v.cfg.SortBytes)}
	if err := in.read(ctx, source); err != nil {
		return nil, err
	}
	if asOf > now {
		return nil, Faults{{Code: ValueFuture, Detail: "the dataset's date is after the import"}}
	}
	digest, path, err := writeSnapshot(ctx, scratch, v.cfg.SortBytes, in)
	if err != nil {
		return nil, err
	}
	if asOf == 0 {
		asOf = in.newest
	}
	m := &manifest{Digest: digest, Source: source.kind(), AsOf: asOf, Imported: now}
	d := &Dataset{Name: name, Source: m.Source, AsOf: m.AsOf, Imported: m.Imported}
	if d.Snapshot, err = v.adopt(scratch, dir, path, m); err != nil {
		return nil, err
	}
	if err := v.copyTable(ctx, d); err != nil {
		d.Close()
		return nil, err
	}
	if err := v.point(scratch, dir, m); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// intake brings values into their canonical form, checks and counts them, and hands the rows to the sorter.
type intake struct {
	schema  *Schema
	now     contracts.Millis
	counter *counter
	rows    *sorter
	newest  contracts.Millis // asOf of all rows
	faults  Faults

	codes               []map[string]bool // by field
	key, asOf, knownAt  int               // indexes, -1 where the schema has none
	sortKeyBuf, lineBuf []byte
}

func (in *intake) read(ctx context.Context, source Source) error {
	in.prepare()
	r, err := source.open(ctx, in.schema)
	if err != nil {
		return faultsOf(err)
	}
	defer r.close()
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		values, line, err := r.next()
		if errors.Is(err, io.EOF) {
			break
		}
		var fault *Fault
		switch {
		case errors.As(err, &fault):
			in.faults = append(in.faults, fault)
		case err != nil:
			return err
		default:
			if err := in.row(values, line); err != nil {
				return err
			}
		}
		if len(in.faults) >= maxFaults {
			break
		}
	}
	if len(in.faults) > 0 {
		return in.faults[:min(len(in.faults), maxFaults)]
	}
	return nil
}

// faultsOf makes one form of an open error: Faults when the input is bad.
func faultsOf(err error) error {
	var one *Fault
	if many := Faults(nil); !errors.As(err, &many) && errors.As(err, &one) {
		return Faults{one}
	}
	return err
}

func (in *intake) prepare() {
	in.key, in.asOf, in.knownAt = in.schema.Index(in.schema.Key), -1, -1
	if in.schema.AsOf != "" {
		in.asOf = in.schema.Index(in.schema.AsOf)
	}
	if in.schema.KnownAt != "" {
		in.knownAt = in.schema.Index(in.schema.KnownAt)
	}
	in.codes = make([]map[string]bool, len(in.schema.Fields))
	for i := range in.schema.Fields {
		in.codes[i] = codeSet(&in.schema.Fields[i])
	}
}

func codeSet(f *Field) map[string]bool {
	set := make(map[string]bool, len(f.Codes))
	for _, c := range f.Codes {
		set[c.Code] = true
	}
	return set
}

// row takes one row; values are overwritten by their canonical texts. Its error is a failure: what is wrong with the
// row goes to in.faults.
func (in *intake) row(values []string, line int64) error {
	before, full := len(in.faults), true
	for i := range values {
		f := &in.schema.Fields[i]
		if values[i] == "" {
			full = false
			if !f.Nullable {
				in.fault(ValueMissing, line, f, "empty, and the schema doesn't allow it")
			}
			continue
		}
		text, code, detail := canonical(f, values[i])
		if code != "" {
			in.fault(code, line, f, detail)
			continue
		}
		values[i] = text
		in.counter.filled[i]++
		if code, detail := conforms(f, text, in.codes[i]); code == "" {
			in.counter.conforming[i]++
		} else if !f.Tolerant {
			in.fault(code, line, f, detail)
		}
	}
	if len(in.faults) > before {
		return nil
	}
	key := values[in.key]
	if len(key) > MaxKeyBytes || strings.TrimSpace(key) != key {
		in.fault(ValueFormat, line, &in.schema.Fields[in.key], "a key has at most "+strconv.Itoa(MaxKeyBytes)+" bytes and no space around it")
		return nil
	}
	asOf, knownAt := in.time(in.asOf, values, line), in.time(in.knownAt, values, line)
	if len(in.faults) > before {
		return nil
	}
	in.newest = max(in.newest, asOf)
	if in.knownAt >= 0 {
		in.counter.times(asOf, knownAt)
	}
	in.counter.rows++
	if full {
		in.counter.full++
	}
	// The line travels with the row, so that a duplicate found after sorting can name both lines.
	in.sortKeyBuf = sortKey(in.sortKeyBuf[:0], key, asOf, knownAt)
	in.lineBuf = appendRow(binary.AppendUvarint(in.lineBuf[:0], uint64(line)), values)
	return in.rows.add(in.sortKeyBuf, in.lineBuf)
}

// time reads an asOf or knownAt field, 0 where there is none.
func (in *intake) time(i int, values []string, line int64) contracts.Millis {
	if i < 0 {
		return 0
	}
	f := &in.schema.Fields[i]
	t := millisOf(f.Type, values[i])
	if t == 0 || t.Check() != nil || t > in.now {
		in.fault(ValueFuture, line, f, "later than the import, or outside 2000–2199")
	}
	return t
}

func (in *intake) fault(code FaultCode, line int64, f *Field, detail string) {
	in.faults = append(in.faults, &Fault{Code: code, Line: line, Field: f.Name, Detail: detail})
}
