package meter

// marks knows at which sizes a log may be acknowledged. An acknowledgement stops at each CLOSE, so that a period ends
// at exactly one size, and never parts a VOID from the leaf it takes back, so that acknowledged totals never fall.
// Both sides keep one, over the leaves that are not yet acknowledged.
type marks struct {
	closes []closeMark
	voids  []voidMark
}

type closeMark struct{ seq, ref int64 }

type voidMark struct{ target, seq int64 }

func (m *marks) note(l *Leaf) {
	switch l.Op {
	case OpClose:
		// A VOID behind an unacknowledged CLOSE of the same period moves the end of the period behind itself.
		for i, c := range m.closes {
			if c.ref == l.Ref {
				m.closes = append(m.closes[:i], m.closes[i+1:]...)
				break
			}
		}
		m.closes = append(m.closes, closeMark{l.Seq, l.Ref})
	case OpVoid:
		m.voids = append(m.voids, voidMark{l.Ref, l.Seq})
	}
}

// target gives the largest size in (from, size] that may be acknowledged next, or from.
func (m *marks) target(from, size int64) int64 {
	for _, c := range m.closes {
		if c.seq >= from {
			size = min(size, c.seq+1)
		}
	}
	for again := true; again; {
		again = false
		for _, v := range m.voids {
			if v.target < size && size <= v.seq && v.target >= from {
				size, again = v.target, true
			}
		}
	}
	return max(from, size)
}

// allows reports whether a log acknowledged to from may next be acknowledged to size.
func (m *marks) allows(from, size int64) bool { return m.target(from, size) == size }

// opens reports whether a CLOSE of ref may follow, where lastClose was the last acknowledged one.
func (m *marks) opens(lastClose, ref int64) bool {
	for _, c := range m.closes {
		lastClose = max(lastClose, c.ref-1) // the same once more: it moves
	}
	return ref > lastClose
}

// closeAt gives the period that ends at size, or 0.
func (m *marks) closeAt(size int64) int64 {
	for _, c := range m.closes {
		if c.seq+1 == size {
			return c.ref
		}
	}
	return 0
}

func (m *marks) voided(seq int64) bool {
	for _, v := range m.voids {
		if v.target == seq {
			return true
		}
	}
	return false
}

// drop forgets what lies below an acknowledged size.
func (m *marks) drop(size int64) {
	var keep marks
	for _, c := range m.closes {
		if c.seq >= size {
			keep.closes = append(keep.closes, c)
		}
	}
	for _, v := range m.voids {
		if v.seq >= size {
			keep.voids = append(keep.voids, v)
		}
	}
	*m = keep
}
