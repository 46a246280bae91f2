package psi_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/privacy/psi"
)

// Layout of a frame and of a Hello, written down once more: tests that tamper must not use the code that they test.
const (
	header                       = 9
	atVersion, atSuite, atRole   = header, header + 1, header + 2
	atPadding, atElements        = header + 3, header + 4
	atSession, atSize, atPromise = header + 8, header + 40, header + 48
	hello, points, tags, closing = 1, 2, 3, 4
	senderIDs, receiverIDs       = 8, 7 // frames of 3, 3, 2 points and of 3, 3, 1
)

// honest runs a session of which every later one is a copy: the seeds are the same.
func honest(t *testing.T) *world {
	t.Helper()
	w := newWorld(ids(receiverIDs, 0), ids(senderIDs, 3))
	if _, _, err := w.run(context.Background()); err != nil {
		t.Fatal(err)
	}
	return w
}

// recommit makes a Hello promise the points that are there.
func recommit(f [][]byte) [][]byte {
	h := sha256.New()
	h.Write([]byte("bund/psi/commitment/v1\x00"))
	h.Write(f[0][atSession : atSession+32])
	h.Write(f[0][atRole : atRole+1])
	h.Write(f[0][atSize : atSize+8])
	for _, frame := range f[1:] {
		if frame[0] == points {
			h.Write(frame[header:])
		}
	}
	copy(f[0][atPromise:], h.Sum(nil))
	return f
}

// attack is what a peer sends instead of what it should.
type attack struct {
	name   string
	code   contracts.Code
	tamper func(f [][]byte) [][]byte
}

func set(frame, at int, b ...byte) func([][]byte) [][]byte {
	return func(f [][]byte) [][]byte {
		copy(f[frame][at:], b)
		return f
	}
}

func swap(i, j int) func([][]byte) [][]byte {
	return func(f [][]byte) [][]byte { f[i], f[j] = f[j], f[i]; return f }
}

func resize(frame, by int) func([][]byte) [][]byte {
	return func(f [][]byte) [][]byte {
		if by < 0 {
			f[frame] = f[frame][:len(f[frame])+by]
		} else {
			f[frame] = append(f[frame], f[frame][len(f[frame])-by:]...)
		}
		return f
	}
}

// onPoints are the attacks that both sides meet: on Hello and points.
func onPoints(size uint64) []attack {
	high := func(p []byte) { p[31] |= 0x80 }
	return []attack{
		{"empty frame", psi.BadFrame, func(f [][]byte) [][]byte { f[0] = nil; return f }},
		{"half a header", psi.BadFrame, func(f [][]byte) [][]byte { f[1] = f[1][:8]; return f }},
		{"frame above any", psi.BadFrame, func(f [][]byte) [][]byte { f[1] = append(f[1], make([]byte, psi.MaxFrameBytes)...); return f }},
		{"short Hello", psi.BadFrame, resize(0, -1)},
		{"long Hello", psi.BadFrame, resize(0, 1)},
		{"no kind", psi.BadFrame, set(1, 0, 0)},
		{"unknown kind", psi.BadFrame, set(1, 0, 5)},
		{"points where a Hello is due", psi.BadOrder, set(0, 0, points)},
		{"tags where points are due", psi.BadOrder, set(1, 0, tags)},
		{"Close where points are due", psi.BadOrder, set(2, 0, closing)},
		{"Hello twice", psi.BadOrder, func(f [][]byte) [][]byte { return slices.Insert(f, 1, f[0]) }},
		{"points replayed", psi.BadOrder, func(f [][]byte) [][]byte { return slices.Insert(f, 2, f[1]) }},
		{"points left out", psi.BadOrder, func(f [][]byte) [][]byte { return slices.Delete(f, 1, 2) }},
		{"points exchanged", psi.BadOrder, swap(1, 2)},

		{"other version", psi.BadParams, set(0, atVersion, 2)},
		{"other suite", psi.BadParams, set(0, atSuite, 2)},
		{"other padding", psi.BadParams, set(0, atPadding, byte(psi.Rounded))},
		{"other frames", psi.BadParams, set(0, atElements+3, 4)},
		{"other session", psi.BadParams, set(0, atSession, 2)},
		{"same role", psi.BadParams, func(f [][]byte) [][]byte { f[0][atRole] = 3 - f[0][atRole]; return f }},
		{"no role", psi.BadParams, set(0, atRole, 0)},

		{"no size", psi.BadSize, set(0, atSize, make([]byte, 8)...)},
		{"size above the maximum", psi.BadSize, set(0, atSize, binary.BigEndian.AppendUint64(nil, 1001)...)},
		{"size above any", psi.BadSize, set(0, atSize, 0xff)},

		{"one point more than a frame", psi.BadCount, resize(1, 32)},
		{"one point less than a frame", psi.BadCount, resize(1, -32)},
		{"one point more than the Hello says", psi.BadCount, resize(3, 32)},
		{"one point less than the Hello says", psi.BadCount, resize(3, -32)},
		{"half a point", psi.BadFrame, resize(3, -1)},
		{"Hello says one more", psi.BadCount, set(0, atSize, binary.BigEndian.AppendUint64(nil, size+1)...)},
		{"Hello says a frame less", psi.BadPromise, func(f [][]byte) [][]byte {
			binary.BigEndian.PutUint64(f[0][atSize:], 3)
			return f
		}},

		{"point above p", psi.BadPoint, func(f [][]byte) [][]byte { high(f[1][header:]); return recommit(f) }},
		{"point is p", psi.BadPoint, func(f [][]byte) [][]byte {
			p := f[2][header:][:32]
			for i := range p {
				p[i] = 0xff
			}
			p[0], p[31] = 0xed, 0x7f
			return recommit(f)
		}},
		{"point of order 2", psi.BadPoint, func(f [][]byte) [][]byte { clear(f[1][header:][:32]); return recommit(f) }},
		{"point of order 4", psi.BadPoint, func(f [][]byte) [][]byte {
			clear(f[1][header:][:32])
			f[1][header] = 1
			return recommit(f)
		}},

		{"point twice in a frame", psi.Duplicate, func(f [][]byte) [][]byte {
			copy(f[2][header+32:], f[2][header:][:32])
			return recommit(f)
		}},
		{"point twice across frames", psi.Duplicate, func(f [][]byte) [][]byte {
			copy(f[2][header:][:32], f[1][len(f[1])-32:])
			return recommit(f)
		}},
		{"points that descend", psi.Duplicate, func(f [][]byte) [][]byte {
			a, b := f[2][header:][:32], f[2][header+32:][:32]
			for i := range a {
				a[i], b[i] = b[i], a[i]
			}
			return recommit(f)
		}},
		{"other commitment", psi.BadPromise, set(0, atPromise, 1, 2, 3)},
		{"other points", psi.BadPromise, func(f [][]byte) [][]byte { f[3][len(f[3])-1] ^= 1; return f }},
	}
}

