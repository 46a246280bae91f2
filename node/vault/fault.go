package vault

import (
	"fmt"
	"strings"
)

// FaultCode is the stable name of what is wrong with a source.
type FaultCode string

// The codes. File and header faults concern the source as a whole, the others one line or value.
const (
	FileEmpty       FaultCode = "file.empty"       // not even a header
	FileEncoding    FaultCode = "file.encoding"    // UTF-16 or UTF-32 instead of UTF-8
	FileFormat      FaultCode = "file.format"      // not a file of this kind, or damaged
	HeaderUnknown   FaultCode = "header.unknown"   // a column that the schema doesn't have
	HeaderMissing   FaultCode = "header.missing"   // a field of the schema without column
	HeaderDuplicate FaultCode = "header.duplicate" // a column twice
	ColumnType      FaultCode = "column.type"      // a typed source's column can't hold the field
	RowRagged       FaultCode = "row.ragged"       // more or fewer values than the header
	RowBlank        FaultCode = "row.blank"        // a line without anything between other lines
	RowQuote        FaultCode = "row.quote"        // a quotation mark out of place
	RowTooLong      FaultCode = "row.too_long"
	ValueEncoding   FaultCode = "value.encoding" // not UTF-8
	ValueControl    FaultCode = "value.control"  // a control character other than tab and line feed
	ValueTooLong    FaultCode = "value.too_long"
	ValueMissing    FaultCode = "value.missing" // empty where the schema doesn't allow it
	ValueType       FaultCode = "value.type"    // not written as the field's type is
	ValueScale      FaultCode = "value.scale"   // more decimal places than the schema says
	ValueCode       FaultCode = "value.code"    // not in the code list
	ValueFormat     FaultCode = "value.format"  // not of the field's format
	ValueFuture     FaultCode = "value.future"  // a fact from after the import, or outside 2000–2199
	KeyDuplicate    FaultCode = "key.duplicate" // two rows with the same key, asOf and knownAt
	KeyTooMany      FaultCode = "key.too_many"  // the rows of one key exceed MaxGroupBytes
)

// Fault is one thing that is wrong with a source. Detail never holds a value: values are the owner's, and faults are
// logged.
type Fault struct {
	Code   FaultCode
	Line   int64  // from 1: the line of a CSV file, the row of a table; 0 where no line is at fault
	Column int    // byte in the line from 1, or 0
	Field  string // or ""
	Detail string
}

func (f *Fault) Error() string {
	var b strings.Builder
	b.WriteString(string(f.Code))
	if f.Line > 0 {
		fmt.Fprintf(&b, ": line %d", f.Line)
	}
	if f.Column > 0 {
		fmt.Fprintf(&b, ", column %d", f.Column)
	}
	if f.Field != "" {
		fmt.Fprintf(&b, ": field %s", f.Field)
	}
	b.WriteString(": " + f.Detail)
	return b.String()
}

// maxFaults ends an import: whoever has that many has a wrong file, not a few bad lines.
const maxFaults = 20

// Faults is the error of an import that bad input ended. Nothing of the source was kept. It holds at least one fault
// and at most maxFaults, in the order in which they were found.
type Faults []*Fault

func (f Faults) Error() string {
	if len(f) == 1 {
		return f[0].Error()
	}
	return fmt.Sprintf("%s (and %d more)", f[0].Error(), len(f)-1)
}

// Unwrap lets errors.As find the first fault.
func (f Faults) Unwrap() error { return f[0] }
