package meter

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/bund-exchange/bund/contracts"
)

// Headers and limits of the wire between two nodes.
const (
	HeaderRequest = "Bund-Request" // request id, base64url
	HeaderEpoch   = "Bund-Epoch"   // epoch that the consumer is in, decimal
	HeaderReceipt = "Bund-Receipt" // leaf and signed head, base64
	HeaderHead    = "Bund-Head"    // signed head, base64
	maxLeavesPage = 1000
	problemType   = "application/problem+json"
	binaryType    = "application/octet-stream"
	jsonType      = "application/json"
)

// Handler serves one log to its consumer; the node mounts it under the agreement's path, after it has made sure who
// the peer is:
//
//	POST …/call    Bund-Request, Bund-Epoch → the answer's bytes, Bund-Receipt
//	GET  …/leaves  ?epoch=&from= → leaves one after another, Bund-Head
//	GET  …/answer  ?epoch=&seq= → the answer's bytes, Bund-Receipt
//	POST …/ack     encoded acknowledgement → 204
//	GET  …/final   ?epoch= → the acknowledgement at which an epoch ended, or nothing
//	GET  …/state   → where the log stands
//
// 409 is a refusal with its code, 400 a malformed request, 503 a failure: nothing was served, send the same again,
// here or to the standby.
func (l *Log) Handler() http.Handler { return http.HandlerFunc(l.serveHTTP) }

func (l *Log) serveHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	op := path[strings.LastIndexByte(path, '/')+1:]
	var err error
	switch {
	case op == "call" && r.Method == http.MethodPost:
		err = l.serveCall(w, r)
	case op == "ack" && r.Method == http.MethodPost:
		err = l.serveAck(w, r)
	case op == "leaves" && r.Method == http.MethodGet:
		err = l.serveLeaves(w, r)
	case op == "answer" && r.Method == http.MethodGet:
		err = l.serveAnswer(w, r)
	case op == "final" && r.Method == http.MethodGet:
		err = l.serveFinal(w, r)
	case op == "state" && r.Method == http.MethodGet:
		w.Header().Set("Content-Type", jsonType)
		err = json.NewEncoder(w).Encode(l.State())
	default:
		err = &wireError{http.StatusNotFound, "no such operation"}
	}
	if err != nil {
		l.writeError(w, r, err)
	}
}

func (l *Log) serveCall(w http.ResponseWriter, r *http.Request) error {
	id, err := ParseRequestID(r.Header.Get(HeaderRequest))
	if err != nil {
		return &wireError{http.StatusBadRequest, "malformed " + HeaderRequest}
	}
	epoch, ok := parseDecimal(r.Header.Get(HeaderEpoch))
	if !ok {
		return &wireError{http.StatusBadRequest, "malformed " + HeaderEpoch}
	}
	body, err := readBody(r.Body, r.ContentLength, MaxRequestBytes)
	if err != nil {
		return &wireError{http.StatusBadRequest, "unreadable or oversized request"}
	}
	a, err := l.Serve(r.Context(), &Call{ID: id, Epoch: epoch, Body: body})
	if err != nil {
		return err
	}
	writeAnswer(w, a)
	return nil
}

func writeAnswer(w http.ResponseWriter, a *Answer) {
	h := w.Header()
	h["Content-Type"] = jsonContent
	h[HeaderReceipt] = []string{a.Receipt.String()}
	h["Content-Length"] = []string{strconv.Itoa(len(a.Body))}
	w.Write(a.Body) // if the consumer doesn't get it, it asks again
}

var jsonContent = []string{jsonType}

