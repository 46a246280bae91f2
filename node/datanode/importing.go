package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/node/vault"
)

func readSchemaFile(name string) (*vault.Schema, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("couldn't read field dictionary: %w", err)
	}
	s, err := vault.ReadSchema(b)
	if err != nil {
		return nil, fmt.Errorf("couldn't read field dictionary %s: %w", name, err)
	}
	return s, nil
}

func printSchema(c *command) error {
	var file string
	if err := c.flags(func(fs *flag.FlagSet) { fs.StringVar(&file, "schema", "", "") }, "schema"); err != nil {
		return err
	}
	s, err := readSchemaFile(file)
	if err != nil {
		return err
	}
	fmt.Fprintln(c.out, s.Digest())
	return nil
}

// importDataset prints what a dataset.report says: digest, rows, quality figures. How far it has come goes to standard
// error.
func importDataset(c *command) error {
	var file, name, schema, csv, parquet, table, asOf string
	if err := c.flags(func(fs *flag.FlagSet) {
		fs.StringVar(&file, "config", "", "")
		fs.StringVar(&name, "dataset", "", "")
		fs.StringVar(&schema, "schema", "", "")
		fs.StringVar(&csv, "csv", "", "")
		fs.StringVar(&parquet, "parquet", "", "")
		fs.StringVar(&table, "table", "", "")
		fs.StringVar(&asOf, "as-of", "", "")
	}, "config", "dataset", "schema"); err != nil {
		return err
	}
	given := 0
	for _, s := range []string{csv, parquet, table} {
		if s != "" {
			given++
		}
	}
	if given != 1 {
		return &usageError{"want one of --csv, --parquet and --table"}
	}
	at, err := day(asOf)
	if err != nil {
		return err
	}
	cfg, err := ReadConfig(file)
	if err != nil {
		return err
	}
	s, err := readSchemaFile(schema)
	if err != nil {
		return err
	}
	if table != "" && cfg.Postgres == nil {
		return &usageError{"--table needs postgres.dsnFile in the configuration"}
	}
	tables, err := openTables(c.ctx, cfg)
	if err != nil {
		return err
	}
	if tables != nil {
		defer tables.Close()
	}
	var source vault.Source
	show := func(io.Writer) (stop func()) { return func() {} }
	if table != "" {
		source = tableSource(tables, table)
	} else {
		f, err := os.Open(csv + parquet)
		if err != nil {
			return fmt.Errorf("couldn't read dataset: %w", err)
		}
		defer f.Close()
		st, err := f.Stat()
		if err != nil {
			return fmt.Errorf("couldn't read dataset: %w", err)
		}
		read := &progress{f: f, total: st.Size()}
		show = read.show
		source = vault.Parquet(read, st.Size())
		if csv != "" {
			source = vault.CSV(bufio.NewReaderSize(read, 1<<20))
		}
	}
	v, err := vault.Open(vault.Config{Dir: filepath.Join(cfg.Dir, "vault"), Now: time.Now, Tables: tables})
	if err != nil {
		return fmt.Errorf("couldn't open vault (is the node running? import needs it stopped): %w", err)
	}
	defer v.Close()
	stop := show(c.err)
	d, err := v.Import(c.ctx, name, s, source, at)
	stop()
	if faults := vault.Faults(nil); errors.As(err, &faults) {
		for _, f := range faults {
			fmt.Fprintln(c.err, f)
		}
		return fmt.Errorf("nothing was imported: %w", err)
	}
	if err != nil {
		return err
	}
	return printJSON(c.out, map[string]any{"dataset": d.Name, "digest": d.Digest(), "schema": s.Digest(), "rows": d.Rows(), "asOf": d.AsOf, "quality": d.Quality()})
}

// progress counts what is read of a file.
type progress struct {
	f     *os.File
	total int64
	read  atomic.Int64
}

func (p *progress) Read(b []byte) (int, error) {
	n, err := p.f.Read(b)
	p.read.Add(int64(n))
	return n, err
}

func (p *progress) ReadAt(b []byte, off int64) (int, error) {
	n, err := p.f.ReadAt(b, off)
	p.read.Add(int64(n))
	return n, err
}

// progressEvery is how often a long import says how far it has come.
const progressEvery = 5 * time.Second

// show writes a line now and then until it is stopped.
func (p *progress) show(w io.Writer) (stop func()) {
	t := time.NewTicker(progressEvery)
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-end:
				return
			case <-t.C:
				read := p.read.Load()
				if read >= p.total {
					fmt.Fprintln(w, "read, sorting and writing …")
					continue
				}
				fmt.Fprintf(w, "%d of %d MB read\n", read>>20, p.total>>20)
			}
		}
	}()
	return func() {
		t.Stop()
		close(end)
		<-ended
	}
}

func day(s string) (contracts.Millis, error) {
	if s == "" {
		return 0, nil
	}
	d := contracts.Day(s)
	if err := d.Check(); err != nil {
		return 0, &usageError{"--as-of: " + err.Error()}
	}
	return d.Start(), nil
}
