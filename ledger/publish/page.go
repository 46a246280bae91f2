package publish

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/bund-exchange/bund/ledger"
)

// Page is the answer to GET /entries: every position in [From, Next) is accounted for, by a body or, when absent, as
// withheld. What is rightly withheld the reader judges by the leaf, never by the server's word.
//
// Layout: magic ‖ from (8) ‖ next (8) ‖ count (4) ‖ count × {position (8) ‖ length (4) ‖ encoded entry}, big-endian,
// nothing after it.
type Page struct {
	From   uint64
	Next   uint64
	Bodies []Body // ascending by position
}

// Body is one encoded entry.
type Body struct {
	Position uint64
	Encoded  []byte
}

const (
	pageMagic = "bund/entries/v1\x00"
	pageHead  = len(pageMagic) + 20
	frameHead = 12

	// MaxPagePositions bounds how far a page may reach.
	MaxPagePositions = 2000
	// pageBudget ends a page early; the body that passes it still goes, so a page holds at least one.
	pageBudget = 4 << 20
	// MaxPageBytes bounds the answer.
	MaxPageBytes = pageHead + pageBudget + ledger.MaxEntryBytes + MaxPagePositions*frameHead
)

// Marshal writes the page.
func (g Page) Marshal() []byte {
	n := pageHead
	for _, b := range g.Bodies {
		n += frameHead + len(b.Encoded)
	}
	out := append(make([]byte, 0, n), pageMagic...)
	out = binary.BigEndian.AppendUint64(out, g.From)
	out = binary.BigEndian.AppendUint64(out, g.Next)
	out = binary.BigEndian.AppendUint32(out, uint32(len(g.Bodies)))
	for _, b := range g.Bodies {
		out = binary.BigEndian.AppendUint64(out, b.Position)
		out = binary.BigEndian.AppendUint32(out, uint32(len(b.Encoded)))
		out = append(out, b.Encoded...)
	}
	return out
}

// ParsePage accepts only what Marshal writes of a page within the limits. Bodies are slices of b, not decoded.
func ParsePage(b []byte) (Page, error) {
	var g Page
	if len(b) < pageHead || len(b) > MaxPageBytes || string(b[:len(pageMagic)]) != pageMagic {
		return g, errors.New("page: wrong magic or size")
	}
	h := b[len(pageMagic):]
	g.From, g.Next = binary.BigEndian.Uint64(h), binary.BigEndian.Uint64(h[8:])
	count := binary.BigEndian.Uint32(h[16:])
	if g.Next < g.From || g.Next-g.From > MaxPagePositions || uint64(count) > g.Next-g.From || g.Next > 1<<63 {
		return Page{}, fmt.Errorf("page: from %d to %d with %d bodies", g.From, g.Next, count)
	}
	b = h[20:]
	at := g.From
	for i := range count {
		if len(b) < frameHead {
			return Page{}, fmt.Errorf("page: body %d is cut short", i)
		}
		pos, n := binary.BigEndian.Uint64(b), binary.BigEndian.Uint32(b[8:])
		if pos < at || pos >= g.Next {
			return Page{}, fmt.Errorf("page: body %d has position %d, want one from %d below %d", i, pos, at, g.Next)
		}
		if n > ledger.MaxEntryBytes || uint64(n) > uint64(len(b)-frameHead) {
			return Page{}, fmt.Errorf("page: body at %d is cut short or too long", pos)
		}
		g.Bodies = append(g.Bodies, Body{Position: pos, Encoded: b[frameHead : frameHead+n : frameHead+n]})
		b, at = b[frameHead+n:], pos+1
	}
	if len(b) > 0 {
		return Page{}, errors.New("page: trailing bytes")
	}
	return g, nil
}