func (l *Log) serveAck(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(r.Body, r.ContentLength, SignedSize)
	if err != nil {
		return &wireError{http.StatusBadRequest, "malformed acknowledgement"}
	}
	a, err := DecodeSigned(body)
	if err != nil {
		return &wireError{http.StatusBadRequest, "malformed acknowledgement"}
	}
	if err := l.Acknowledge(r.Context(), a); err != nil {
		return err
	}
	if err := l.p.cfg.faults.at("provider.ack-stored"); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (l *Log) serveLeaves(w http.ResponseWriter, r *http.Request) error {
	n, ok := decimals(r, "epoch", "from")
	if !ok {
		return &wireError{http.StatusBadRequest, "want epoch and from"}
	}
	leaves, head, err := l.Leaves(n[0], n[1], maxLeavesPage)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", binaryType)
	w.Header().Set(HeaderHead, base64.RawStdEncoding.EncodeToString(head))
	w.Write(leaves)
	return nil
}

func (l *Log) serveAnswer(w http.ResponseWriter, r *http.Request) error {
	n, ok := decimals(r, "epoch", "seq")
	if !ok {
		return &wireError{http.StatusBadRequest, "want epoch and seq"}
	}
	a, err := l.AnswerAt(n[0], n[1])
	if err != nil {
		return err
	}
	writeAnswer(w, a)
	return nil
}

func (l *Log) serveFinal(w http.ResponseWriter, r *http.Request) error {
	n, ok := decimals(r, "epoch")
	if !ok {
		return &wireError{http.StatusBadRequest, "want epoch"}
	}
	s, err := l.Final(n[0])
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", binaryType)
	if s != nil {
		w.Write(s.Encode())
	}
	return nil
}

// wireError is a request that the protocol doesn't know.
type wireError struct {
	status int
	detail string
}

func (e *wireError) Error() string { return e.detail }

// problem is the body of every answer that isn't one: RFC 9457 with the log's position. Sizes are decimal strings.
type problem struct {
	Type   string         `json:"type"`
	Title  string         `json:"title"`
	Status int            `json:"status"`
	Code   contracts.Code `json:"code,omitempty"`
	Detail string         `json:"detail,omitempty"`
	Epoch  int64          `json:"epoch,omitempty,string"`
	Size   int64          `json:"size,omitempty,string"`
	Acked  int64          `json:"acked,omitempty,string"`
}

const refusalsPage = "/docs/reference/refusals#"

func (l *Log) writeError(w http.ResponseWriter, r *http.Request, err error) {
	p := problem{Type: "about:blank", Title: "the receipt writer can't serve now", Status: http.StatusServiceUnavailable}
	var no *Refusal
	var bad *wireError
	switch {
	case errors.As(err, &no):
		p = problem{Type: refusalsPage + string(no.Code), Title: "refused", Status: http.StatusConflict, Code: no.Code, Detail: no.Detail,
			Epoch: no.Epoch, Size: no.Size, Acked: no.Acked}
	case errors.As(err, &bad):
		p = problem{Type: "about:blank", Title: "malformed request", Status: bad.status, Detail: bad.detail}
	case r.Context().Err() == nil:
		l.p.cfg.Log.WarnContext(r.Context(), "receipt log failed", "agreement", hex.EncodeToString(l.agreement[:]), "err", err)
	}
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(p.Status)
	json.NewEncoder(w).Encode(p)
}

// readRefusal reads a 409's body, strictly; anything else is a failure.
func readRefusal(b []byte) (*Refusal, error) {
	var p problem
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, err
	}
	same, err := json.Marshal(p) // one encoding: no unknown, doubled or otherwise spelled field
	if err != nil || !bytes.Equal(append(same, '\n'), b) || p.Code == "" || p.Status != http.StatusConflict || p.Type != refusalsPage+string(p.Code) {
		return nil, errors.New("want one refusal")
	}
	return &Refusal{Code: p.Code, Detail: p.Detail, Epoch: p.Epoch, Size: p.Size, Acked: p.Acked}, nil
}

// readBody reads at most limit bytes, into a buffer of the announced length.
func readBody(r io.Reader, length, limit int64) ([]byte, error) {
	if length > limit {
		return nil, errors.New("too long")
	}
	if length >= 0 {
		b := make([]byte, length)
		_, err := io.ReadFull(r, b)
		return b, err
	}
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = errors.New("too long")
	}
	return b, err
}

// parseDecimal reads a number not below zero in its one form.
func parseDecimal(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n >= 0 && strconv.FormatInt(n, 10) == s
}

// decimals reads a query of exactly these parameters.
func decimals(r *http.Request, names ...string) ([]int64, bool) {
	q := r.URL.Query()
	vs := make([]int64, len(names))
	for i, name := range names {
		var ok bool
		if len(q[name]) != 1 {
			return nil, false
		}
		if vs[i], ok = parseDecimal(q[name][0]); !ok {
			return nil, false
		}
	}
	return vs, len(q) == len(names)
}
