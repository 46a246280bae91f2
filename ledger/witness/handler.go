package witness

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/bund-exchange/bund/ledger/publish"
)

const (
	maxBodyBytes = 64 << 10
	maxProof     = 63
)

// Handler serves POST /add-checkpoint.
func (w *Witness) Handler() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("POST /add-checkpoint", w.serveAdd)
	return m
}

func (w *Witness) serveAdd(rw http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxBodyBytes))
	if err != nil {
		http.Error(rw, "couldn't read the request", http.StatusBadRequest)
		return
	}
	a := w.add(b)
	if a.status == http.StatusOK {
		rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(rw, a.lines)
		return
	}
	w.log.WarnContext(r.Context(), "checkpoint not cosigned", "status", a.status, "why", a.why)
	if a.elsewhen {
		rw.Header().Set("Content-Type", publish.EpochType)
		rw.WriteHeader(a.status)
		fmt.Fprintf(rw, "%d\n", a.epoch)
		return
	}
	if a.known {
		rw.Header().Set("Content-Type", "text/x.tlog.size")
		rw.WriteHeader(a.status)
		fmt.Fprintf(rw, "%d\n", a.size)
		return
	}
	http.Error(rw, a.why, a.status)
}

type answer struct {
	status   int
	lines    string // of 200
	known    bool   // a 409 that tells the size
	size     uint64
	elsewhen bool // a 404 that tells the epoch
	epoch    uint64
	why      string
}

func refuse(status int, format string, args ...any) answer {
	return answer{status: status, why: fmt.Sprintf(format, args...)}
}

// request is a parsed add-checkpoint body.
type request struct {
	old    uint64
	proof  [][]byte
	signed []byte
}

// parseRequest reads the old size line, up to 63 hashes, an empty line and a checkpoint; one way to write each.
func parseRequest(b []byte) (request, error) {
	var q request
	head, signed, ok := bytes.Cut(b, []byte("\n\n"))
	if !ok || len(signed) == 0 {
		return q, errors.New("no empty line before a checkpoint")
	}
	q.signed = signed
	lines := strings.Split(string(head), "\n")
	text, ok := strings.CutPrefix(lines[0], "old ")
	n, err := strconv.ParseUint(text, 10, 63)
	if !ok || err != nil || strconv.FormatUint(n, 10) != text {
		return q, errors.New("old size line is malformed")
	}
	q.old = n
	if len(lines)-1 > maxProof {
		return q, errors.New("more than 63 proof lines")
	}
	for _, l := range lines[1:] {
		h, err := base64.StdEncoding.Strict().DecodeString(l)
		if err != nil || len(h) != 32 || base64.StdEncoding.EncodeToString(h) != l {
			return q, errors.New("proof line is malformed")
		}
		q.proof = append(q.proof, h)
	}
	return q, nil
}

// add decides on one request. Checks are in the order of the specification: origin, signature, sizes, roots, proof.
func (w *Witness) add(body []byte) answer {
	q, err := parseRequest(body)
	if err != nil {
		return refuse(http.StatusBadRequest, "request is malformed: %v", err)
	}
	line, _, _ := bytes.Cut(q.signed, []byte("\n"))
	if id, _, _ := bytes.Cut(line, []byte("#")); string(id) != w.origin() {
		return refuse(http.StatusNotFound, "another log than %s", w.origin())
	}
	h, err := w.policy.Open(q.signed)
	if err != nil {
		return refuse(http.StatusForbidden, "%v", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return refuse(http.StatusServiceUnavailable, "stopped")
	}
	// Another epoch is another log, which this witness's operator takes up (Accept), never a request. Nothing cosigned is
	// nothing to lose.
	if h.Epoch != w.last.Epoch && (w.last.Size > 0 || h.Epoch < w.last.Epoch) {
		return answer{status: http.StatusNotFound, elsewhen: true, epoch: w.last.Epoch, why: fmt.Sprintf("epoch %d of the log, this witness is in %d", h.Epoch, w.last.Epoch)}
	}
	if q.old > h.Size {
		return refuse(http.StatusBadRequest, "old size %d is above the checkpoint's %d", q.old, h.Size)
	}
	switch {
	case q.old != w.last.Size:
		return answer{status: http.StatusConflict, known: true, size: w.last.Size, why: "old size isn't the last one cosigned"}
	case q.old == h.Size && w.last.Signed != nil && h.Root != w.last.Root:
		return w.conflict(http.StatusConflict, "fork", h, errors.New("one size, two roots"))
	case (q.old == 0 || q.old == h.Size) && len(q.proof) > 0:
		return refuse(http.StatusUnprocessableEntity, "a proof of nothing is empty")
	case 0 < q.old && q.old < h.Size:
		if err := publish.VerifyConsistency(q.old, h.Size, q.proof, w.last.Root, h.Root); err != nil {
			return w.conflict(http.StatusUnprocessableEntity, "unproven", h, err)
		}
	}
	if w.last.Before(h.Checkpoint) || w.last.Signed == nil {
		if err := w.record(h); err != nil {
			w.broken = err // what is on disk now only a new start can tell
			w.log.Error("stopped cosigning", "err", err)
			return refuse(http.StatusServiceUnavailable, "stopped")
		}
		w.last = h
	}
	signed, err := note.Sign(&note.Note{Text: h.Text()}, w.key.at(w.now()))
	if err != nil {
		return refuse(http.StatusServiceUnavailable, "%v", err)
	}
	return answer{status: http.StatusOK, lines: string(signed[bytes.LastIndex(signed, []byte("\n\n"))+2:])}
}

// conflict keeps both checkpoints. That they could not be kept doesn't change the answer.
func (w *Witness) conflict(status int, kind string, h publish.Head, why error) answer {
	if err := w.keep(kind, h); err != nil {
		w.log.Error("couldn't keep evidence", "kind", kind, "size", w.last.Size, "refused", h.Size, "err", err)
	}
	w.log.Error("the log shows another history", "kind", kind, "size", w.last.Size, "root", fmt.Sprintf("%x", w.last.Root),
		"refusedSize", h.Size, "refusedRoot", fmt.Sprintf("%x", h.Root))
	return refuse(status, "%v", why)
}
