package envelope

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/bund-exchange/bund/contracts"
)

func testKey(n byte) *Key { return NewKey([32]byte{n}) }

func id(n int) contracts.ID { return contracts.ID(fmt.Sprintf("%032x", n)) }

func binding(k *Key) Binding {
	return Binding{Agreement: id(1), Version: id(2), Dataset: contracts.HashOf("test", []byte("dataset")), Recipient: k.ID()}
}

func content(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}

func sealAll(t testing.TB, k *Key, b Binding, data []byte) ([]byte, Manifest) {
	t.Helper()
	var out bytes.Buffer
	w, err := Seal(&out, k.Public(), b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	m, err := w.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), m
}

func chunk(t testing.TB, file []byte, m Manifest, seq int64) []byte {
	t.Helper()
	at, size, err := m.Chunk(seq)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(file[at : at+size])
}

func open(t testing.TB, k *Key, m Manifest) *Opener {
	t.Helper()
	o, err := k.Open(m, m.Header.Binding)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// wantRefusal wants one code, and a text that holds no content.
func wantRefusal(t testing.TB, err error, code contracts.Code) {
	t.Helper()
	var r *contracts.Refusal
	if !errors.As(err, &r) || r.Code != code {
		t.Errorf("want %s, got %v", code, err)
	}
}

func TestRoundTrip(t *testing.T) {
	k := testKey(1)
	for _, n := range []int{0, 1, ChunkBytes - 1, ChunkBytes, ChunkBytes + 1, 2 * ChunkBytes, 2*ChunkBytes + 12345} {
		data := content(n)
		file, m := sealAll(t, k, binding(k), data)
		if m.SealedBytes() != int64(len(file)) || m.Bytes != int64(n) || m.Chunks != max(1, int64(n+ChunkBytes-1)/ChunkBytes) {
			t.Errorf("%d: manifest %+v of a file of %d", n, m, len(file))
		}
		d := sha256.Sum256(file)
		c := sha256.Sum256(data)
		if string(m.Digest) != hex.EncodeToString(d[:]) || string(m.Content) != hex.EncodeToString(c[:]) {
			t.Errorf("%d: digests", n)
		}
		back, err := DecodeManifest(EncodeManifest(m))
		if err != nil || !bytes.Equal(EncodeManifest(back), EncodeManifest(m)) {
			t.Fatal(err)
		}
		o := open(t, k, back)
		got, err := io.ReadAll(o.Reader(bytes.NewReader(file)))
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d: %d bytes, %v", n, len(got), err)
		}
		for seq := m.Chunks - 1; seq >= 0; seq-- { // each alone, last first, and twice
			for range 2 {
				p, err := o.Chunk(seq, chunk(t, file, m, seq))
				if err != nil || !bytes.Equal(p, data[seq*ChunkBytes:min(int64(n), (seq+1)*ChunkBytes)]) {
					t.Errorf("%d: chunk %d: %v", n, seq, err)
				}
			}
		}
	}
}

// However the content arrives, the same chunks come out of it.
func TestWriteInPieces(t *testing.T) {
	k, data := testKey(1), content(2*ChunkBytes+77)
	rapid.Check(t, func(t *rapid.T) {
		var want, got bytes.Buffer
		seed := bytes.Repeat([]byte{7}, 32)
		a, _ := seal(&want, k.Public(), binding(k), bytes.NewReader(seed))
		b, _ := seal(&got, k.Public(), binding(k), bytes.NewReader(seed))
		a.Write(data)
		for left := data; len(left) > 0; {
			n := min(len(left), rapid.SampledFrom([]int{0, 1, 100, ChunkBytes - 1, ChunkBytes, ChunkBytes + 1}).Draw(t, "n"))
			if n < 100 && len(left) > 1000 {
				n += rapid.IntRange(0, 1<<18).Draw(t, "more") // keeps it short
			}
			b.Write(left[:n])
			left = left[n:]
		}
		if a.Close() != nil || b.Close() != nil || !bytes.Equal(want.Bytes(), got.Bytes()) {
			t.Fatal("another file")
		}
	})
}

func TestTwoSealingsShareNothing(t *testing.T) {
	k, data := testKey(1), content(1000)
	a, ma := sealAll(t, k, binding(k), data)
	b, mb := sealAll(t, k, binding(k), data)
	if ma.Digest == mb.Digest || bytes.Contains(b, chunk(t, a, ma, 0)) {
		t.Error("the same content sealed twice gave the same chunk")
	}
	wantRefusal(t, onlyErr(open(t, k, mb).Chunk(0, chunk(t, a, ma, 0))), BadChunk)
}

