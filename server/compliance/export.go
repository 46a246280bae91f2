package compliance

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/evidence"
	"github.com/bund-exchange/bund/ledger/publish"
)

// Source gives entries as ledger.Ledger does.
type Source interface {
	Entries(ctx context.Context, from uint64, limit int) ([]*ledger.Stored, error)
}

// Exporter makes evidence packages of the whole ledger.
type Exporter struct {
	LedgerID string
	Ledger   Source
	Head     func() (publish.Head, bool)
	Openings interface {
		All(ctx context.Context, fn func(contracts.KeptOpening) error) error
	}
	Signer note.Signer
	Now    func() time.Time
}

// ErrNothingPublished means that there is no head yet that an export could be held against.
var ErrNothingPublished = errors.New("nothing is published yet")

// ErrErased means that something was erased while the export was made: ask again when that is published.
var ErrErased = errors.New("couldn't export: something was erased just now")

// Write makes the package in dir, which must be new or empty.
func (x *Exporter) Write(ctx context.Context, dir, requester, reason string, openings bool) error {
	head, ok := x.Head()
	if !ok || head.Size == 0 {
		return ErrNothingPublished
	}
	w, err := evidence.Create(dir, evidence.Manifest{Ledger: x.LedgerID, Requester: requester, Reason: reason, Made: contracts.Millis(x.Now().UnixMilli())}, x.Signer)
	if err != nil {
		return err
	}
	for at := uint64(0); at < head.Size; {
		es, err := x.Ledger.Entries(ctx, at, int(min(1000, head.Size-at)))
		if err != nil {
			return err
		}
		if len(es) == 0 {
			return fmt.Errorf("couldn't export: the ledger ends at %d, the published head at %d", at, head.Size)
		}
		for _, e := range es {
			if err := w.Entry(e.Encoded); err != nil {
				return err
			}
		}
		at += uint64(len(es))
	}
	if openings {
		if err := x.openings(ctx, w, head.Size); err != nil {
			return err
		}
	}
	return w.Close(head.Signed)
}

// openings adds the openings. One that is erased while the export is made would be missing without an erasure among the
// exported entries, which an audit must call a failure: such an export is not finished.
func (x *Exporter) openings(ctx context.Context, w *evidence.Writer, from uint64) error {
	if err := w.WithOpenings(); err != nil {
		return err
	}
	if err := x.Openings.All(ctx, w.Opening); err != nil {
		return err
	}
	for {
		es, err := x.Ledger.Entries(ctx, from, 1000)
		if err != nil || len(es) == 0 {
			return err
		}
		for _, e := range es {
			if slices.ContainsFunc(e.Events, func(v contracts.Event) bool { return v.Name == "erasure.recorded" }) {
				return ErrErased
			}
		}
		from += uint64(len(es))
	}
}

// Zip is Write into one file of a temporary folder; the caller closes the reader, which removes everything.
func (x *Exporter) Zip(ctx context.Context, requester, reason string, openings bool) (_ io.ReadCloser, size int64, err error) {
	tmp, err := os.MkdirTemp("", "bund-export-")
	if err != nil {
		return nil, 0, fmt.Errorf("couldn't export: %w", err)
	}
	defer func() {
		if err != nil {
			os.RemoveAll(tmp)
		}
	}()
	dir := filepath.Join(tmp, "export")
	if err := x.Write(ctx, dir, requester, reason, openings); err != nil {
		return nil, 0, err
	}
	f, err := os.OpenFile(filepath.Join(tmp, "export.zip"), os.O_CREATE|os.O_RDWR|os.O_EXCL, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("couldn't export: %w", err)
	}
	z := zip.NewWriter(f)
	if err := errors.Join(z.AddFS(os.DirFS(dir)), z.Close()); err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("couldn't export: %w", err)
	}
	size, err = f.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("couldn't export: %w", err)
	}
	return &temporary{f, tmp}, size, nil
}

// temporary is a file whose folder goes with it.
type temporary struct {
	*os.File
	dir string
}

func (t *temporary) Close() error { return errors.Join(t.File.Close(), os.RemoveAll(t.dir)) }
