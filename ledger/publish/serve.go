package publish

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"net/http"
	"strconv"

	"github.com/transparency-dev/tessera/api/layout"
)

// face is what the publisher of a log and every reader of its folder serve.
type face struct {
	cfg     Config
	src     Source
	fs      files
	stopped context.Context // of the owner: Close must not wait for readers

	// newest is the head that is shown. One that has so many entries already needn't be looked for anew.
	newest func(ctx context.Context, size uint64) (Head, bool)
	cosign func(context.Context) (Head, error)
}

// Handler serves the log to everybody, after C2SP tlog-tiles:
//
//	GET  /checkpoint                     changes; not cached
//	GET  /tile/<L>/<N>[.p/<W>]           never changes
//	GET  /tile/entries/<N>[.p/<W>]       never changes
//	POST /cosign                         a checkpoint whose cosignatures were asked for after the request came
//
// Only what the published checkpoint covers is served: nobody reads a tile that is being written.
func (f *face) Handler() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /checkpoint", f.serveCheckpoint)
	m.HandleFunc("GET /tile/{level}/{index...}", f.serveTile)
	m.HandleFunc("POST /cosign", f.serveCosign)
	return m
}

func writeCheckpoint(w http.ResponseWriter, h Head) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", strconv.Itoa(len(h.Signed)))
	w.Write(h.Signed)
}

func (f *face) serveCheckpoint(w http.ResponseWriter, r *http.Request) {
	h, ok := f.newest(r.Context(), math.MaxUint64)
	if !ok {
		http.Error(w, "nothing is published yet", http.StatusNotFound)
		return
	}
	writeCheckpoint(w, h)
}

func (f *face) serveCosign(w http.ResponseWriter, r *http.Request) {
	h, err := f.cosign(r.Context())
	if err != nil {
		if r.Context().Err() == nil {
			f.cfg.Log.ErrorContext(r.Context(), "couldn't cosign on request", "err", err)
		}
		http.Error(w, "couldn't get the checkpoint cosigned", http.StatusServiceUnavailable)
		return
	}
	writeCheckpoint(w, h)
}

// serveTile reads a file only under the name that it makes itself from the numbers in the path, and only if the path
// is that name: no other spelling, no dots, no separators.
func (f *face) serveTile(w http.ResponseWriter, r *http.Request) {
	level, path := r.PathValue("level"), r.PathValue("index")
	index, width, err := layout.ParseTileIndexPartial(path)
	if err != nil || path != layout.NWithSuffix(0, index, width) {
		http.NotFound(w, r)
		return
	}
	var name string
	lv := uint64(0)
	if level == "entries" {
		name = layout.EntriesPath(index, width)
	} else {
		if lv, err = layout.ParseTileLevel(level); err != nil || level != strconv.FormatUint(lv, 10) {
			http.NotFound(w, r)
			return
		}
		name = layout.TilePath(lv, index, width)
	}
	size, ok := tileSize(lv, index, width)
	if !ok {
		http.NotFound(w, r)
		return
	}
	if h, _ := f.newest(r.Context(), size); h.Size < size {
		http.NotFound(w, r)
		return
	}
	b, err := f.fs.Read(name)
	if errors.Is(err, fs.ErrNotExist) {
		http.NotFound(w, r) // a collected partial tile: the reader asks for the full one
		return
	}
	if err != nil {
		f.cfg.Log.ErrorContext(r.Context(), "couldn't read a tile", "name", name, "err", err)
		http.Error(w, "couldn't read the tile", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.Write(b)
}

// tileSize is the size of the smallest tree that a tile of width (0 = full) is part of; false when no tree has it.
func tileSize(level, index uint64, width uint8) (uint64, bool) {
	if level > 7 { // 2^63 leaves need no tile above level 7
		return 0, false
	}
	w := uint64(width)
	if w == 0 {
		w = layout.TileWidth
	}
	most := uint64(1<<63) >> (layout.TileHeight * level) // hashes at this level
	if index >= most/layout.TileWidth+1 || index*layout.TileWidth+w > most {
		return 0, false
	}
	return (index*layout.TileWidth + w) << (layout.TileHeight * level), true
}
