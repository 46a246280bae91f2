package envelope

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
)

const (
	// ChunkBytes is how much of the content one chunk holds; the last one may hold less.
	ChunkBytes = 1 << 20
	// SealedChunkBytes is the size of a sealed chunk that isn't the last.
	SealedChunkBytes = ChunkBytes + tagBytes

	format       = "bund/envelope/v1 DHKEM(X25519,HKDF-SHA256) HKDF-SHA256 AES-256-GCM"
	chunkContext = "bund/envelope/v1 chunks"

	// maxBytes bounds a file's content at 1 TiB.
	maxBytes = 1 << 40
)

// Binding is what a sealed file belongs to. It opens for nothing else.
type Binding struct {
	Agreement contracts.ID   `json:"agreement"`
	Version   contracts.ID   `json:"version"`   // of the product
	Dataset   contracts.Hash `json:"dataset"`   // digest of the dataset snapshot
	Recipient contracts.ID   `json:"recipient"` // id of the recipient's HPKE key
}

// Header stands before the chunks, in canonical JSON, and every chunk is bound to its bytes.
type Header struct {
	Binding    Binding `json:"binding"`
	ChunkBytes int64   `json:"chunkBytes"`
	Enc        []byte  `json:"enc"` // HPKE's encapsulated key
	Format     string  `json:"format"`
}

// Check reports a header of another format.
func (h Header) Check() error {
	switch {
	case h.Format != format:
		return fmt.Errorf("format is %q", format)
	case h.ChunkBytes != ChunkBytes:
		return fmt.Errorf("chunkBytes is %d", ChunkBytes)
	case len(h.Enc) != encBytes:
		return fmt.Errorf("enc has %d bytes", encBytes)
	}
	return nil
}

// Bytes gives the header's one form.
func (h Header) Bytes() []byte { return canon.Marshal(h) }

// Manifest says what a sealed file is, before any of it was fetched. Whoever answers with it can't deliver another.
type Manifest struct {
	Bytes   int64          `json:"bytes"` // of the content
	Chunks  int64          `json:"chunks"`
	Content contracts.Hash `json:"content"` // SHA-256 of the content
	Digest  contracts.Hash `json:"digest"`  // SHA-256 of the sealed file
	Header  Header         `json:"header"`
}

// Check reports sizes that contradict each other.
func (m Manifest) Check() error {
	if m.Bytes < 0 || m.Bytes > maxBytes {
		return errors.New("bytes is 0 to 2^40")
	}
	if m.Chunks != chunksOf(m.Bytes) {
		return errors.New("chunks is what bytes makes in chunks of chunkBytes, one at least")
	}
	return nil
}

// EncodeManifest gives a manifest's one form, canonical JSON.
func EncodeManifest(m Manifest) []byte { return canon.Marshal(m) }

// DecodeManifest reads exactly what EncodeManifest writes.
func DecodeManifest(b []byte) (Manifest, error) {
	var m Manifest
	if err := canon.Unmarshal(b, &m); err != nil {
		return Manifest{}, refuse(BadForm, "the manifest: %v", err)
	}
	return m, nil
}

func chunksOf(bytes int64) int64 { return max(1, (bytes+ChunkBytes-1)/ChunkBytes) }

// SealedBytes is the size of the whole sealed file.
func (m Manifest) SealedBytes() int64 {
	return m.start() + m.Bytes + m.Chunks*tagBytes
}

// Chunk says where chunk seq stands in the sealed file, from 0.
func (m Manifest) Chunk(seq int64) (offset, size int64, err error) {
	if seq < 0 || seq >= m.Chunks {
		return 0, 0, refuse(BadChunk, "the file has chunks 0 to %d", m.Chunks-1)
	}
	size = ChunkBytes
	if seq == m.Chunks-1 {
		size = m.Bytes - seq*ChunkBytes
	}
	return m.start() + seq*SealedChunkBytes, size + tagBytes, nil
}

// Prefix is what stands before the first chunk.
func (m Manifest) Prefix() []byte { return prefix(m.Header.Bytes()) }

func (m Manifest) start() int64 { return lengthBytes + int64(len(m.Header.Bytes())) }

// lengthBytes is the size of what stands before a header: its length, big-endian.
const lengthBytes = 4

func prefix(header []byte) []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, lengthBytes+len(header)), uint32(len(header)))
	return append(b, header...)
}

// chunkAAD is all that a chunk belongs to: SHA-256(header) ‖ seq, 8 bytes big-endian ‖ 1 for the last, else 0.
func chunkAAD(header [sha256.Size]byte, seq int64, last bool) []byte {
	b := binary.BigEndian.AppendUint64(header[:], uint64(seq))
	if last {
		return append(b, 1)
	}
	return append(b, 0)
}

// chunkNonce is unique under a file's key, which seals one file only.
func chunkNonce(seq int64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 4, 12), uint64(seq))
}