// meet gives one side the frames of an attack.
func meet(t *testing.T, victim func(w *world) error, frames [][]byte, out func(w *world) *side) error {
	t.Helper()
	w := newWorld(ids(receiverIDs, 0), ids(senderIDs, 3))
	in := out(w).link.in
	in.frames, in.closed = frames, io.ErrUnexpectedEOF
	return victim(w)
}

func copied(f [][]byte) [][]byte {
	out := make([][]byte, len(f))
	for i := range f {
		out[i] = slices.Clone(f[i])
	}
	return out
}

// TestSenderRefuses: what a receiver can do wrong. No tag leaves before the sender has the whole set.
func TestSenderRefuses(t *testing.T) {
	h := honest(t)
	late := []attack{
		{"tags where a Close is due", psi.BadOrder, set(4, 0, tags)},
		{"Close replayed from elsewhere", psi.BadOrder, set(4, 1, 1)},
		{"short Close", psi.BadFrame, resize(4, -1)},
		{"long Close", psi.BadFrame, resize(4, 1)},
		{"Close counts more", psi.BadCount, set(4, header+7, receiverIDs+1)},
		{"Close of other tags", psi.BadPromise, set(4, header+8, 1, 2, 3)},
	}
	for _, a := range append(onPoints(receiverIDs), late...) {
		t.Run(a.name, func(t *testing.T) {
			var victim *side
			err := meet(t, func(w *world) error {
				_, err := w.send(context.Background())
				return err
			}, a.tamper(copied(h.receiver.link.out.frames)), func(w *world) *side { victim = w.sender; return victim })
			wantCode(t, err, a.code)
			for _, f := range victim.link.out.frames {
				if f[0] == tags && !slices.ContainsFunc(late, func(l attack) bool { return l.name == a.name }) {
					t.Error("a tag was sent")
				}
			}
		})
	}
	if err := meet(t, func(w *world) error { _, err := w.send(context.Background()); return err }, copied(h.receiver.link.out.frames),
		func(w *world) *side { return w.sender }); err != nil {
		t.Errorf("the honest frames are refused: %v", err)
	}
}

