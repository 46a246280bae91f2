package vault

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// A Parquet file says in its own words how much memory to take, and the decoder believes it: one flipped bit can ask
// for gigabytes. So what the words add up to is held against the file before anything is decoded.
const (
	maxParquetFooterBytes = 16 << 20
	maxPageHeaderBytes    = 1 << 20
	maxPageBytes          = 64 << 20 // as decoded
	maxPageExpansion      = 1 << 14  // decoded bytes or values for each byte in the file
)

var errParquet = errors.New("the file's sizes contradict each other")

// checkFooter holds the footer's length against the file's.
func checkFooter(r io.ReaderAt, size int64) error {
	var tail [8]byte
	if size < 12 {
		return errParquet
	}
	if _, err := r.ReadAt(tail[:], size-8); err != nil {
		return err
	}
	if n := int64(binary.LittleEndian.Uint32(tail[:])); string(tail[4:]) != "PAR1" || n > size-12 || n > maxParquetFooterBytes {
		return errParquet
	}
	return nil
}

// checkPages reads the header of every page.
func checkPages(r io.ReaderAt, size int64, f *parquet.File) error {
	rows := int64(0)
	for _, g := range f.Metadata().RowGroups {
		if g.NumRows < 0 || rows+g.NumRows < rows {
			return errParquet
		}
		rows += g.NumRows
		for i := range g.Columns {
			m := &g.Columns[i].MetaData
			// Flat columns have one value a row.
			if m.NumValues != g.NumRows {
				return errParquet
			}
			if err := checkChunk(r, size, m); err != nil {
				return fmt.Errorf("column %d: %w", i, err)
			}
		}
	}
	if rows != f.NumRows() {
		return errParquet
	}
	return nil
}

func checkChunk(r io.ReaderAt, size int64, m *format.ColumnMetaData) error {
	at := m.DataPageOffset
	if m.DictionaryPageOffset != 0 {
		at = m.DictionaryPageOffset
	}
	end := at + m.TotalCompressedSize
	if at < 4 || m.TotalCompressedSize < 0 || end < at || end > size-8 || m.DataPageOffset < at || m.DataPageOffset > end {
		return errParquet
	}
	values := int64(0)
	var buf []byte
	for at < end {
		h, n, err := readPageHeader(r, at, min(end, at+maxPageHeaderBytes), &buf)
		if err != nil {
			return err
		}
		at += n + int64(h.CompressedPageSize)
		if h.CompressedPageSize < 0 || h.UncompressedPageSize < 0 || at > end || h.UncompressedPageSize > maxPageBytes ||
			int64(h.UncompressedPageSize) > (int64(h.CompressedPageSize)+64)*maxPageExpansion {
			return errParquet
		}
		n, ok := pageValues(h)
		if !ok || n < 0 || n > (int64(h.CompressedPageSize)+64)*maxPageExpansion {
			return errParquet
		}
		if h.Type != format.DictionaryPage {
			values += n
		}
	}
	if values != m.NumValues {
		return errParquet
	}
	return nil
}

// pageValues gives how many values a page says it has, and whether its header is of the kind that it names.
func pageValues(h *format.PageHeader) (int64, bool) {
	switch h.Type {
	case format.DictionaryPage:
		d := h.DictionaryPageHeader
		return int64(d.V.NumValues), d.Valid && !h.DataPageHeader.Valid && !h.DataPageHeaderV2.Valid && int64(d.V.NumValues) <= int64(h.UncompressedPageSize)*8
	case format.DataPage:
		return int64(h.DataPageHeader.V.NumValues), h.DataPageHeader.Valid && !h.DictionaryPageHeader.Valid && !h.DataPageHeaderV2.Valid
	case format.DataPageV2:
		v := h.DataPageHeaderV2
		levels := int64(v.V.DefinitionLevelsByteLength) + int64(v.V.RepetitionLevelsByteLength)
		return int64(v.V.NumValues), v.Valid && !h.DictionaryPageHeader.Valid && !h.DataPageHeader.Valid &&
			v.V.NumRows == v.V.NumValues && v.V.NumNulls >= 0 && v.V.NumNulls <= v.V.NumValues &&
			v.V.DefinitionLevelsByteLength >= 0 && v.V.RepetitionLevelsByteLength >= 0 &&
			levels <= int64(h.CompressedPageSize) && levels <= int64(h.UncompressedPageSize)
	}
	return 0, false
}

// readPageHeader reads the header at a place, a little of the file first and more if it is longer.
func readPageHeader(r io.ReaderAt, at, end int64, buf *[]byte) (*format.PageHeader, int64, error) {
	for n := min(1024, end-at); ; n = min(4*n, end-at) {
		if int64(cap(*buf)) < n {
			*buf = make([]byte, n)
		}
		b := (*buf)[:n]
		if _, err := r.ReadAt(b, at); err != nil {
			return nil, 0, err
		}
		h := new(format.PageHeader)
		from := new(thrift.CompactProtocol).NewReaderFromBytes(b)
		err := thrift.NewDecoder(from).Decode(h)
		if err == nil {
			return h, int64(from.BytesRead()), nil
		}
		if n == end-at {
			return nil, 0, err
		}
	}
}
