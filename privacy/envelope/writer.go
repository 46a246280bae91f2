package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/cloudflare/circl/hpke"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
)

// Writer seals what is written to it as it comes, holding one chunk. Nothing of the file is good before Close has
// returned nil: without its last chunk no reader accepts it.
type Writer struct {
	w       io.Writer
	aead    cipher.AEAD
	header  Header
	digest  [sha256.Size]byte // of the header
	content hash.Hash
	sealed  hash.Hash

	buf, out []byte
	bytes    int64
	seq      int64
	closed   bool
	err      error
}

// Seal begins a sealed file to a recipient's key. binding.Recipient is that key's id.
func Seal(w io.Writer, to contracts.PublicKey, b Binding) (*Writer, error) {
	return seal(w, to, b, nil)
}

func seal(w io.Writer, to contracts.PublicKey, b Binding, random io.Reader) (*Writer, error) {
	if b.Recipient != to.ID() {
		return nil, refuse(BadKey, "the binding names another key")
	}
	enc, s, err := sealTo(to, info(b), random)
	if err != nil {
		return nil, err
	}
	x := &Writer{header: Header{Binding: b, ChunkBytes: ChunkBytes, Enc: enc, Format: format}, content: sha256.New(), sealed: sha256.New(),
		buf: make([]byte, 0, ChunkBytes)}
	if x.aead, err = chunkCipher(s); err != nil {
		return nil, err
	}
	x.w = io.MultiWriter(w, x.sealed)
	header := x.header.Bytes()
	x.digest = sha256.Sum256(header)
	if _, err := x.w.Write(prefix(header)); err != nil {
		return nil, fmt.Errorf("couldn't write header: %w", err)
	}
	return x, nil
}

// info is HPKE's: the file's key is derived from what the file belongs to.
func info(b Binding) []byte {
	return append([]byte(format+"\x00"), canon.Marshal(b)...)
}

func chunkCipher(c hpke.Context) (cipher.AEAD, error) {
	block, err := aes.NewCipher(c.Export([]byte(chunkContext), 32))
	if err != nil {
		return nil, fmt.Errorf("couldn't make chunk key: %w", err)
	}
	return cipher.NewGCM(block)
}

// Write implements io.Writer. A full chunk waits for what follows it: the last one is sealed as such.
func (x *Writer) Write(p []byte) (n int, err error) {
	if x.closed {
		return 0, errors.New("couldn't write: the sealed file is closed")
	}
	for len(p) > 0 {
		if len(x.buf) == ChunkBytes {
			x.chunk(false)
		}
		if x.err != nil {
			return n, x.err
		}
		k := min(len(p), ChunkBytes-len(x.buf))
		x.buf = append(x.buf, p[:k]...)
		p, n = p[k:], n+k
	}
	return n, nil
}

func (x *Writer) chunk(last bool) {
	if x.err != nil {
		return
	}
	if x.bytes += int64(len(x.buf)); x.bytes > maxBytes {
		x.err = fmt.Errorf("couldn't seal: more than %d bytes", int64(maxBytes))
		return
	}
	x.content.Write(x.buf)
	x.out = x.aead.Seal(x.out[:0], chunkNonce(x.seq), x.buf, chunkAAD(x.digest, x.seq, last))
	if _, err := x.w.Write(x.out); err != nil {
		x.err = fmt.Errorf("couldn't write chunk: %w", err)
		return
	}
	x.seq++
	clear(x.buf)
	x.buf = x.buf[:0]
}

// Close seals the last chunk. It doesn't close what it writes to, nor sync it.
func (x *Writer) Close() error {
	if !x.closed {
		x.closed = true
		x.chunk(true)
	}
	return x.err
}

// Manifest says what was sealed, after Close.
func (x *Writer) Manifest() (Manifest, error) {
	if !x.closed || x.err != nil {
		return Manifest{}, errors.Join(errors.New("couldn't make manifest: the file is not whole"), x.err)
	}
	return Manifest{Bytes: x.bytes, Chunks: x.seq, Content: sum(x.content), Digest: sum(x.sealed), Header: x.header}, nil
}

func sum(h hash.Hash) contracts.Hash { return contracts.Hash(hex.EncodeToString(h.Sum(nil))) }
