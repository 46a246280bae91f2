package vault

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// shakyDisk is the real file system until step failAt. That step fails, before or after it took effect, and so does
// everything after it; then what was not synced is dropped: bytes of files, and names by renaming back.
type shakyDisk struct {
	steps, failAt int
	happened      bool // the failing step took effect all the same
	failed        bool
	files         map[string]*shakyFile
	renames       []func() // undo what no syncDir made durable
}

var errShaky = errors.New("the disk is full")

type shakyFile struct {
	*os.File
	d      *shakyDisk
	path   string
	synced int64
	size   int64
}

// step reports whether the step may take effect and whether it may say so.
func (d *shakyDisk) step() (do, ok bool) {
	d.steps++
	switch {
	case d.failed:
		return false, false
	case d.steps == d.failAt:
		d.failed = true
		return d.happened, false
	}
	return true, true
}

func (d *shakyDisk) run(f func() error) error {
	do, ok := d.step()
	if do {
		if err := f(); err != nil {
			return err
		}
	}
	if !ok {
		return errShaky
	}
	return nil
}

func (d *shakyDisk) create(path string) (file, error) {
	var f *shakyFile
	err := d.run(func() error {
		o, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		f = &shakyFile{File: o, d: d, path: path}
		return err
	})
	if f != nil {
		d.files[path] = f
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (d *shakyDisk) rename(from, to string) error {
	return d.run(func() error {
		old, oldErr := os.ReadFile(to)
		if err := os.Rename(from, to); err != nil {
			return err
		}
		f := d.files[from]
		delete(d.files, from)
		f.path = to
		d.files[to] = f
		d.renames = append(d.renames, func() {
			os.Rename(to, from)
			f.path = from
			if oldErr == nil {
				os.WriteFile(to, old, 0o600)
			}
		})
		return nil
	})
}

func (d *shakyDisk) remove(path string) error {
	return d.run(func() error { delete(d.files, path); return os.Remove(path) })
}

func (d *shakyDisk) mkdir(path string) error {
	return d.run(func() error { return os.MkdirAll(path, 0o700) })
}

func (d *shakyDisk) syncDir(string) error { return d.run(func() error { d.renames = nil; return nil }) }

func (f *shakyFile) Write(p []byte) (int, error) {
	err := f.d.run(func() error {
		_, err := f.File.Write(p)
		f.size += int64(len(p))
		return err
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f *shakyFile) Sync() error { return f.d.run(func() error { f.synced = f.size; return nil }) }

// powerLoss drops what was not synced.
func (d *shakyDisk) powerLoss() {
	for i := len(d.renames) - 1; i >= 0; i-- {
		d.renames[i]()
	}
	for _, f := range d.files {
		os.Truncate(f.path, f.synced)
	}
}

// TestImportSurvivesAnyStep fails an import at each of its steps, loses power or not, and opens again: the former
// snapshot or the new one, whole; and what Import said was true.
func TestImportSurvivesAnyStep(t *testing.T) {
	old, text := taxHeader+taxRows[3], taxHeader+strings.Join(taxRows, "")
	for _, happened := range []bool{false, true} {
		for _, loss := range []bool{false, true} {
			for failAt := 1; ; failAt++ {
				dir := t.TempDir()
				cfg := Config{Dir: dir, Now: func() time.Time { return noon }, SortBytes: 600} // the sort spills
				v, err := Open(cfg)
				if err != nil {
					t.Fatal(err)
				}
				before := importCSV(t, v, "tax", taxSchema(), old)
				v.Close()

				d := &shakyDisk{failAt: failAt, happened: happened, files: map[string]*shakyFile{}}
				if v, err = openOn(d, cfg); err != nil {
					t.Fatal(err)
				}
				after, err := v.Import(context.Background(), "tax", taxSchema(), CSV(strings.NewReader(text)), 0)
				unknown := errors.Is(err, ErrUnconfirmed)
				if err != nil && !unknown {
					if now, _ := v.Dataset("tax"); now.Digest() != before.Digest() {
						t.Errorf("step %d: a failed import changed what lookups use", failAt)
					}
					if !errors.Is(err, errShaky) {
						t.Fatalf("step %d: %v", failAt, err)
					}
				}
				v.Close()
				if loss {
					d.powerLoss()
				}
				v, openErr := Open(cfg)
				if openErr != nil {
					t.Fatalf("step %d, happened %v, power loss %v: %v", failAt, happened, loss, openErr)
				}
				got, ok := v.Dataset("tax")
				if !ok {
					t.Fatalf("step %d: the dataset is gone", failAt)
				}
				if err := got.Verify(context.Background()); err != nil {
					t.Errorf("step %d: %v", failAt, err)
				}
				switch isOld, isNew := got.Rows() == 1, got.Rows() == 4; {
				case err == nil && (!isNew || got.Digest() != after.Digest()):
					t.Errorf("step %d: the import was confirmed and is lost", failAt)
				// A rename that failed and happened all the same is kept by nobody's word; both are whole.
				case err != nil && !unknown && !isOld && !happened, !isOld && !isNew:
					t.Errorf("step %d: got %d rows after %v", failAt, got.Rows(), err)
				}
				// The next import works.
				importCSV(t, v, "tax", taxSchema(), text)
				v.Close()
				if d.steps < failAt {
					if failAt < 12 {
						t.Fatalf("only %d steps; is the disk used at all?", d.steps)
					}
					break
				}
			}
		}
	}
}

// FuzzOpenSnapshot: no bytes make opening, verifying or reading a snapshot panic or take memory without bound.
func FuzzOpenSnapshot(f *testing.F) {
	v, err := Open(Config{Dir: f.TempDir(), Now: func() time.Time { return noon }})
	if err != nil {
		f.Fatal(err)
	}
	d, err := v.Import(context.Background(), "tax", taxSchema(), CSV(strings.NewReader(taxHeader+strings.Join(taxRows, ""))), 0)
	if err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(d.path)
	if err != nil {
		f.Fatal(err)
	}
	v.Close()
	f.Add(good, -1, byte(0))
	f.Add(good, 0, byte(0))
	f.Add(good[:len(good)/2], 3, byte(1))
	f.Add([]byte(fileMagic+fileMagic), 1, byte(255))
	path := snapshotPath(f.TempDir(), d.Digest())
	f.Fuzz(func(t *testing.T, b []byte, at int, to byte) {
		if b = slices.Clone(b); at >= 0 && at < len(b) {
			b[at] = to
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := openSnapshot(path)
		same := string(b) == string(good)
		if err != nil {
			if same {
				t.Fatal(err)
			}
			return
		}
		defer s.Close()
		if verified := s.Verify(context.Background()) == nil; verified != same {
			t.Fatalf("verified %v, unchanged %v", verified, same)
		}
		s.Lookup(context.Background(), Query{Key: alpha, Fields: []string{s.Schema().Key}})
	})
}
