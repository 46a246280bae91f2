package envelope

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

type hexBytes []byte

func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

// TestRFC9180 runs the RFC's vectors of this suite through the functions that seal and open here.
func TestRFC9180(t *testing.T) {
	raw, err := os.ReadFile("testdata/rfc9180_x25519_sha256_aes256gcm.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		IkmR, IkmE, Info, Enc, PkRm hexBytes
		Indexes                     []int
		Encryptions                 []struct{ Aad, Ct, Pt hexBytes }
		Exports                     []struct {
			Context hexBytes `json:"exporter_context"`
			L       uint
			Value   hexBytes `json:"exported_value"`
		}
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	key := NewKey([32]byte(v.IkmR))
	if got := strings.TrimPrefix(string(key.Public()), "x25519:"); got != hex.EncodeToString(v.PkRm) {
		t.Fatalf("public key %s", got)
	}
	enc, s, err := sealTo(key.Public(), v.Info, bytes.NewReader(v.IkmE))
	if err != nil || !bytes.Equal(enc, v.Enc) {
		t.Fatalf("enc %x, %v", enc, err)
	}
	o, err := key.openFrom(enc, v.Info)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for i := range v.Indexes[len(v.Indexes)-1] + 1 {
		aad := fmt.Appendf(nil, "Count-%d", i)
		ct, err := s.Seal(v.Encryptions[0].Pt, aad)
		if err != nil {
			t.Fatal(err)
		}
		if i == v.Indexes[seen] {
			e := v.Encryptions[seen]
			if !bytes.Equal(aad, e.Aad) || !bytes.Equal(ct, e.Ct) {
				t.Errorf("%d: %x", i, ct)
			}
			seen++
		}
		if pt, err := o.Open(ct, aad); err != nil || !bytes.Equal(pt, v.Encryptions[0].Pt) {
			t.Errorf("%d: %x, %v", i, pt, err)
		}
	}
	if seen != 5 || len(v.Exports) != 3 {
		t.Fatalf("%d encryptions and %d exports: the vectors are cut", seen, len(v.Exports))
	}
	for _, e := range v.Exports {
		if got := s.Export(e.Context, e.L); !bytes.Equal(got, e.Value) {
			t.Errorf("sender's export %x", got)
		}
		if got := o.Export(e.Context, e.L); !bytes.Equal(got, e.Value) {
			t.Errorf("recipient's export %x", got)
		}
	}
}
