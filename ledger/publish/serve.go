package publish

import (
	"errors"
	"io/fs"
	"net/http"
	"strconv"

	"github.com/transparency-dev/tessera/api/layout"
)

// Handler serves the log to everybody, after C2SP tlog-tiles:
//
//	GET  /checkpoint                     changes; not cached
//	GET  /tile/<L>/<N>[.p/<W>]           never changes
//	GET  /tile/entries/<N>[.p/<W>]       never changes
//	POST /cosign                         a checkpoint whose cosignatures were asked for after the request came
//
// Only what the published checkpoint covers is served: nobody reads a tile that is being written.
func (p *Publisher) Handler() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /checkpoint", p.serveCheckpoint)
	m.HandleFunc("GET /tile/{level}/{index...}", p.serveTile)
	m.HandleFunc("POST /cosign", p.serveCosign)
	return m
}

func writeCheckpoint(w http.ResponseWriter, h Head) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", strconv.Itoa(len(h.Signed)))
	w.Write(h.Signed)
}

func (p *Publisher) serveCheckpoint(w http.ResponseWriter, r *http.Request) {
	h, ok := p.Head()
	if !ok {
		http.Error(w, "nothing is published yet", http.StatusNotFound)
		return
	}
	writeCheckpoint(w, h)
}

func (p *Publisher) serveCosign(w http.ResponseWriter, r *http.Request) {
	h, err := p.Cosign(r.Context())
	if err != nil {
		if r.Context().Err() == nil {
			p.cfg.Log.ErrorContext(r.Context(), "couldn't cosign on request", "err", err)
		}
		http.Error(w, "couldn't get the checkpoint cosigned", http.StatusServiceUnavailable)
		return
	}
	writeCheckpoint(w, h)
}

// serveTile reads a file only under the name that it makes itself from the numbers in the path, and only if the path
// is that name: no other spelling, no dots, no separators.
func (p *Publisher) serveTile(w http.ResponseWriter, r *http.Request) {
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
	h, _ := p.Head()
	if !covered(h.Size, lv, index, width) {
		http.NotFound(w, r)
		return
	}
	b, err := p.fs.Read(name)
	if errors.Is(err, fs.ErrNotExist) {
		http.NotFound(w, r) // a collected partial tile: the reader asks for the full one
		return
	}
	if err != nil {
		p.cfg.Log.ErrorContext(r.Context(), "couldn't read a tile", "name", name, "err", err)
		http.Error(w, "couldn't read the tile", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.Write(b)
}

// covered reports whether a tile of width (0 = full) is part of the tree of size.
func covered(size, level, index uint64, width uint8) bool {
	if level > 7 {
		return false // 2^63 leaves need no tile above level 7
	}
	n := size >> (layout.TileHeight * level) // hashes at this level
	if width > 0 {
		return n/layout.TileWidth > index || n/layout.TileWidth == index && n%layout.TileWidth >= uint64(width)
	}
	return n/layout.TileWidth > index
}