func onlyErr(_ []byte, err error) error { return err }

// TestRefusals holds each way in which a file may not be what it should be.
func TestRefusals(t *testing.T) {
	k, other := testKey(1), testKey(2)
	b := binding(k)
	data := content(2*ChunkBytes + 500)
	file, m := sealAll(t, k, b, data)
	file2, m2 := sealAll(t, k, b, data)
	o := open(t, k, m)
	whole := func(o *Opener, file []byte) error {
		_, err := io.Copy(io.Discard, o.Reader(bytes.NewReader(file)))
		return err
	}
	splice := func(cut func(c [][]byte) [][]byte) []byte {
		c := [][]byte{chunk(t, file, m, 0), chunk(t, file, m, 1), chunk(t, file, m, 2)}
		return append(bytes.Clone(file[:m.start()]), bytes.Join(cut(c), nil)...)
	}
	_, last, _ := m.Chunk(2)

	t.Run("truncated", func(t *testing.T) {
		for _, n := range []int64{0, 1, 4, 30, m.start(), m.start() + 1, m.start() + ChunkBytes + tagBytes, int64(len(file)) - 1, int64(len(file)) - last} {
			wantRefusal(t, whole(o, file[:n]), BadChunk)
		}
	})
	t.Run("missing last", func(t *testing.T) {
		wantRefusal(t, whole(o, splice(func(c [][]byte) [][]byte { return c[:2] })), BadChunk)
		// Even a manifest that lies about the size doesn't make a middle chunk the last one.
		short := m
		short.Bytes, short.Chunks = 2*ChunkBytes, 2
		wantRefusal(t, onlyErr(open(t, k, short).Chunk(1, chunk(t, file, m, 1))), BadChunk)
	})
	t.Run("last moved to the middle", func(t *testing.T) {
		longer := m
		longer.Bytes, longer.Chunks = m.Bytes+ChunkBytes, 4
		_, size, _ := longer.Chunk(2)
		padded := append(chunk(t, file, m, 2), make([]byte, size-last)...)
		wantRefusal(t, onlyErr(open(t, k, longer).Chunk(2, padded)), BadChunk)
	})
	t.Run("swapped chunks", func(t *testing.T) {
		wantRefusal(t, onlyErr(o.Chunk(0, chunk(t, file, m, 1))), BadChunk)
		wantRefusal(t, onlyErr(o.Chunk(1, chunk(t, file, m, 0))), BadChunk)
		wantRefusal(t, whole(o, splice(func(c [][]byte) [][]byte { return [][]byte{c[1], c[0], c[2]} })), BadChunk)
		wantRefusal(t, whole(o, splice(func(c [][]byte) [][]byte { return [][]byte{c[0], c[0], c[2]} })), BadChunk)
	})
	t.Run("chunk of another file", func(t *testing.T) {
		wantRefusal(t, onlyErr(o.Chunk(0, chunk(t, file2, m2, 0))), BadChunk)
	})
	t.Run("bytes behind the last", func(t *testing.T) {
		wantRefusal(t, whole(o, append(bytes.Clone(file), 0)), BadForm)
		wantRefusal(t, whole(o, splice(func(c [][]byte) [][]byte { return append(c, c[2]) })), BadForm)
	})
	t.Run("chunk numbers", func(t *testing.T) {
		for _, seq := range []int64{-1, 3, 1 << 40} {
			wantRefusal(t, onlyErr(o.Chunk(seq, chunk(t, file, m, 0))), BadChunk)
		}
	})
	t.Run("flipped bits", func(t *testing.T) {
		c := chunk(t, file, m, 2)
		for i := range c {
			c[i] ^= 1 << (i % 8)
			wantRefusal(t, onlyErr(o.Chunk(2, c)), BadChunk)
			c[i] ^= 1 << (i % 8)
		}
		for i := range m.start() {
			f := bytes.Clone(file)
			f[i] ^= 1
			wantRefusal(t, whole(o, f), BadForm)
		}
	})
	t.Run("another header", func(t *testing.T) {
		for name, change := range map[string]func(*Binding){
			"agreement": func(b *Binding) { b.Agreement = id(9) }, "version": func(b *Binding) { b.Version = id(9) },
			"dataset": func(b *Binding) { b.Dataset = contracts.HashOf("test") },
		} {
			// As it was sealed for the other: refused by name.
			foreign := b
			change(&foreign)
			fileF, mF := sealAll(t, k, foreign, data)
			_, err := k.Open(mF, b)
			wantRefusal(t, err, BadBinding)
			// As the other's manifest, made to look like ours: no chunk opens.
			lie := mF
			lie.Header.Binding = b
			if err := onlyErr(open(t, k, lie).Chunk(0, chunk(t, fileF, mF, 0))); err == nil {
				t.Errorf("%s: opened", name)
			}
			wantRefusal(t, whole(open(t, k, lie), fileF), BadForm)
			// Ours under the other's name.
			_, err = k.Open(m, foreign)
			wantRefusal(t, err, BadBinding)
		}
	})
	t.Run("wrong key", func(t *testing.T) {
		_, err := other.Open(m, b)
		wantRefusal(t, err, BadKey)
		lie, want := m, b
		lie.Header.Binding.Recipient, want.Recipient = other.ID(), other.ID()
		o, err := other.Open(lie, want)
		if err != nil {
			t.Fatal(err)
		}
		wantRefusal(t, onlyErr(o.Chunk(0, chunk(t, file, m, 0))), BadChunk)
		_, err = Seal(io.Discard, other.Public(), b)
		wantRefusal(t, err, BadKey)
	})
	t.Run("another encapsulated key", func(t *testing.T) {
		lie := m
		lie.Header.Enc = m2.Header.Enc
		wantRefusal(t, onlyErr(open(t, k, lie).Chunk(0, chunk(t, file, m, 0))), BadChunk)
		lie.Header.Enc = make([]byte, encBytes) // of low order
		_, err := k.Open(lie, b)
		wantRefusal(t, err, BadForm)
	})
	t.Run("manifest's digests", func(t *testing.T) {
		for _, change := range []func(*Manifest){
			func(m *Manifest) { m.Digest = contracts.HashOf("test") }, func(m *Manifest) { m.Content = contracts.HashOf("test") },
		} {
			lie := m
			change(&lie)
			wantRefusal(t, whole(open(t, k, lie), file), BadDigest)
		}
	})
	t.Run("manifest's sizes", func(t *testing.T) {
		for _, change := range []func(*Manifest){
			func(m *Manifest) { m.Chunks++ }, func(m *Manifest) { m.Chunks-- }, func(m *Manifest) { m.Bytes = -1 }, func(m *Manifest) { m.Bytes = maxBytes + 1 },
			func(m *Manifest) { m.Header.ChunkBytes = 1 }, func(m *Manifest) { m.Header.Format = "" }, func(m *Manifest) { m.Header.Enc = nil },
		} {
			lie := m
			change(&lie)
			_, err := k.Open(lie, b)
			wantRefusal(t, err, BadForm)
		}
	})
}

