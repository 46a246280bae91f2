package compute

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
)

// group is who stands behind one released figure.
type group struct {
	subjects int64
	cohort   []byte // as an exactCell's
}

// encodeGroups writes the cohorts of one answer, to be kept:
//
//	groups u32, then subjects u32 and length u32 each, then the cohorts, then crc u32 of all before
func encodeGroups(gs []group) []byte {
	n := 8 + 8*len(gs)
	for i := range gs {
		n += len(gs[i].cohort)
	}
	b := binary.BigEndian.AppendUint32(make([]byte, 0, n), uint32(len(gs)))
	for i := range gs {
		b = binary.BigEndian.AppendUint32(b, uint32(gs[i].subjects))
		b = binary.BigEndian.AppendUint32(b, uint32(len(gs[i].cohort)))
	}
	for i := range gs {
		b = append(b, gs[i].cohort...)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

var errKeptCohort = errors.New("a kept cohort is damaged")

// decodeGroups reads kept cohorts, whose memory it shares. The cohorts themselves are read by eachSubject.
func decodeGroups(b []byte) ([]group, error) {
	if len(b) < 8 || crc32.Checksum(b[:len(b)-4], castagnoli) != binary.BigEndian.Uint32(b[len(b)-4:]) {
		return nil, errKeptCohort
	}
	n, rest := int(binary.BigEndian.Uint32(b)), b[4:len(b)-4]
	if n > maxCells || len(rest) < 8*n {
		return nil, errKeptCohort
	}
	gs, cohorts := make([]group, n), rest[8*n:]
	for i := range gs {
		length := int64(binary.BigEndian.Uint32(rest[8*i+4:]))
		if length > int64(len(cohorts)) {
			return nil, errKeptCohort
		}
		gs[i] = group{int64(binary.BigEndian.Uint32(rest[8*i:])), cohorts[:length]}
		cohorts = cohorts[length:]
	}
	if len(cohorts) > 0 {
		return nil, errKeptCohort
	}
	return gs, nil
}

// comparison holds new groups against those that were answered before.
type comparison struct {
	groups   []group
	subjects int64 // of the snapshot
	bySize   []int // the groups, smallest first

	first []int32            // by subject: one of its groups, plus 1
	more  map[uint32][]int32 // and the others, for subjects with several rows
	count []int32            // by group: subjects in common with the old one in hand
}

func newComparison(groups []group, subjects int64) *comparison {
	c := &comparison{groups: groups, subjects: subjects, bySize: make([]int, len(groups))}
	for i := range c.bySize {
		c.bySize[i] = i
	}
	slices.SortFunc(c.bySize, func(a, b int) int { return int(groups[a].subjects - groups[b].subjects) })
	return c
}

// nearest gives the least number of subjects that are in one of a new and an old group and not in both, or limit when
// there are no fewer. Sizes alone settle nearly all pairs: who differs by few is about as many.
func (c *comparison) nearest(old []group, limit int64) (int64, error) {
	for i := range old {
		if !c.similar(old[i].subjects, limit) {
			continue
		}
		if err := c.index(); err != nil {
			return 0, err
		}
		clear(c.count)
		var touched []int32
		meet := func(g int32) {
			if c.count[g]++; c.count[g] == 1 {
				touched = append(touched, g)
			}
		}
		err := eachSubject(old[i].cohort, old[i].subjects, c.subjects, func(s uint32) {
			if g := c.first[s]; g > 0 {
				meet(g - 1)
				for _, g := range c.more[s] {
					meet(g)
				}
			}
		})
		if err != nil {
			return 0, fmt.Errorf("%w: %v", errKeptCohort, err)
		}
		for _, g := range touched {
			limit = min(limit, c.groups[g].subjects+old[i].subjects-2*int64(c.count[g]))
		}
		// Of the groups that have nobody in common with it, the smallest is the nearest.
		for _, g := range c.bySize {
			if c.count[g] == 0 {
				limit = min(limit, c.groups[g].subjects+old[i].subjects)
				break
			}
		}
	}
	return limit, nil
}

// similar reports whether any new group's size is within limit of n.
func (c *comparison) similar(n, limit int64) bool {
	i, _ := slices.BinarySearchFunc(c.bySize, n-limit+1, func(g int, size int64) int { return int(c.groups[g].subjects - size) })
	return i < len(c.bySize) && c.groups[c.bySize[i]].subjects < n+limit
}

// index notes each subject's groups, once.
func (c *comparison) index() error {
	if c.first != nil {
		return nil
	}
	c.first, c.more, c.count = make([]int32, c.subjects), map[uint32][]int32{}, make([]int32, len(c.groups))
	for i := range c.groups {
		err := eachSubject(c.groups[i].cohort, c.groups[i].subjects, c.subjects, func(s uint32) {
			if c.first[s] == 0 {
				c.first[s] = int32(i) + 1
			} else {
				c.more[s] = append(c.more[s], int32(i))
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}
