package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
)

// volatileFiles is a folder in memory that forgets what was not synced. It crashes before or in the middle of a chosen
// operation; reboot then decides by a seed what of the unsynced survived: nothing, part of a file, or all.
type volatileFiles struct {
	now    map[string][]byte // what readers see
	synced map[string][]byte // content as of the last Sync
	parent map[string]bool   // names whose folder was synced since they came to be
	undo   map[string][]byte // what a rename replaced (nil: nothing), until its folder is synced

	ops     int
	crashAt int // number of the operation that crashes; 0 = never
	torn    int // of the crashing write, how much in 1/3 is done
}

var errCrash = errors.New("power cut")

func newVolatile() *volatileFiles {
	return &volatileFiles{now: map[string][]byte{}, synced: map[string][]byte{}, parent: map[string]bool{}, undo: map[string][]byte{}}
}

func (v *volatileFiles) step() error {
	v.ops++
	if v.crashAt > 0 && v.ops >= v.crashAt {
		return errCrash
	}
	return nil
}

func (v *volatileFiles) Read(name string) ([]byte, error) {
	b, ok := v.now[name]
	if !ok {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	return slices.Clone(b), nil
}

func (v *volatileFiles) Write(name string, content []byte) error {
	if err := v.step(); err != nil {
		v.now[name] = slices.Clone(content[:len(content)*v.torn/3])
		return err
	}
	v.now[name] = slices.Clone(content)
	return nil
}

func (v *volatileFiles) Sync(name string) error {
	if err := v.step(); err != nil {
		return err
	}
	b, ok := v.now[name]
	if !ok {
		return fs.ErrNotExist
	}
	v.synced[name] = b
	return nil
}

// SyncDir makes the names in one folder durable, sub-folders included as names, not their content.
func (v *volatileFiles) SyncDir(name string) error {
	if err := v.step(); err != nil {
		return err
	}
	for n := range v.undo {
		if path.Dir(n) == name {
			delete(v.undo, n)
		}
	}
	for n := range v.now {
		for d := n; d != "."; d = path.Dir(d) {
			if path.Dir(d) == name {
				v.parent[d] = true
			}
		}
	}
	return nil
}

// Rename is atomic, and its new name counts as synced content under the old name's sync; whether a crash shows the old
// or the new file is open until SyncDir.
func (v *volatileFiles) Rename(from, to string) error {
	if err := v.step(); err != nil {
		return err
	}
	b, ok := v.now[from]
	if !ok {
		return fs.ErrNotExist
	}
	if _, ok := v.undo[to]; !ok {
		v.undo[to] = v.now[to]
	}
	v.now[to] = b
	if s, ok := v.synced[from]; ok && slices.Equal(s, b) {
		v.synced[to] = s
	} else {
		delete(v.synced, to) // renamed before it was synced: may be empty after a crash
	}
	delete(v.now, from)
	delete(v.synced, from)
	return nil
}

func (v *volatileFiles) Remove(name string) error {
	if err := v.step(); err != nil {
		return err
	}
	for n := range v.now {
		if n == name || strings.HasPrefix(n, name+"/") {
			delete(v.now, n)
		}
	}
	return nil
}

func (v *volatileFiles) List(name string) ([]string, error) {
	seen := map[string]bool{}
	for n := range v.now {
		if rest, ok := strings.CutPrefix(n, name+"/"); ok {
			first, _, _ := strings.Cut(rest, "/")
			seen[first] = true
		}
	}
	var names []string
	for n := range seen {
		names = append(names, n)
	}
	slices.Sort(names)
	return names, nil
}

// reboot is the folder after the crash.
func (v *volatileFiles) reboot(r *rand.Rand) *volatileFiles {
	after := newVolatile()
	names := make([]string, 0, len(v.now))
	for n := range v.now {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		if old, ok := v.undo[n]; ok && r.IntN(2) == 0 {
			if old != nil {
				after.now[n], after.synced[n], after.parent[n] = old, old, true
			}
			continue
		}
		kept := true // every name on the way down must be durable, or lucky
		for d := n; d != "."; d = path.Dir(d) {
			if !v.parent[d] && r.IntN(2) == 0 {
				kept = false
			}
		}
		if !kept {
			continue
		}
		b := v.now[n]
		if s, ok := v.synced[n]; !ok || !slices.Equal(s, b) {
			switch r.IntN(3) {
			case 0:
				b = b[:r.IntN(len(b)+1)]
			case 1:
				b = s // old content, or empty
			}
		}
		after.now[n], after.synced[n] = slices.Clone(b), slices.Clone(b)
		for d := n; d != "."; d = path.Dir(d) {
			after.parent[d] = true
		}
	}
	return after
}
