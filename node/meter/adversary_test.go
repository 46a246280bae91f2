package meter

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
)

// A provider that cheats gains nothing: the consumer notices, and its last signature stays before the first wrong
// leaf.
func TestProviderCheats(t *testing.T) {
	hour := contracts.Millis(3600e3)
	for _, x := range []struct {
		name   string
		do     func(*world)
		want   string
		breach bool
	}{
		{"amount", func(w *world) { w.l.tamper = func(l *Leaf) { l.Totals.Micro += priceMicro } }, "totals do not add up", true},
		{"calls", func(w *world) { w.l.tamper = func(l *Leaf) { l.Totals.Calls++ } }, "totals do not add up", true},
		{"backdated before its request", func(w *world) { w.l.tamper = func(l *Leaf) { l.Time -= hour } }, "time goes back", true},
		{"future", func(w *world) { w.l.tamper = func(l *Leaf) { l.Time += hour } }, "future", true},
		{"old fence", func(w *world) { w.l.tamper = func(l *Leaf) { l.Fence-- } }, "a fenced writer", true},
		{"foreign agreement", func(w *world) { w.l.tamper = func(l *Leaf) { l.Agreement[0]++ } }, "another agreement", true},
		{"foreign epoch", func(w *world) { w.l.tamper = func(l *Leaf) { l.Epoch++ } }, "epoch", true},
		{"answer of another call", func(w *world) { w.l.tamper = func(l *Leaf) { l.AnswerDigest[0]++ } }, "another answer", true},
		{"request of another call", func(w *world) { w.l.tamper = func(l *Leaf) { l.RequestDigest[0]++ } }, "another request", true},
		{"units for no answer", func(w *world) {
			w.l.tamper = func(l *Leaf) {
				if l.Outcome == NoConsent {
					l.Units, l.Totals = 1, w.terms.bill(l.Totals, 1)
				}
			}
			w.must(1, "noconsent")
		}, "units are not by the terms", false},
		{"two units", func(w *world) {
			w.l.tamper = func(l *Leaf) {
				l.Units, l.Totals.Units, l.Totals.Micro = 2, l.Totals.Units+1, l.Totals.Micro+priceMicro
			}
		}, "units are not by the terms", false},
		{"more asked for than asked", func(w *world) {
			w.l.tamper = func(l *Leaf) {
				l.Ref, l.Units, l.Totals.Units, l.Totals.Micro = 1, 2, l.Totals.Units+1, l.Totals.Micro+priceMicro
			}
		}, "another number of units", true},
		{"more asked for behind my back", func(w *world) {
			w.refuse = func(c *Call) *Refusal { c.Units = 9; return nil }
			w.forge(w.requestID(`"z"`), `"z"`)
			w.refuse = nil
		}, "not my request", false},
		{"extra leaf", func(w *world) { w.forge(RequestID{1, 2, 3}, `"x"`) }, "not my request", false},
		{"own id twice", func(w *world) {
			id := w.requestID(`"z"`)
			w.forge(id, `"z"`)
			w.forge(id, `"z"`)
		}, "billed twice", false},
		{"old request of mine", func(w *world) {
			id := w.c.requests.make(NewNonce(time.Now().Add(-time.Hour)), sha256.Sum256([]byte(`"z"`)), 1)
			w.forge(id, `"z"`)
		}, "not the time of my request", false},
		{"void of more than was billed", func(w *world) {
			w.l.tamper = func(l *Leaf) {
				if l.Op == OpVoid {
					l.Units--
				}
			}
			l := w.forge(RequestID{1}, `"x"`)
			if _, err := w.l.Void(t.Context(), l.Seq); err != nil {
				t.Fatal(err)
			}
		}, "didn't bill", true},
		{"period closed again", func(w *world) {
			if _, err := w.l.ClosePeriod(t.Context(), 40); err != nil {
				t.Fatal(err)
			}
			w.settle()
			w.l.tamper = func(l *Leaf) {
				if l.Op == OpClose {
					l.Ref = 40
				}
			}
			if _, err := w.l.ClosePeriod(t.Context(), 41); err != nil {
				t.Fatal(err)
			}
		}, "closed twice", true},
	} {
		t.Run(x.name, func(t *testing.T) {
			w := newWorld(t)
			w.must(5, "good")
			if err := w.settle(); err != nil {
				t.Fatal(err)
			}
			x.do(w)
			err := errors.Join(w.call(3, "after"), w.settle())
			got := fmt.Sprint(w.c.Breach(), w.c.Objections(), err)
			if !strings.Contains(got, x.want) {
				t.Errorf("not noticed: %s", got)
			}
			if (w.c.Breach() != nil) != x.breach {
				t.Errorf("breach %v, want one: %v", w.c.Breach(), x.breach)
			}
			st, most := w.c.State(), int64(5)
			if x.name == "own id twice" || x.name == "period closed again" {
				most = 6 // the first of the two is true
			}
			if st.Acked > most || w.l.State().Acked > most {
				t.Errorf("signed up to %d, provider has %d, want at most %d", st.Acked, w.l.State().Acked, most)
			}
			// What was seen isn't forgotten, and nothing more is ever signed.
			w.restartConsumer()
			w.settle()
			if got := w.c.State().Acked; got != st.Acked {
				t.Errorf("signed up to %d after a restart, %d before", got, st.Acked)
			}
			if x.breach && w.c.Breach() == nil {
				t.Error("breach was forgotten")
			}
		})
	}
}

