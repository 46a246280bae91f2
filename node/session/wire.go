package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
)

// status is what a side says of itself, in canonical JSON.
type status struct {
	Code     contracts.Code `json:"code"` // the refusal that ended the session here, or empty
	Ended    bool           `json:"ended"`
	Received int64          `json:"received"` // frames of the one who asks
	Sent     int64          `json:"sent"`     // own frames
}

// ending is what a side tells of its end: a refusal's code, or empty where its protocol is done.
type ending struct {
	Code contracts.Code `json:"code"`
}

// Check reports counts below zero and a code without an end.
func (s status) Check() error {
	if s.Received < 0 || s.Sent < 0 || s.Code != "" && !s.Ended || !isCode(s.Code) {
		return errors.New("not the status of a session")
	}
	return nil
}

// Check reports what is no code.
func (e ending) Check() error {
	if !isCode(e.Code) {
		return errors.New("not a code")
	}
	return nil
}

// isCode accepts what a code of any protocol may look like, so that a peer's text never gets into logs.
func isCode(c contracts.Code) bool {
	for i := range len(c) {
		if b := c[i]; (b < 'a' || b > 'z') && (b < 'A' || b > 'Z') && (b < '0' || b > '9') && b != '.' && b != '_' {
			return false
		}
	}
	return len(c) <= 64
}

const maxSmallBytes = 16 << 10

// readAll reads a body of at most limit bytes, all of it.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, refuse(TooLarge, "the body is longer than any frame")
	}
	return b, nil
}

// parseNumber reads a frame's number: decimal, in its one form.
func parseNumber(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 40)
	if err != nil || strconv.FormatUint(n, 10) != s {
		return 0, refuse(Malformed, "the frame's number is not one")
	}
	return n, nil
}

// problem is RFC 9457's form of a refusal, as this node's other answers to peers are.
type problem struct {
	Type   string         `json:"type"`
	Title  string         `json:"title"`
	Status int            `json:"status"`
	Code   contracts.Code `json:"code"`
	Detail string         `json:"detail"`
}

// answerError answers a refusal with 409, anything else with 503 and no detail.
func answerError(w http.ResponseWriter, err error) {
	p := problem{Type: "about:blank", Title: "failed", Status: http.StatusServiceUnavailable, Code: "failure", Detail: "this node failed, try again"}
	var r *contracts.Refusal
	var pr *PeerRefused
	switch {
	case errors.As(err, &r):
		p = problem{"/docs/reference/node-codes#" + string(r.Code), "refused", http.StatusConflict, r.Code, r.Detail}
	case errors.As(err, &pr):
		p = problem{"/docs/reference/node-codes#" + string(Ended), "refused", http.StatusConflict, Ended, "the session has ended"}
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	json.NewEncoder(w).Encode(p)
}

// readProblem reads the other side's answer that is no success.
func readProblem(rs *http.Response) error {
	b, err := readAll(rs.Body, maxSmallBytes)
	if err != nil {
		return fmt.Errorf("couldn't read the other side's answer: %w", err)
	}
	var p problem
	if rs.StatusCode != http.StatusConflict || json.Unmarshal(b, &p) != nil || p.Code == "" || !isCode(p.Code) {
		return fmt.Errorf("the other side answered with status %d", rs.StatusCode)
	}
	return &contracts.Refusal{Code: p.Code, Detail: "refused by the other side"}
}

func answerCanon(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Write(canon.Marshal(v))
}
