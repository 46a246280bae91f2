package meter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// wire is the consumer's end of the protocol that Handler serves. Nothing in it redirects or sets cookies, so only
// the client's transport and timeout are used.
type wire struct {
	transport http.RoundTripper
	timeout   time.Duration // of one request; 0 leaves it to the transport and the caller
	base      *url.URL
	callTo    *url.URL
}

func newWire(client *http.Client, base string) (*wire, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.RawQuery != "" {
		return nil, fmt.Errorf("couldn't use the provider's address %q", base)
	}
	if client == nil {
		return nil, errors.New("want an HTTP client")
	}
	w := &wire{transport: client.Transport, timeout: client.Timeout, base: u, callTo: u.JoinPath("call")}
	if w.transport == nil {
		w.transport = http.DefaultTransport
	}
	return w, nil
}

func (w *wire) call(ctx context.Context, id RequestID, epoch int64, body []byte) (*Answer, error) {
	if w.timeout > 0 {
		var done context.CancelFunc
		ctx, done = context.WithTimeout(ctx, w.timeout)
		defer done()
	}
	rq := &http.Request{Method: http.MethodPost, URL: w.callTo, Host: w.callTo.Host, ContentLength: int64(len(body)),
		Header: http.Header{HeaderRequest: {id.String()}, HeaderEpoch: {strconv.FormatInt(epoch, 10)}, "Content-Type": jsonContent},
		Body:   io.NopCloser(bytes.NewReader(body)),
	}
	rs, err := w.transport.RoundTrip(rq.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("couldn't call provider: %w", err)
	}
	return readAnswer(rs)
}

func readAnswer(rs *http.Response) (*Answer, error) {
	body, err := readResponse(rs, http.StatusOK, MaxAnswerBytes)
	if err != nil {
		return nil, err
	}
	if len(rs.Header[HeaderReceipt]) != 1 {
		return nil, errors.New("couldn't read receipt: want one header")
	}
	r, err := ParseReceipt(rs.Header[HeaderReceipt][0])
	if err != nil {
		return nil, err
	}
	return &Answer{Body: body, Receipt: r}, nil
}

const maxProblemBytes = 64 << 10

// readResponse gives the body of a response of the wanted status, a *Refusal, or a failure.
func readResponse(rs *http.Response, want int, limit int64) ([]byte, error) {
	defer rs.Body.Close()
	if rs.StatusCode != want {
		limit = maxProblemBytes
	}
	body, err := readBody(rs.Body, rs.ContentLength, limit)
	if err != nil {
		return nil, fmt.Errorf("couldn't read provider's answer: %w", err)
	}
	switch rs.StatusCode {
	case want:
		return body, nil
	case http.StatusConflict:
		r, err := readRefusal(body)
		if err != nil {
			return nil, fmt.Errorf("couldn't read provider's refusal: %w", err)
		}
		return nil, r
	}
	return nil, fmt.Errorf("provider answered with status %d", rs.StatusCode)
}

// do sends a request and hands its response to read.
func (w *wire) do(ctx context.Context, method, op, query string, body []byte, read func(*http.Response) error) error {
	if w.timeout > 0 {
		var done context.CancelFunc
		ctx, done = context.WithTimeout(ctx, w.timeout)
		defer done()
	}
	u := w.base.JoinPath(op)
	u.RawQuery = query
	rq, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	if body != nil {
		rq.Header.Set("Content-Type", binaryType)
	}
	rs, err := w.transport.RoundTrip(rq)
	if err != nil {
		return fmt.Errorf("couldn't reach provider: %w", err)
	}
	return read(rs)
}

func (w *wire) ack(ctx context.Context, a *Signed) error {
	return w.do(ctx, http.MethodPost, "ack", "", a.Encode(), func(rs *http.Response) error {
		_, err := readResponse(rs, http.StatusNoContent, MaxAnswerBytes)
		return err
	})
}

// leaves gives the encoded leaves from a place on, at most a page of them, and a signed head.
func (w *wire) leaves(ctx context.Context, epoch, from int64) (leaves [][]byte, head []byte, err error) {
	err = w.do(ctx, http.MethodGet, "leaves", fmt.Sprintf("epoch=%d&from=%d", epoch, from), nil, func(rs *http.Response) error {
		b, err := readResponse(rs, http.StatusOK, maxLeavesPage*LeafSize)
		if err != nil {
			return err
		}
		if len(b)%LeafSize != 0 {
			return errors.New("couldn't read leaves: the last is cut off")
		}
		for ; len(b) > 0; b = b[LeafSize:] {
			leaves = append(leaves, b[:LeafSize:LeafSize])
		}
		if head, err = parseFixed(rs.Header.Get(HeaderHead), SignedSize); err != nil {
			return fmt.Errorf("couldn't read head: %w", err)
		}
		return nil
	})
	return leaves, head, err
}

// final gives the acknowledgement at which an epoch ended, or nil where it ended without one.
func (w *wire) final(ctx context.Context, epoch int64) (s *Signed, err error) {
	err = w.do(ctx, http.MethodGet, "final", fmt.Sprintf("epoch=%d", epoch), nil, func(rs *http.Response) error {
		b, err := readResponse(rs, http.StatusOK, SignedSize)
		if err != nil || len(b) == 0 {
			return err
		}
		d, err := DecodeSigned(b)
		s = &d
		return err
	})
	return s, err
}

func (w *wire) answer(ctx context.Context, epoch, seq int64) (a *Answer, err error) {
	err = w.do(ctx, http.MethodGet, "answer", fmt.Sprintf("epoch=%d&seq=%d", epoch, seq), nil, func(rs *http.Response) (err error) {
		a, err = readAnswer(rs)
		return err
	})
	return a, err
}