// alter changes the answers to one operation as they pass.
func alter(op string, change func(n int, rec *httptest.ResponseRecorder)) func(http.Handler) http.Handler {
	n := 0
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, "/"+op) {
				h.ServeHTTP(w, r)
				return
			}
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, r)
			n++
			change(n, rec)
			for k, v := range rec.Header() {
				w.Header()[k] = v
			}
			w.WriteHeader(rec.Code)
			w.Write(rec.Body.Bytes())
		})
	}
}

// The leaf given isn't the leaf hashed, the head isn't signed, or two heads of one size are signed.
func TestForkIsNoticed(t *testing.T) {
	receipt := func(rec *httptest.ResponseRecorder, change func(r *Receipt)) {
		r, err := ParseReceipt(rec.Header().Get(HeaderReceipt))
		if err != nil {
			return
		}
		change(&r)
		rec.Header().Set(HeaderReceipt, r.String())
	}
	t.Run("altered leaf", func(t *testing.T) {
		w := newWorld(t)
		w.between = alter("call", func(n int, rec *httptest.ResponseRecorder) {
			if n == 3 {
				receipt(rec, func(r *Receipt) {
					l, _ := DecodeLeaf(r.Leaf)
					l.Snapshot[0]++
					r.Leaf = l.Encode()
				})
			}
		})
		err := w.call(6, "a")
		b := w.c.Breach()
		if b == nil || !strings.Contains(b.What, "signed head is not") || len(b.Head) == 0 || len(b.Leaf) == 0 {
			t.Fatalf("breach %+v, call said %v", b, err)
		}
		if w.settle(); w.c.State().Acked > 2 {
			t.Error("signed past the fork")
		}
	})
	t.Run("head of another key", func(t *testing.T) {
		w := newWorld(t)
		_, evil, _ := ed25519.GenerateKey(rand.Reader)
		w.between = alter("call", func(n int, rec *httptest.ResponseRecorder) {
			receipt(rec, func(r *Receipt) {
				s, _ := DecodeSigned(r.Head)
				s = sign(s.Statement, contracts.TagHead, evil)
				r.Head = s.Encode()
			})
		})
		if err := w.call(1, "a"); !errors.Is(err, ErrOutcomeUnknown) || w.c.State().Size != 0 {
			t.Errorf("took it: %v", err)
		}
	})
	t.Run("two heads of one size", func(t *testing.T) {
		w := newWorld(t)
		w.must(2, "a")
		s, _ := DecodeSigned(w.l.head)
		s.Root = contracts.HashOf("x")
		other := sign(s.Statement, contracts.TagHead, w.pk)
		err := w.c.checkHead(other.Encode())
		var b *Breach
		if !errors.As(err, &b) || len(b.Head) == 0 || len(b.Other) == 0 {
			t.Errorf("not noticed: %v", err)
		}
	})
	t.Run("a head of the past", func(t *testing.T) {
		w := newWorld(t)
		w.must(3, "a")
		st := contracts.Statement{Agreement: w.terms.Agreement, Epoch: 1, Size: 2, Root: contracts.HashOf("x"), Totals: contracts.Totals{Calls: 2, Units: 2, Micro: 2 * priceMicro}}
		delete(w.c.heads, 2)
		other := sign(st, contracts.TagHead, w.pk)
		var b *Breach
		if err := w.c.checkHead(other.Encode()); !errors.As(err, &b) {
			t.Errorf("not noticed: %v", err)
		}
	})
	t.Run("another leaf pulled than given", func(t *testing.T) {
		w := newWorld(t)
		w.must(2, "a")
		raw, _ := w.l.Leaf(1)
		l, _ := DecodeLeaf(raw)
		l.Snapshot[0]++
		var b *Breach
		if err := w.c.add(&held{leaf: l, raw: l.Encode()}); !errors.As(err, &b) || !bytes.Equal(b.Leaf, raw) {
			t.Errorf("not noticed: %v", err)
		}
	})
	t.Run("altered bytes of an answer", func(t *testing.T) {
		w := newWorld(t)
		w.between = alter("call", func(n int, rec *httptest.ResponseRecorder) { rec.Body.Bytes()[0] ^= 1 })
		var b *Breach
		if err := w.call(1, "a"); !errors.As(err, &b) {
			t.Errorf("not noticed: %v", err)
		}
	})
}