func TestRecipientsThatNobodyIs(t *testing.T) {
	for _, k := range []contracts.PublicKey{
		contracts.PublicKey("x25519:" + strings.Repeat("00", 32)),   // low order: everybody has the secret
		contracts.PublicKey("x25519:01" + strings.Repeat("00", 31)), // low order
		contracts.PublicKey("x25519:" + strings.Repeat("00", 31)),   // short
		contracts.PublicKey("ed25519:" + strings.Repeat("07", 32)), "", "x25519:zz",
	} {
		_, err := Seal(io.Discard, k, Binding{Agreement: id(1), Version: id(2), Dataset: contracts.HashOf("test"), Recipient: k.ID()})
		wantRefusal(t, err, BadKey)
		_, err = SealMessage(k, nil, nil, nil)
		wantRefusal(t, err, BadKey)
	}
}

func TestStrictManifest(t *testing.T) {
	k := testKey(1)
	_, m := sealAll(t, k, binding(k), content(10))
	good := string(EncodeManifest(m))
	for _, bad := range []string{
		"", "{}", " " + good, good + " ", good + good, strings.Replace(good, `"bytes"`, `"Bytes"`, 1), strings.Replace(good, `{"bytes"`, `{"also":"1","bytes"`, 1),
		strings.Replace(good, `"bytes":"10"`, `"bytes":10`, 1), strings.Replace(good, `"bytes":"10"`, `"bytes":"010"`, 1),
		strings.Replace(good, `"bytes":"10",`, `"bytes":"10","bytes":"10",`, 1), strings.Replace(good, string(m.Digest), strings.ToUpper(string(m.Digest)), 1),
	} {
		if bad == good {
			t.Fatal("the case changes nothing")
		}
		_, err := DecodeManifest([]byte(bad))
		wantRefusal(t, err, BadForm)
	}
}

