package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/bund-exchange/bund/ledger"
)

// eachEntry reads the frames of an entries file: length (4 bytes, big-endian) ‖ entry.
func eachEntry(r io.Reader, fn func(position int64, encoded []byte) error) error {
	br := bufio.NewReaderSize(r, 1<<20)
	for position := int64(0); ; position++ {
		var n [4]byte
		if _, err := io.ReadFull(br, n[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("entry %d: %w", position, err)
		}
		size := binary.BigEndian.Uint32(n[:])
		if size > ledger.MaxEntryBytes {
			return fmt.Errorf("entry %d: %d bytes", position, size)
		}
		b := make([]byte, size)
		if _, err := io.ReadFull(br, b); err != nil {
			return fmt.Errorf("entry %d: %w", position, err)
		}
		if err := fn(position, b); err != nil {
			return err
		}
	}
}
