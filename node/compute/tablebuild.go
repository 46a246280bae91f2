package compute

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"github.com/parquet-go/parquet-go"
)

// tableGroupRows is the size of a row group: what one thread of an engine reads at a time.
const tableGroupRows = 1 << 17

// buildTable writes a working table. Its header is written last, when the file it is about is durable.
func buildTable(ctx context.Context, dir, path string, src Source) (h *header, err error) {
	if src.Rows() > maxTableRows {
		return nil, fmt.Errorf("a dataset to compute on has %d rows at most", maxTableRows)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("couldn't make folder: %w", err)
	}
	h = &header{Version: tableVersion, Snapshot: src.Digest()}
	var fields []int
	if h.Columns, fields, err = columnsOf(ctx, src); err != nil {
		return nil, fmt.Errorf("couldn't list texts: %w", err)
	}
	err = writeFile(path, func(w io.Writer) error {
		out := &measured{w: w, sum: crc32.New(castagnoli)}
		if err := writeRows(ctx, out, src, h, fields); err != nil {
			return err
		}
		h.Size, h.CRC = out.n, out.sum.Sum32()
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("couldn't write rows: %w", err)
	}
	b, err := encodeHeader(h)
	if err != nil {
		return nil, err
	}
	if err := writeFile(headerPath(path), func(w io.Writer) error { _, err := w.Write(b); return err }); err != nil {
		return nil, fmt.Errorf("couldn't write header: %w", err)
	}
	return h, nil
}

type measured struct {
	w   io.Writer
	n   int64
	sum hash.Hash32
}

func (m *measured) Write(b []byte) (int, error) {
	n, err := m.w.Write(b)
	m.n += int64(n)
	m.sum.Write(b[:n])
	return n, err
}

// writeFile writes a file that is there whole and durable, or not at all.
func writeFile(path string, write func(io.Writer) error) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "tmp-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	if err := write(w); err != nil {
		return err
	}
	if err := errors.Join(w.Flush(), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// tableSchema names the columns. Parquet sorts them by name, which puts the fields' first, then rank, then subject.
func tableSchema(columns []column) *parquet.Schema {
	g := parquet.Group{subjectName: number32(), rankName: number32()}
	for i, c := range columns {
		g[columnName(i)] = number32()
		if c.Wide {
			g[columnName(i)] = plain(parquet.Int(64))
		}
	}
	return parquet.NewSchema("bund", g)
}

func number32() parquet.Node { return plain(parquet.Int(32)) }

// plain columns cost an engine nothing to decode; the disk is the provider's own.
func plain(n parquet.Node) parquet.Node {
	return parquet.Compressed(parquet.Encoded(n, &parquet.Plain), &parquet.Uncompressed)
}

func writeRows(ctx context.Context, w io.Writer, src Source, h *header, fields []int) error {
	out := parquet.NewGenericWriter[any](w, tableSchema(h.Columns), parquet.MaxRowsPerRowGroup(tableGroupRows), parquet.PageBufferSize(1<<20))
	b := &tableBuilder{out: out, h: h, fields: fields, schema: src.Schema(), key: src.Schema().Index(src.Schema().Key), places: make([]map[string]int64, len(fields))}
	for i := range h.Columns {
		if list := h.Columns[i].List; list != nil {
			b.places[i] = make(map[string]int64, len(list))
			for n, t := range list {
				b.places[i][t] = int64(n)
			}
		}
	}
	if err := src.Each(ctx, b.row); err != nil {
		return err
	}
	if err := b.subjectEnds(); err != nil {
		return err
	}
	return out.Close()
}
