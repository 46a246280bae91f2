package evidence

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
)

// EachEntry calls fn with every encoded entry of an export, in order. It verifies nothing; fn may end the reading with
// an error of its own.
func EachEntry(dir string, fn func(position uint64, encoded []byte) error) error {
	f, err := os.Open(filepath.Join(dir, EntriesFile))
	if err != nil {
		return fmt.Errorf("couldn't read the export: %w", err)
	}
	defer f.Close()
	fr := frames{r: bufio.NewReaderSize(f, 256<<10), limit: ledger.MaxEntryBytes}
	for position := uint64(0); ; position++ {
		at := fr.at
		b, err := fr.next(&arena{})
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("couldn't read the export: %s: offset %d: %w", EntriesFile, at, err)
		}
		if err := fn(position, b); err != nil {
			return err
		}
	}
}

// EachOpening calls fn with every opening of an export; with none when it has no openings. Their commitments fit, and
// nothing else is verified.
func EachOpening(dir string, fn func(contracts.KeptOpening) error) error {
	f, err := os.Open(filepath.Join(dir, OpeningsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("couldn't read the export: %w", err)
	}
	defer f.Close()
	fr := frames{r: bufio.NewReaderSize(f, 256<<10), limit: maxOpening}
	for {
		at := fr.at
		b, err := fr.next(&arena{})
		if err == io.EOF {
			return nil
		}
		var k contracts.KeptOpening
		if err == nil {
			k, err = DecodeOpening(b)
		}
		if err != nil {
			return fmt.Errorf("couldn't read the export: %s: offset %d: %w", OpeningsFile, at, err)
		}
		if err := fn(k); err != nil {
			return err
		}
	}
}
