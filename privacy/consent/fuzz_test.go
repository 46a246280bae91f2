package consent

import (
	"bytes"
	"testing"
)

func FuzzParseApplication(f *testing.F) {
	s := newScene(f)
	a, _ := s.apply(f, s.binding(), 1, 2)
	f.Add(a.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ParseApplication(b)
		if err != nil {
			return
		}
		if !bytes.Equal(a.Bytes(), b) {
			t.Fatalf("%q decodes to another application", b)
		}
		s.issue(t, a) // whatever it holds, it is answered
	})
}

func FuzzParsePresentation(f *testing.F) {
	s := newScene(f)
	x, q := s.ticket(f, 1, 2)
	f.Add(Present(x, q.Request()))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, q, err := ParsePresentation(b)
		if err == nil && !bytes.Equal(Present(x, q), b) {
			t.Fatalf("%q decodes to another presentation", b)
		}
	})
}

func FuzzCheckBlind(f *testing.F) {
	s := newScene(f)
	a, _ := s.apply(f, s.binding(), 1)
	c := a.Claims[0]
	f.Add(c.Point[:], c.Proof[:], 0)
	f.Fuzz(func(t *testing.T, point, proof []byte, place int) {
		err := checkBlind([]byte(c.Code), point, proof, &a.Binding, place)
		if (err == nil) != (bytes.Equal(point, c.Point[:]) && bytes.Equal(proof, c.Proof[:]) && uint32(place) == 0) {
			t.Fatalf("%x %x at %d: %v", point, proof, place, err)
		}
	})
}
