package publish

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/client"
)

// Hashing of the tree: RFC 6962 with SHA-256. Factory makes compact ranges of it.
var (
	hasher  = rfc6962.DefaultHasher
	Factory = &compact.RangeFactory{Hash: hasher.HashChildren}
)

// LeafHash is the hash of a leaf in the tree.
func LeafHash(leaf []byte) []byte { return hasher.HashLeaf(leaf) }

const (
	hashBytes = 32
	tileBytes = hashBytes * layout.TileWidth
	// maxLeafBytes is what the length prefix of an entry bundle can say.
	maxLeafBytes = 1<<16 - 1
)

// tree writes tiles and entry bundles. A leaf's position decides every file and byte it ends in, so writing again after
// a crash, from the last checkpoint or from nothing, gives the same files. No file that a published checkpoint covers
// is ever written again: partial tiles carry their width in the name, and full ones appear once.
//
// Not safe for concurrent use. After an error the tree is ahead of its files; its owner must stop and resume anew.
type tree struct {
	fs     files
	size   uint64
	rng    *compact.Range
	edge   [][]byte // per tile level, the hashes of the open rightmost tile
	bundle []byte   // the open entry bundle
	dirty  map[string]bool
	kept   uint64 // size of the last flush: what is in files of that size is durable and not touched
}

func newTree(f files) *tree {
	return &tree{fs: f, rng: Factory.NewEmptyRange(0), dirty: map[string]bool{}}
}

// resumeTree reads the right edge at size and recomputes the root from the tiles. What lies beyond size is ignored and
// will be overwritten.
func resumeTree(ctx context.Context, f files, size uint64) (*tree, error) {
	t := newTree(f)
	if size == 0 {
		return t, nil
	}
	t.size, t.kept = size, size
	for lv := uint64(0); size>>(layout.TileHeight*lv) > 0; lv++ {
		n := size >> (layout.TileHeight * lv)
		var edge []byte
		if w := n % layout.TileWidth; w > 0 {
			b, err := readTile(f, lv, n/layout.TileWidth, uint8(w))
			if err != nil {
				return nil, err
			}
			edge = b[: hashBytes*w : hashBytes*w]
		}
		t.edge = append(t.edge, edge)
	}
	if w := size % layout.EntryBundleWidth; w > 0 {
		leaves, err := readBundle(f, size/layout.EntryBundleWidth, uint8(w))
		if err != nil {
			return nil, err
		}
		for _, l := range leaves {
			t.bundle = appendLeaf(t.bundle, l)
		}
	}
	nodes, err := client.FetchRangeNodes(ctx, size, tileFetcher(f))
	if err != nil {
		return nil, fmt.Errorf("couldn't read the tiles: %w", err)
	}
	t.rng, err = Factory.NewRange(0, size, nodes)
	return t, err
}

func (t *tree) root() [32]byte {
	if t.size == 0 {
		return [32]byte(hasher.EmptyRoot())
	}
	h, err := t.rng.GetRootHash(nil)
	if err != nil { // cannot happen: the range begins at 0 and is not empty
		panic(err)
	}
	return [32]byte(h)
}

func appendLeaf(bundle, leaf []byte) []byte {
	return append(binary.BigEndian.AppendUint16(bundle, uint16(len(leaf))), leaf...)
}

// add appends the leaf at position t.size and writes the tiles that it completes. Nothing is durable before flush.
func (t *tree) add(leaf []byte) error {
	if len(leaf) > maxLeafBytes {
		return fmt.Errorf("leaf %d has %d bytes, limit %d", t.size, len(leaf), maxLeafBytes)
	}
	t.bundle = appendLeaf(t.bundle, leaf)
	h := hasher.HashLeaf(leaf)
	if err := t.rng.Append(h, nil); err != nil {
		return err
	}
	t.size++
	for lv := 0; ; lv++ {
		if lv == len(t.edge) {
			t.edge = append(t.edge, nil)
		}
		t.edge[lv] = append(t.edge[lv], h...)
		if len(t.edge[lv]) < tileBytes {
			return nil
		}
		n := t.size>>(layout.TileHeight*(lv+1)) - 1
		if err := t.write(layout.TilePath(uint64(lv), n, 0), t.edge[lv]); err != nil {
			return err
		}
		if lv == 0 {
			if err := t.write(layout.EntriesPath(n, 0), t.bundle); err != nil {
				return err
			}
			t.bundle = nil
		}
		h = subtreeRoot(t.edge[lv])
		t.edge[lv] = nil
	}
}

func subtreeRoot(hashes []byte) []byte {
	row := bytesToHashes(hashes)
	for len(row) > 1 {
		for i := range len(row) / 2 {
			row[i] = hasher.HashChildren(row[2*i], row[2*i+1])
		}
		row = row[:len(row)/2]
	}
	return row[0]
}

func bytesToHashes(b []byte) [][]byte { return slices.Collect(slices.Chunk(b, hashBytes)) }

func (t *tree) write(name string, content []byte) error {
	if err := t.fs.Write(name, content); err != nil {
		return fmt.Errorf("couldn't write %s: %w", name, err)
	}
	t.dirty[name] = true
	return nil
}

