package projection

import "testing"

func FuzzCursor(f *testing.F) {
	f.Add(formatCursor(0, ""))
	f.Add(formatCursor(41, "00112233445566778899aabbccddeeff/000001"))
	f.Add("MS4")
	f.Add("MDEuYQ")
	f.Fuzz(func(t *testing.T, s string) {
		position, id, err := parseCursor(s)
		if err == nil && formatCursor(position, id) != s {
			t.Fatalf("%q was read as %d, %q", s, position, id)
		}
	})
}
