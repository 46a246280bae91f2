package psi

import (
	"bytes"
	"errors"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/privacy/group25519"
)

// Every decoder either refuses with a code, or has read bytes that it would write the same again.

func refused(t *testing.T, err error) bool {
	t.Helper()
	var r *contracts.Refusal
	if err != nil && !errors.As(err, &r) {
		t.Fatalf("%v is no refusal", err)
	}
	return err != nil
}

func FuzzHello(f *testing.F) {
	p := &Params{Session: [32]byte{7}, SenderMax: 1000, ReceiverMax: 1000, Padding: Rounded, FrameElements: 4096}
	good := (&hello{roleSender, Rounded, 4096, p.Session, 1000 &^ 31, [32]byte{1}}).frame()
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(append(bytes.Clone(good), 0))
	f.Add((&hello{roleReceiver, Exact, 1, p.Session, 0, [32]byte{}}).frame())
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := openHello(b, p, roleSender)
		if !refused(t, err) && !bytes.Equal(h.frame(), b) {
			t.Fatalf("%x is read as %+v", b, h)
		}
	})
}

func FuzzPoints(f *testing.F) {
	good := append(newFrame(kindPoints, 3, 64), make([]byte, 64)...)
	f.Add(good, uint64(3), 2)
	f.Add(good[:len(good)-1], uint64(3), 2)
	f.Add(bytes.Replace(good, make([]byte, 32), bytes.Repeat([]byte{0xff}, 32), 1), uint64(3), 2)
	f.Fuzz(func(t *testing.T, b []byte, number uint64, want int) {
		ps, err := openPoints(b, number, want)
		if refused(t, err) {
			return
		}
		again := newFrame(kindPoints, number, 0)
		for i := range ps {
			if !ps[i].Canonical() {
				t.Fatalf("%x", ps[i])
			}
			again = append(again, ps[i][:]...)
		}
		if len(ps) != want || !bytes.Equal(again, b) {
			t.Fatalf("%x is read as %x", b, again)
		}
	})
}

func FuzzTags(f *testing.F) {
	good := append(newFrame(kindTags, 3, 20), make([]byte, 20)...)
	f.Add(good, uint64(3), 2, uint8(10))
	f.Add(good[:len(good)-1], uint64(3), 2, uint8(10))
	f.Fuzz(func(t *testing.T, b []byte, number uint64, want int, size uint8) {
		if size < 5 || size > 15 { // what tagSize gives
			return
		}
		tags, err := openTags(b, number, want, int(size))
		if !refused(t, err) && (len(tags) != want*int(size) || !bytes.Equal(append(newFrame(kindTags, number, 0), tags...), b)) {
			t.Fatalf("%x is read as %x", b, tags)
		}
	})
}

func FuzzClose(f *testing.F) {
	f.Add(closeFrame(9, 5, [32]byte{1}), uint64(9), uint64(5), []byte{1})
	f.Add(closeFrame(9, 5, [32]byte{1})[:48], uint64(9), uint64(5), []byte{1})
	f.Fuzz(func(t *testing.T, b []byte, number, count uint64, digest []byte) {
		var d [32]byte
		copy(d[:], digest)
		if err := openClose(b, number, count, d); !refused(t, err) && !bytes.Equal(b, closeFrame(number, count, d)) {
			t.Fatalf("%x", b)
		}
	})
}

func FuzzRecord(f *testing.F) {
	r := &record{role: roleReceiver, params: [32]byte{1}, scalar: [group25519.ScalarSize]byte{8, 31: 0x40}, ids: 9, size: 10, absorbed: 3}
	f.Add(r.encode())
	r.done, r.scalar = true, [32]byte{}
	f.Add(r.encode())
	f.Add(r.encode()[:100])
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(b)
		if err == nil && !bytes.Equal(r.encode(), b) {
			t.Fatalf("%x is read as %+v", b, r)
		}
	})
}
