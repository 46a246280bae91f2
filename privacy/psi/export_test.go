package psi

import "testing"

// Small sets the bounds of memory and of lost work to next to nothing, so that small sets pass them.
func Small(t testing.TB) {
	r, m, f, s := runEntries, mergeEntries, matchEntries, syncFrames
	runEntries, mergeEntries, matchEntries, syncFrames = 5, 2, 4, 2
	t.Cleanup(func() { runEntries, mergeEntries, matchEntries, syncFrames = r, m, f, s })
}

func RoundedSize(p Padding, n uint64) uint64 { return p.Announced(n) }

var TagSize = tagSize