type failing struct{ after int }

func (f *failing) Write(p []byte) (int, error) {
	if f.after -= len(p); f.after < 0 {
		return 0, errors.New("disk full")
	}
	return len(p), nil
}

// A file whose writing failed has no manifest, whatever is written after.
func TestFailedWrites(t *testing.T) {
	k := testKey(1)
	if _, err := Seal(new(failing), k.Public(), binding(k)); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Error(err)
	}
	w, err := Seal(&failing{after: ChunkBytes}, k.Public(), binding(k))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Manifest(); err == nil {
		t.Error("a manifest before Close")
	}
	if _, err := w.Write(content(3 * ChunkBytes)); err == nil {
		t.Error("no error")
	}
	if _, err := w.Write([]byte("more")); err == nil {
		t.Error("no error the second time")
	}
	if err := w.Close(); err == nil {
		t.Error("closed")
	}
	if _, err := w.Manifest(); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Error(err)
	}
	w, _ = Seal(io.Discard, k.Public(), binding(k))
	w.Close()
	if _, err := w.Write([]byte{1}); err == nil {
		t.Error("wrote behind Close")
	}
	if err := w.Close(); err != nil {
		t.Error("the second Close", err)
	}
}

// A broken source is a failure, never "the file is cut": it may be read again.
func TestBrokenSourceIsNoRefusal(t *testing.T) {
	k := testKey(1)
	file, m := sealAll(t, k, binding(k), content(100))
	for _, n := range []int{0, 10, len(file) - 1, len(file)} {
		r := io.MultiReader(bytes.NewReader(file[:n]), iotest.ErrReader(errors.New("connection reset")))
		_, err := io.ReadAll(open(t, k, m).Reader(r))
		var no *contracts.Refusal
		if err == nil || errors.As(err, &no) || !strings.Contains(err.Error(), "connection reset") {
			t.Errorf("after %d: %v", n, err)
		}
	}
	got, err := io.ReadAll(open(t, k, m).Reader(iotest.OneByteReader(bytes.NewReader(file))))
	if err != nil || !bytes.Equal(got, content(100)) {
		t.Error(err)
	}
}

func TestMessage(t *testing.T) {
	k, other := testKey(1), testKey(2)
	sealed, err := SealMessage(k.Public(), []byte("share"), []byte("task 1"), []byte("hello"))
	if err != nil || len(sealed) != 5+MessageOverhead {
		t.Fatal(len(sealed), err)
	}
	if m, err := k.OpenMessage([]byte("share"), []byte("task 1"), sealed); err != nil || string(m) != "hello" {
		t.Fatal(m, err)
	}
	_, err = other.OpenMessage([]byte("share"), []byte("task 1"), sealed)
	wantRefusal(t, err, BadChunk)
	_, err = k.OpenMessage([]byte("other"), []byte("task 1"), sealed)
	wantRefusal(t, err, BadChunk)
	_, err = k.OpenMessage([]byte("share"), []byte("task 2"), sealed)
	wantRefusal(t, err, BadChunk)
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 0x40
		_, err = k.OpenMessage([]byte("share"), []byte("task 1"), bad)
		wantRefusal(t, err, BadChunk)
	}
	for n := range len(sealed) {
		if _, err = k.OpenMessage([]byte("share"), []byte("task 1"), sealed[:n]); err == nil {
			t.Errorf("opened %d bytes", n)
		}
	}
}

// What is printed of a key, by whatever verb, holds none of its private half.
func TestKeyDoesNotPrintItself(t *testing.T) {
	k := testKey(1)
	priv, err := k.private.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		for _, s := range []string{fmt.Sprintf(verb, k), fmt.Sprintf(verb, *k), fmt.Sprintf(verb, struct{ K *Key }{k})} {
			if strings.Contains(s, hex.EncodeToString(priv[4:12])) || strings.Contains(s, fmt.Sprint(priv[4:12])[1:20]) {
				t.Errorf("%s: %s", verb, s)
			}
		}
	}
}