// An answer that is billed and never given is objected to; when it comes after all, the objection ends.
func TestWithheldAnswer(t *testing.T) {
	w := newWorld(t)
	withholding := true
	w.between = func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			switch {
			case withholding && strings.HasSuffix(r.URL.Path, "/answer"):
				w.l.writeError(rw, r, &Refusal{Code: NoAnswer})
			case withholding && strings.HasSuffix(r.URL.Path, "/call"):
				h.ServeHTTP(httptest.NewRecorder(), r)
				http.Error(rw, "lost", http.StatusBadGateway)
			default:
				h.ServeHTTP(rw, r)
			}
		})
	}
	if err := w.call(1, "a"); !errors.Is(err, ErrOutcomeUnknown) {
		t.Fatalf("call said %v", err)
	}
	w.settle()
	if o := w.c.Objections(); len(o) != 1 || o[0].What != withheld || w.c.Acknowledged() != nil {
		t.Fatalf("signed for an answer that it never got: %+v", o)
	}
	w.restartConsumer()
	w.settle()
	if len(w.c.Objections()) != 1 {
		t.Fatal("objection was forgotten")
	}
	withholding = false
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
	w.agreed(1, 1)
}

// A leaf that the consumer will not sign is taken back, also when a period was closed behind it and both sides were
// restarted.
func TestVoid(t *testing.T) {
	w := newWorld(t)
	w.must(3, "a")
	forged := w.forge(RequestID{1}, `"x"`)
	w.must(3, "b")
	if _, err := w.l.ClosePeriod(t.Context(), 50); err != nil {
		t.Fatal(err)
	}
	w.must(2, "c")
	w.settle()
	if st := w.l.State(); st.Acked != 3 || st.Size != 10 {
		t.Fatalf("acknowledged past an objection: %+v", st)
	}
	w.restartConsumer()
	w.restartProvider()
	w.settle()
	if o := w.c.Objections(); len(o) != 1 || o[0].Seq != forged.Seq {
		t.Fatalf("objections after a restart: %+v", o)
	}
	v, err := w.l.Void(t.Context(), forged.Seq)
	if err != nil || v.Op != OpVoid || v.Units != -1 {
		t.Fatal(v, err)
	}
	for name, seq := range map[string]int64{"twice": forged.Seq, "a VOID": v.Seq, "nothing": 99, "acknowledged": 1} {
		if _, err := w.l.Void(t.Context(), seq); !refused(err, NotVoidable, AlreadyAcknowledged) {
			t.Errorf("void of %s: %v", name, err)
		}
	}
	w.restartProvider()
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
	// 9 calls, one CLOSE, the VOID, and the CLOSE again behind it
	w.agreed(12, 8)
	r, err := w.l.Report(50)
	if err != nil || r.Size != 12 || r.Totals.Calls != 8 || !r.Verify(w.terms.Consumer, w.terms.Provider) {
		t.Fatalf("report %+v, %v", r, err)
	}
	if len(w.c.Objections()) != 0 {
		t.Error("objection stands")
	}
}

