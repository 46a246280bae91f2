package envelope

import (
	"bytes"
	"crypto/cipher"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
)

// Opener opens the chunks of one sealed file, in any order. It is safe for concurrent use.
type Opener struct {
	m      Manifest
	aead   cipher.AEAD
	digest [sha256.Size]byte // of the header
}

// Open begins to open a file that has to be bound to want. A manifest made for another agreement, version, dataset or key
// is refused here; one that lies about what it is bound to is refused by every chunk.
func (k *Key) Open(m Manifest, want Binding) (*Opener, error) {
	switch {
	case m.Check() != nil || m.Header.Check() != nil:
		return nil, refuse(BadForm, "the manifest contradicts itself")
	case m.Header.Binding.Recipient != k.ID() || want.Recipient != k.ID():
		return nil, refuse(BadKey, "the file is sealed to another key")
	case m.Header.Binding != want:
		return nil, refuse(BadBinding, "the file is sealed for another agreement, product version or dataset")
	}
	c, err := k.openFrom(m.Header.Enc, info(want))
	if err != nil {
		return nil, err
	}
	o := &Opener{m: m, digest: sha256.Sum256(m.Header.Bytes())}
	o.aead, err = chunkCipher(c)
	return o, err
}

// Chunk opens one chunk by itself. What comes back is exactly the content from seq*ChunkBytes on.
func (o *Opener) Chunk(seq int64, sealed []byte) ([]byte, error) {
	_, size, err := o.m.Chunk(seq)
	if err != nil {
		return nil, err
	}
	if int64(len(sealed)) != size {
		return nil, refuse(BadChunk, "chunk %d has %d bytes", seq, size)
	}
	p, err := o.aead.Open(nil, chunkNonce(seq), sealed, chunkAAD(o.digest, seq, seq == o.m.Chunks-1))
	if err != nil {
		return nil, refuse(BadChunk, "chunk %d was not sealed to this key at this place of this file, or was altered", seq)
	}
	return p, nil
}

// Reader opens a whole sealed file as it is read, holding one chunk, and gives io.EOF only when all of it was there, with
// both digests, and nothing behind it. What was read before another error is genuine, but not the whole.
func (o *Opener) Reader(r io.Reader) io.Reader {
	sealed := sha256.New()
	return &reader{o: o, r: io.TeeReader(r, sealed), sealed: sealed, content: sha256.New(), seq: -1}
}

type reader struct {
	o               *Opener
	r               io.Reader
	sealed, content hash.Hash
	seq             int64 // of the next chunk; -1 before the header
	in, left        []byte
	err             error
}

func (x *reader) Read(p []byte) (int, error) {
	for len(x.left) == 0 && x.err == nil {
		x.err = x.next()
	}
	if len(x.left) == 0 {
		return 0, x.err
	}
	n := copy(p, x.left)
	x.left = x.left[n:]
	return n, nil
}

func (x *reader) next() error {
	if x.seq < 0 {
		want := prefix(x.o.m.Header.Bytes())
		got, err := x.fill(int64(len(want)))
		if err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return refuse(BadForm, "the file has another header than its manifest")
		}
		x.seq = 0
		return nil
	}
	if x.seq == x.o.m.Chunks {
		return x.end()
	}
	_, size, err := x.o.m.Chunk(x.seq)
	if err != nil {
		return err
	}
	sealed, err := x.fill(size)
	if err != nil {
		return err
	}
	if x.left, err = x.o.Chunk(x.seq, sealed); err != nil {
		return err
	}
	x.content.Write(x.left)
	x.seq++
	return nil
}

func (x *reader) fill(n int64) ([]byte, error) {
	if int64(cap(x.in)) < n {
		x.in = make([]byte, n)
	}
	b := x.in[:n]
	switch _, err := io.ReadFull(x.r, b); {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, refuse(BadChunk, "the file ends before its last chunk")
	case err != nil:
		return nil, fmt.Errorf("couldn't read sealed file: %w", err)
	}
	return b, nil
}

func (x *reader) end() error {
	switch n, err := io.ReadFull(x.r, make([]byte, 1)); {
	case n > 0:
		return refuse(BadForm, "the file goes on behind its last chunk")
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("couldn't read sealed file: %w", err)
	}
	if sum(x.sealed) != x.o.m.Digest || sum(x.content) != x.o.m.Content {
		return refuse(BadDigest, "the file is not the one whose digest the manifest gives")
	}
	return io.EOF
}
