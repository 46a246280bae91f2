package blocks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/golang/protobuf/proto"
	"github.com/hyperledger/fabric-protos-go/common"
)

// FileName is the name of a block in an export: a folder in which each block is one file, as a peer stores it.
func FileName(number uint64) string { return fmt.Sprintf("%012d.block", number) }

// Stream gives take blocks in order from a number on, each as a peer stores it. It ends with the error of take; one that
// ends without an error had no more blocks to give.
type Stream func(ctx context.Context, from uint64, take func(*common.Block) error) error

// errFull ends a stream that has given enough.
var errFull = errors.New("the export has all its blocks")

// Export writes the blocks below height to a folder, and gives how many were new. It goes on where an earlier run
// stopped: a file has a block's name only when it is whole.
func Export(ctx context.Context, dir string, height uint64, stream Stream) (written uint64, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, fmt.Errorf("couldn't create the export's folder: %w", err)
	}
	next, prev, err := resume(dir, height)
	if err != nil {
		return 0, err
	}
	if next >= height {
		return 0, nil
	}
	err = stream(ctx, next, func(b *common.Block) error {
		h := b.GetHeader()
		switch {
		case h == nil:
			return fmt.Errorf("couldn't export block %d: it has no header", next)
		case h.Number != next:
			return fmt.Errorf("couldn't export block %d: got block %d", next, h.Number)
		case next > 0 && string(h.PreviousHash) != string(prev[:]):
			return fmt.Errorf("couldn't export block %d: it does not follow the block before it in the folder", next)
		}
		encoded, err := proto.Marshal(b)
		if err != nil {
			return fmt.Errorf("couldn't export block %d: %w", next, err)
		}
		if err := writeWhole(dir, FileName(next), encoded); err != nil {
			return fmt.Errorf("couldn't export block %d: %w", next, err)
		}
		prev, next, written = HeaderHash(h), next+1, written+1
		if next == height {
			return errFull
		}
		return ctx.Err()
	})
	if err != nil && !errors.Is(err, errFull) {
		return written, err
	}
	if next < height {
		return written, fmt.Errorf("couldn't export block %d: the stream ended", next)
	}
	// A name that a crash takes back leaves a gap; the next run begins at the first gap.
	return written, syncDir(dir)
}

// resume gives the first block that the folder lacks, and the hash of the one before it.
func resume(dir string, height uint64) (next uint64, prev [32]byte, err error) {
	for ; next < height; next++ {
		if _, err := os.Stat(filepath.Join(dir, FileName(next))); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return 0, prev, fmt.Errorf("couldn't read the export: %w", err)
		}
	}
	if next == 0 {
		return 0, prev, nil
	}
	b, err := os.ReadFile(filepath.Join(dir, FileName(next-1)))
	if err != nil {
		return 0, prev, fmt.Errorf("couldn't read the export: %w", err)
	}
	last, err := Parse(b)
	if err != nil {
		return 0, prev, fmt.Errorf("couldn't go on with the export: %s: %w", FileName(next-1), err)
	}
	return next, HeaderHash(last.Header), nil
}

// writeWhole gives a file its name when all of it is durable.
func writeWhole(dir, name string, b []byte) error {
	f, err := os.CreateTemp(dir, ".block-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // nothing after the rename
	if _, err := f.Write(b); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(dir, name))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("couldn't finish the export: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("couldn't finish the export: %w", err)
	}
	return nil
}