func TestAcknowledgementsAreChecked(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	w.must(5, "a")
	w.settle()
	old := *w.c.Acknowledged()
	w.must(5, "b")
	w.settle()
	last := *w.c.Acknowledged()
	w.must(3, "c")
	if _, err := w.l.ClosePeriod(ctx, 60); err != nil {
		t.Fatal(err)
	}
	w.must(1, "d")
	root := func(n int) contracts.Hash {
		r := ranges.NewEmptyRange(0)
		for i := range n {
			raw, _ := w.l.Leaf(int64(i))
			extendRange(r, hashLeaf(raw))
		}
		return rootOf(r)
	}
	st := func(size int64, calls int64) contracts.Statement {
		return contracts.Statement{Agreement: w.terms.Agreement, Epoch: 1, Size: size, Root: root(int(min(size, 15))),
			Totals: contracts.Totals{Calls: calls, Units: calls, Micro: contracts.MicroYuan(calls * priceMicro)}}
	}
	_, evil, _ := ed25519.GenerateKey(rand.Reader)
	less, foreign, later := st(11, 11), st(11, 11), st(11, 11)
	less.Totals.Micro = 0
	foreign.Agreement = "ffffffffffffffffffffffffffffffff"
	later.Epoch = 2
	wrongRoot := st(11, 11)
	wrongRoot.Root = contracts.HashOf("x")
	equivocation := last.Statement
	equivocation.Root = contracts.HashOf("y")
	for name, x := range map[string]struct {
		a    Signed
		code contracts.Code
	}{
		"forged":                   {sign(st(11, 11), contracts.TagAck, evil), AckSignature},
		"head as acknowledgement":  {sign(st(11, 11), contracts.TagHead, w.ck), AckSignature},
		"foreign agreement":        {sign(foreign, contracts.TagAck, w.ck), AckSignature},
		"true key, false totals":   {sign(less, contracts.TagAck, w.ck), AckMismatch},
		"true key, false root":     {sign(wrongRoot, contracts.TagAck, w.ck), AckMismatch},
		"another at the same size": {sign(equivocation, contracts.TagAck, w.ck), AckMismatch},
		"past the end":             {sign(st(50, 50), contracts.TagAck, w.ck), LogBehindAck},
		"another epoch":            {sign(later, contracts.TagAck, w.ck), EpochMismatch},
		"over the end of a period": {sign(st(15, 14), contracts.TagAck, w.ck), AckOutOfPlace},
	} {
		if err := w.l.Acknowledge(ctx, x.a); !refused(err, x.code) {
			t.Errorf("%s: %v, want %s", name, err, x.code)
		}
	}
	if err := w.l.Acknowledge(ctx, old); err != nil {
		t.Errorf("an old acknowledgement is true: %v", err)
	}
	if got := w.l.State().Acked; got != 10 {
		t.Errorf("moved to %d", got)
	}
	if err := w.l.Acknowledge(ctx, sign(st(14, 13), contracts.TagAck, w.ck)); err != nil {
		t.Errorf("at the CLOSE: %v", err)
	}
	if _, err := w.l.Report(60); err != nil {
		t.Error(err)
	}
}
