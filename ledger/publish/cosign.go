package publish

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
)

var (
	// ErrWitnessAhead: a witness has cosigned more than this ledger has. The ledger is an old backup.
	ErrWitnessAhead = errors.New("a witness has cosigned a larger log")
	// ErrWitnessConflict: a witness doesn't accept that this log extends what it cosigned. One of the two histories is
	// false; the witness kept both checkpoints.
	ErrWitnessConflict = errors.New("a witness has cosigned another history")
	// ErrLossUnaccepted: the log has begun a new epoch after a loss, and the witness's operator has not accepted it yet.
	ErrLossUnaccepted = errors.New("a witness has not accepted the loss")
)

// witness is the log's side of C2SP tlog-witness: what one witness is believed to have cosigned, and how it is doing.
type witness struct {
	url string // submission prefix
	v   note.Verifier
	hc  *http.Client

	size uint64 // last known; only the round in progress touches it

	mu      sync.Mutex
	at      time.Time // last cosignature, by the witness's clock
	err     error     // of the last attempt
	misses  int       // attempts in a row that did not reach it
	retryAt time.Time
}

type answer struct {
	status   int
	size     uint64 // of a 409 that names one
	named    bool
	epoch    uint64 // of a 404 of a witness that is in another epoch of this log
	elsewhen bool
	body     []byte
}

// EpochType marks a witness's answer 404 to a checkpoint of another epoch than the one it is in: a line with its epoch.
const EpochType = "text/x.bund.epoch"

const maxAnswerBytes = 16 << 10

func (w *witness) post(ctx context.Context, old uint64, proof [][]byte, signed []byte) (answer, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "old %d\n", old)
	for _, h := range proof {
		b.WriteString(base64.StdEncoding.EncodeToString(h) + "\n")
	}
	b.WriteByte('\n')
	b.Write(signed)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+"/add-checkpoint", &b)
	if err != nil {
		return answer{}, err
	}
	resp, err := w.hc.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	if err != nil {
		return answer{}, err
	}
	if len(body) > maxAnswerBytes {
		return answer{}, errors.New("answer is too long")
	}
	a := answer{status: resp.StatusCode, body: body}
	if resp.StatusCode == http.StatusNotFound && resp.Header.Get("Content-Type") == EpochType {
		if text, ok := strings.CutSuffix(string(body), "\n"); ok {
			n, err := parseDecimal(text)
			a.epoch, a.elsewhen = n, err == nil
		}
	}
	if resp.StatusCode == http.StatusConflict {
		if text, ok := strings.CutSuffix(string(body), "\n"); ok {
			n, err := parseDecimal(text)
			a.size, a.named = n, err == nil
		}
	}
	return a, nil
}

// standing asks for the largest size that the witness has cosigned, and in which epoch. The checkpoint of size 0 that
// goes with the question is a prefix of every history, so signing it says nothing that an old backup could regret.
func (w *witness) standing(ctx context.Context, empty func(epoch uint64) ([]byte, error), epoch uint64) (Standing, error) {
	w.size = 0 // also of a witness in another epoch: of this one it has cosigned nothing
	mine := epoch
	for range 2 { // the second time in the witness's own epoch
		b, err := empty(epoch)
		if err != nil {
			return Standing{}, err
		}
		a, err := w.post(ctx, 0, nil, b)
		switch {
		case err != nil:
			return Standing{}, err
		case a.status == http.StatusOK:
			return Standing{Epoch: epoch}, nil
		case a.status == http.StatusConflict && a.named:
			if epoch == mine {
				w.size = a.size
			}
			return Standing{epoch, a.size}, nil
		case a.elsewhen && a.epoch != epoch:
			epoch = a.epoch
		default:
			return Standing{}, fmt.Errorf("answered %d", a.status)
		}
	}
	return Standing{}, errors.New("its epoch changes while it is asked")
}

// cosign gets the witness's signature over the checkpoint, telling it how the checkpoint extends what it saw.
func (w *witness) cosign(ctx context.Context, c Checkpoint, signed []byte, prove func(old uint64) ([][]byte, error)) (note.Signature, error) {
	for range 3 { // the second attempt follows a 409 that named the size; another log process may cause a third
		var proof [][]byte
		if 0 < w.size && w.size < c.Size {
			var err error
			if proof, err = prove(w.size); err != nil {
				return note.Signature{}, err
			}
		}
		a, err := w.post(ctx, w.size, proof, signed)
		if err != nil {
			return note.Signature{}, err
		}
		switch {
		case a.status == http.StatusOK:
			n, err := note.Open(append(bytes.Clone(signed), a.body...), note.VerifierList(w.v))
			if err != nil {
				return note.Signature{}, fmt.Errorf("couldn't verify the cosignature: %w", err)
			}
			w.size = c.Size
			return n.Sigs[0], nil
		case a.elsewhen && a.epoch > c.Epoch:
			return note.Signature{}, fmt.Errorf("%w: it is in epoch %d, this log in %d", ErrWitnessAhead, a.epoch, c.Epoch)
		case a.elsewhen:
			return note.Signature{}, fmt.Errorf("%w: it is in epoch %d, this log in %d", ErrLossUnaccepted, a.epoch, c.Epoch)
		case a.status == http.StatusConflict && a.named && a.size > c.Size:
			w.size = a.size
			return note.Signature{}, fmt.Errorf("%w: %d entries, this one has %d", ErrWitnessAhead, a.size, c.Size)
		case a.status == http.StatusConflict && a.named && a.size != w.size:
			w.size = a.size
		case a.status == http.StatusConflict, a.status == http.StatusUnprocessableEntity:
			return note.Signature{}, fmt.Errorf("%w at size %d", ErrWitnessConflict, w.size)
		default:
			return note.Signature{}, fmt.Errorf("answered %d", a.status)
		}
	}
	return note.Signature{}, errors.New("its size changes while it is asked")
}

// done records an attempt. A witness that can't be reached is left alone for a while, so that it doesn't slow
// publication down.
func (w *witness) done(now, at time.Time, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
	if err == nil {
		w.at, w.misses, w.retryAt = at, 0, time.Time{}
		return
	}
	w.retryAt = now.Add(min(time.Second<<min(w.misses, 5), 30*time.Second))
	w.misses++
}

func (w *witness) due(now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !now.Before(w.retryAt)
}

func (w *witness) status() WitnessStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	return WitnessStatus{Name: w.v.Name(), At: w.at, Err: w.err}
}
