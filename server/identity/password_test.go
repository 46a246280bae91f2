package identity

import (
	"strings"
	"testing"
)

var cheap = Cost{MemoryKiB: 64, Passes: 1}

func TestHashVerifies(t *testing.T) {
	h := cheap.hash("密码 p４ssword") // a full-width 4, as some input methods type it
	for p, want := range map[string]bool{"密码 p４ssword": true, "密码 p4ssword": true, "密码 p5ssword": false, "": false} {
		if got, err := verify(h, p); err != nil || got != want {
			t.Errorf("%q: %v, %v", p, got, err)
		}
	}
	if h == cheap.hash("密码 p４ssword") {
		t.Error("two hashes of one password are the same")
	}
}

func TestVerifyKnownAnswer(t *testing.T) {
	// From the test vectors of the reference implementation (phc-winner-argon2, src/test.c, argon2id v19).
	const h = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	if ok, err := verify(h, "password"); err != nil || !ok {
		t.Errorf("got %v, %v", ok, err)
	}
	if ok, err := verify(h, "Password"); err != nil || ok {
		t.Errorf("got %v, %v", ok, err)
	}
}

func FuzzVerify(f *testing.F) {
	h := cheap.hash("password")
	f.Add(h)
	f.Add(strings.Replace(h, "argon2id", "argon2i", 1))
	f.Add(strings.Replace(h, "m=64", "m=4294967295", 1))
	f.Add(strings.Replace(h, "t=1", "t=0", 1))
	f.Add("$argon2id$v=19$m=64,t=1,p=1$$")
	f.Add("$$$$$")
	f.Fuzz(func(t *testing.T, stored string) {
		if stored == h || strings.Contains(stored, "m=") && len(stored) > 4 && !strings.Contains(stored, "m=64,t=1,p=1$") {
			return // only cheap parameters are worth trying many times
		}
		if ok, _ := verify(stored, "another password"); ok {
			t.Errorf("%q verified a password that it isn't of", stored)
		}
	})
}