// flush writes the partial tiles of the edge and makes everything written so far durable: each file, then each folder
// from the deepest up. After it, and not before, a checkpoint of this size may be signed.
func (t *tree) flush() error {
	for lv, hashes := range t.edge {
		// The partial tile of a higher level stays the same over many checkpoints. Writing it again could tear it.
		grew := t.size>>(layout.TileHeight*lv) != t.kept>>(layout.TileHeight*lv)
		if w := len(hashes) / hashBytes; w > 0 && grew {
			if err := t.write(layout.TilePath(uint64(lv), t.size>>(layout.TileHeight*lv)/layout.TileWidth, uint8(w)), hashes); err != nil {
				return err
			}
		}
	}
	if w := t.size % layout.EntryBundleWidth; w > 0 && t.size != t.kept {
		if err := t.write(layout.EntriesPath(t.size/layout.EntryBundleWidth, uint8(w)), t.bundle); err != nil {
			return err
		}
	}
	folders := map[string]bool{}
	for name := range t.dirty {
		if err := t.fs.Sync(name); err != nil {
			return fmt.Errorf("couldn't sync %s: %w", name, err)
		}
		for d := path.Dir(name); !folders[d]; d = path.Dir(d) {
			folders[d] = true
		}
	}
	order := slices.SortedFunc(maps.Keys(folders), func(a, b string) int {
		return strings.Count(b, "/") - strings.Count(a, "/")
	})
	if i := slices.Index(order, "."); i >= 0 { // "." has as many slashes as "tile"
		order = append(slices.Delete(order, i, i+1), ".")
	}
	for _, d := range order {
		if err := t.fs.SyncDir(d); err != nil {
			return fmt.Errorf("couldn't sync folder %s: %w", d, err)
		}
	}
	clear(t.dirty)
	t.kept = t.size
	return nil
}

// collect removes the partial tiles of every tile that became full between the published sizes from and to. Readers of
// an older checkpoint get the full tile instead. A crash leaves partial tiles behind, which sweep finds.
func (t *tree) collect(from, to uint64) error {
	for lv := uint64(0); to>>(layout.TileHeight*(lv+1)) > 0; lv++ {
		for n := from >> (layout.TileHeight * (lv + 1)); n < to>>(layout.TileHeight*(lv+1)); n++ {
			if err := t.fs.Remove(layout.TilePath(lv, n, 0) + ".p"); err != nil {
				return err
			}
			if lv == 0 {
				if err := t.fs.Remove(layout.EntriesPath(n, 0) + ".p"); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// sweep removes partial tiles left behind by a crash in collect: those of full tiles in the folders that hold the edge
// at the published size.
func (t *tree) sweep(size uint64) error {
	for lv := uint64(0); size>>(layout.TileHeight*(lv+1)) > 0; lv++ {
		full := size >> (layout.TileHeight * (lv + 1))
		names := []string{layout.TilePath(lv, full-1, 0)}
		if lv == 0 {
			names = append(names, layout.EntriesPath(full-1, 0))
		}
		for _, last := range names {
			have, err := t.fs.List(path.Dir(last))
			if err != nil {
				return err
			}
			for _, name := range have {
				// Within one folder of ≤1,000 tiles, names ascend with the index.
				if base, ok := strings.CutSuffix(name, ".p"); ok && base <= path.Base(last) {
					if err := t.fs.Remove(path.Join(path.Dir(last), name)); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// readTile reads a tile of width w (0 = full), or the full tile when the partial one was collected, and checks its size.
func readTile(f files, level, index uint64, w uint8) ([]byte, error) {
	name := layout.TilePath(level, index, w)
	want := int(w) * hashBytes
	b, err := f.Read(name)
	if w == 0 {
		want = tileBytes
	} else if errors.Is(err, fs.ErrNotExist) {
		name = layout.TilePath(level, index, 0)
		if b, err = f.Read(name); err == nil && len(b) == tileBytes {
			b = b[:want]
		}
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't read tile %s: %w", name, err)
	}
	if len(b) != want {
		return nil, fmt.Errorf("tile %s has %d bytes, want %d", name, len(b), want)
	}
	return b, nil
}

// readBundle reads the first w leaves of an entry bundle (0 = all 256).
func readBundle(f files, index uint64, w uint8) ([][]byte, error) {
	name := layout.EntriesPath(index, w)
	b, err := f.Read(name)
	if w != 0 && errors.Is(err, fs.ErrNotExist) {
		name = layout.EntriesPath(index, 0)
		b, err = f.Read(name)
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't read entry bundle %s: %w", name, err)
	}
	leaves, err := ParseBundle(b)
	want := int(w)
	if w == 0 {
		want = layout.EntryBundleWidth
	}
	if err == nil && len(leaves) < want {
		err = fmt.Errorf("%d leaves, want %d", len(leaves), want)
	}
	if err != nil {
		return nil, fmt.Errorf("entry bundle %s: %w", name, err)
	}
	return leaves[:want], nil
}

// ParseBundle splits an entry bundle of C2SP tlog-tiles into its leaves. At most 256 leaves, no bytes left over.
func ParseBundle(b []byte) ([][]byte, error) {
	leaves := make([][]byte, 0, layout.EntryBundleWidth)
	for len(b) > 0 {
		if len(b) < 2 || len(b) < 2+int(binary.BigEndian.Uint16(b)) {
			return nil, errors.New("cut short")
		}
		if len(leaves) == layout.EntryBundleWidth {
			return nil, errors.New("more than 256 leaves")
		}
		n := 2 + int(binary.BigEndian.Uint16(b))
		leaves = append(leaves, b[2:n:n])
		b = b[n:]
	}
	return leaves, nil
}

func tileFetcher(f files) client.TileFetcherFunc {
	return func(_ context.Context, level, index uint64, w uint8) ([]byte, error) {
		return readTile(f, level, index, w)
	}
}
