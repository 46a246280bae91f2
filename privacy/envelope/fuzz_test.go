package envelope

import (
	"bytes"
	"io"
	"testing"
)

// FuzzManifest: what decodes is what encodes, and nothing else.
func FuzzManifest(f *testing.F) {
	k := testKey(1)
	for _, n := range []int{0, 10, ChunkBytes + 1} {
		_, m := sealAll(f, k, binding(k), content(n))
		f.Add(EncodeManifest(m))
	}
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeManifest(b)
		if err != nil {
			return
		}
		if !bytes.Equal(EncodeManifest(m), b) {
			t.Errorf("%s decodes to another manifest", b)
		}
		if at, size, err := m.Chunk(m.Chunks - 1); err != nil || at+size != m.SealedBytes() || size < tagBytes {
			t.Errorf("chunks don't add up: %d + %d, %v", at, size, err)
		}
		k.Open(m, m.Header.Binding)
	})
}

// FuzzFile: bytes that are not the file's are refused, and what comes out before is the content's beginning.
func FuzzFile(f *testing.F) {
	k := testKey(1)
	data := content(ChunkBytes + 64)
	file, m := sealAll(f, k, binding(k), data)
	// The fuzzer changes the file at a place, so that its inputs stay small: bytes replaced, and how many of the rest stay.
	f.Add(uint32(0), []byte{}, uint32(len(file)))
	f.Add(uint32(2), []byte{1}, uint32(len(file)))
	f.Add(uint32(500), []byte("abc"), uint32(10))
	f.Add(uint32(m.start()+ChunkBytes), []byte("tag"), uint32(1<<20))
	f.Add(uint32(len(file)), []byte("more"), uint32(0))
	f.Fuzz(func(t *testing.T, at uint32, b []byte, rest uint32) {
		a := min(int(at), len(file))
		changed := append(bytes.Clone(file[:a]), b...)
		tail := file[min(len(file), a+len(b)):]
		changed = append(changed, tail[:min(len(tail), int(rest))]...)
		o, err := k.Open(m, m.Header.Binding)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(o.Reader(bytes.NewReader(changed)))
		if (err == nil) != bytes.Equal(changed, file) {
			t.Errorf("changed at %d: %v", a, err)
		}
		if !bytes.HasPrefix(data, got) {
			t.Error("gave bytes that were not in the content")
		}
	})
}

// FuzzMessage: only what was sealed opens.
func FuzzMessage(f *testing.F) {
	k := testKey(1)
	// The same in every process: fuzzing has several.
	enc, s, err := sealTo(k.Public(), []byte("share"), bytes.NewReader(make([]byte, 32)))
	if err != nil {
		f.Fatal(err)
	}
	ct, err := s.Seal([]byte("hello"), []byte("aad"))
	if err != nil {
		f.Fatal(err)
	}
	sealed := append(enc, ct...)
	f.Add(sealed)
	f.Add([]byte{})
	f.Add(make([]byte, MessageOverhead))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := k.OpenMessage([]byte("share"), []byte("aad"), b); err == nil && !bytes.Equal(b, sealed) {
			t.Errorf("opened to %q", m)
		}
	})
}
