package blockaudit

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// commitHash is what a peer notes of a block when it has committed it: a hash over the validation flags, over all that
// valid transactions changed, and over the commit hash of the block before. Peers whose states differ differ in it.
func commitHash(flags []byte, u updates, prev []byte) []byte {
	h := sha256.New()
	h.Write(binary.AppendUvarint(nil, uint64(len(flags))))
	h.Write(flags)
	h.Write(u.encode())
	h.Write(prev)
	return h.Sum(nil)
}

// encode writes the changes in order, as protocol buffers (message Updates of Fabric's txmgr); a namespace or collection stands only with the first of its keys.
func (u updates) encode() (b []byte) {
	places := make([]place, 0, len(u))
	for p := range u {
		places = append(places, p)
	}
	slices.SortFunc(places, place.compare)
	for i, p := range places {
		var kv []byte
		text := func(field byte, s string) {
			if s != "" {
				kv = append(binary.AppendUvarint(append(kv, field<<3|2), uint64(len(s))), s...)
			}
		}
		first := i == 0 || places[i-1].namespace != p.namespace
		if first {
			text(1, p.namespace)
		}
		if first || places[i-1].collection != p.collection {
			text(2, p.collection)
		}
		text(3, p.key)
		w := u[p]
		if w.value == nil {
			kv = append(kv, 4<<3, 1)
		}
		text(5, string(w.value))
		text(6, string(append(orderedNumber(w.at.block), orderedNumber(w.at.tx)...)))
		b = append(binary.AppendUvarint(append(b, 1<<3|2), uint64(len(kv))), kv...)
	}
	return b
}

// orderedNumber writes a number so that bytes compare as numbers do: how many bytes, then those.
func orderedNumber(n uint64) []byte {
	b := binary.BigEndian.AppendUint64(nil, n)
	for len(b) > 0 && b[0] == 0 {
		b = b[1:]
	}
	return append([]byte{byte(len(b))}, b...)
}