// TestReceiverRefuses: what a sender can do wrong. Nothing is delivered then.
func TestReceiverRefuses(t *testing.T) {
	h := honest(t)
	attacks := append(onPoints(senderIDs),
		attack{"points where tags are due", psi.BadOrder, set(4, 0, points)},
		attack{"tags replayed", psi.BadOrder, func(f [][]byte) [][]byte { return slices.Insert(f, 5, f[4]) }},
		attack{"tags left out", psi.BadOrder, func(f [][]byte) [][]byte { return slices.Delete(f, 4, 5) }},
		attack{"tags exchanged", psi.BadOrder, swap(4, 5)},
		attack{"half a tag", psi.BadFrame, resize(6, -1)},
		attack{"one tag less", psi.BadCount, func(f [][]byte) [][]byte { f[4] = f[4][:len(f[4])-psi.TagSize(senderIDs, receiverIDs)]; return f }},
		attack{"one tag more", psi.BadCount, resize(6, psi.TagSize(senderIDs, receiverIDs))},
		attack{"Close counts less", psi.BadCount, set(7, header+7, receiverIDs-1)},
		attack{"Close of other tags", psi.BadPromise, set(7, header+8, 1, 2, 3)},
		attack{"other tags", psi.BadPromise, set(5, header, 1, 2, 3)},
		attack{"short Close", psi.BadFrame, resize(7, -1)},
		attack{"tags where a Close is due", psi.BadOrder, set(7, 0, tags)},
	)
	victim := func(w *world) error {
		_, err := w.receive(context.Background())
		if (err == nil) != (w.deliveries == 1) {
			t.Errorf("%d deliveries, and %v", w.deliveries, err)
		}
		return err
	}
	side := func(w *world) *side { return w.receiver }
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			wantCode(t, meet(t, victim, a.tamper(copied(h.sender.link.out.frames)), side), a.code)
		})
	}
	if err := meet(t, victim, copied(h.sender.link.out.frames), side); err != nil {
		t.Errorf("the honest frames are refused: %v", err)
	}
}

// TestRoundedSizeIsChecked: with rounded sizes a size that is none is refused.
func TestRoundedSizeIsChecked(t *testing.T) {
	w := newWorld(ids(20, 0), ids(30, 10))
	w.params.Padding = psi.Rounded
	if _, _, err := w.run(context.Background()); err != nil {
		t.Fatal(err)
	}
	frames := copied(w.receiver.link.out.frames)
	binary.BigEndian.PutUint64(frames[0][atSize:], 19)
	v := newWorld(nil, ids(30, 10))
	v.params.Padding = psi.Rounded
	v.sender.link.in.frames = frames
	_, err := v.send(context.Background())
	wantCode(t, err, psi.BadSize)
}

// TestOwnSet: a side's own list can be wrong too. Nothing is sent then.
func TestOwnSet(t *testing.T) {
	psi.Small(t)
	broken := errors.New("disk is gone")
	for name, c := range map[string]struct {
		params func(p *psi.Params)
		ids    psi.IDs
		code   contracts.Code
		err    error
	}{
		"id twice":            {nil, list(append(ids(11, 0), ids(1, 4)...)), psi.OwnDuplicate, nil},
		"too many":            {func(p *psi.Params) { p.SenderMax = 10 }, list(ids(11, 0)), psi.BadSize, nil},
		"too many if rounded": {func(p *psi.Params) { p.SenderMax, p.Padding = 9, psi.Rounded }, list(ids(9, 0)), psi.BadSize, nil},
		"list breaks":         {nil, func(yield func([]byte, error) bool) { _ = yield([]byte("a"), nil) && yield(nil, broken) }, "", broken},
	} {
		w := newWorld(nil, nil)
		if c.params != nil {
			c.params(&w.params)
		}
		_, err := w.sender.session(w.params).Send(context.Background(), c.ids)
		if c.err != nil {
			if !errors.Is(err, c.err) {
				t.Errorf("%s: %v", name, err)
			}
		} else {
			wantCode(t, err, c.code)
		}
		if n := w.sender.link.Sent(); n != 0 {
			t.Errorf("%s: %d frames were sent", name, n)
		}
	}
}

// TestBadParams: parameters that no session may have.
func TestBadParams(t *testing.T) {
	for name, change := range map[string]func(p *psi.Params){
		"no session":     func(p *psi.Params) { p.Session = [32]byte{} },
		"no maximum":     func(p *psi.Params) { p.SenderMax = 0 },
		"maximum":        func(p *psi.Params) { p.ReceiverMax = psi.MaxSize + 1 },
		"padding":        func(p *psi.Params) { p.Padding = 0 },
		"empty frames":   func(p *psi.Params) { p.FrameElements = 0 },
		"frames too big": func(p *psi.Params) { p.FrameElements = psi.MaxFrameElements + 1 },
	} {
		w := newWorld(nil, nil)
		change(&w.params)
		if _, err := w.send(context.Background()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
