package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/node/peer"
	"github.com/bund-exchange/bund/privacy/score"
)

// A model is sent once, beside the calls:
//
//	GET /agreements/{id}/model/{model}   204 when the provider's node holds the registered file
//	PUT /agreements/{id}/model/{model}   the file; kept only when it is the registered one, whole
//
// Only models that stand on the ledger are taken, so that a grantee can't fill the disk. At the provider a model is
// <dir>/score/models/<id>.<digest>: a name that is there has its whole content.

func (s *scoring) models() string { return filepath.Join(s.dir, "models") }

func (s *scoring) path(id contracts.ID, d contracts.Hash) string {
	return filepath.Join(s.models(), string(id)+"."+string(d))
}

// findModels learns what the folder holds, and clears what a crash left.
func (s *scoring) findModels() error {
	files, err := os.ReadDir(s.models())
	if err != nil {
		return fmt.Errorf("couldn't read the folder of models: %w", err)
	}
	for _, f := range files {
		id, d, _ := strings.Cut(f.Name(), ".")
		if contracts.ID(id).Check() == nil && contracts.Hash(d).Check() == nil {
			s.held[contracts.ID(id)] = contracts.Hash(d)
		} else if err := os.Remove(filepath.Join(s.models(), f.Name())); err != nil {
			return fmt.Errorf("couldn't remove an unfinished model: %w", err)
		}
	}
	return nil
}

// digest says which file this node holds of a model, for the gate.
func (s *scoring) digest(id contracts.ID) (contracts.Hash, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.held[id]
	return d, ok
}

// model reads a held model; its digest is checked again. Whoever calls has the turn.
func (s *scoring) model(id contracts.ID) (*score.Model, error) {
	if s.ready.id == id {
		return s.ready.model, nil
	}
	d, ok := s.digest(id)
	if !ok {
		return nil, errors.New("couldn't read the model: it is gone since the call was admitted")
	}
	f, err := os.Open(s.path(id, d))
	if err != nil {
		return nil, fmt.Errorf("couldn't read the model: %w", err)
	}
	defer f.Close()
	s.ready.id, s.ready.model = "", nil // free before the next is read
	m, err := score.ReadModel(bufio.NewReaderSize(f, 1<<20), d)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the model %s: %v", id, err) // damage here is no refusal
	}
	s.ready.id, s.ready.model = id, m
	return m, nil
}

// registered gives a model as it stands on the ledger.
func (s *scoring) registered(id contracts.ID) (m *contracts.Model, err error) {
	err = s.n.readBoth(func(st contracts.State) error {
		b, err := st.Get(contracts.KeyModel(id))
		if err != nil || b == nil {
			return err
		}
		m, err = contracts.Read[contracts.Model](b)
		return err
	})
	return m, err
}

// uploadTime is how long a model may take to arrive: 86 MB at 200 kB/s.
const uploadTime = 8 * time.Minute

func (s *scoring) serveModel(w http.ResponseWriter, r *http.Request, x *served, _ peer.Identity) {
	id := contracts.ID(r.PathValue("rest"))
	m, err := s.registered(id)
	switch {
	case err != nil:
		s.n.log.ErrorContext(r.Context(), "couldn't read a model's registration", "err", err)
		refuse(w, http.StatusServiceUnavailable, "failure", "this node failed, try again")
		return
	case m == nil || m.Agreement != x.id:
		refusePeer(w, "model.unknown", "the agreement has no such model")
		return
	case m.Withdrawn != 0:
		refusePeer(w, "model.withdrawn", "the model was withdrawn")
		return
	}
	d, ok := s.digest(id)
	switch {
	case ok && d == m.Digest:
	case r.Method == http.MethodGet:
		refuse(w, http.StatusNotFound, "model.digest", "this node holds no such file")
		return
	case r.Method == http.MethodPut:
		if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(uploadTime)); err != nil {
			s.n.log.WarnContext(r.Context(), "couldn't wait longer for a model", "err", err)
		}
		if !s.take(w, r, id, m) {
			return
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// take keeps a model that arrives, or answers why not.
func (s *scoring) take(w http.ResponseWriter, r *http.Request, id contracts.ID, m *contracts.Model) bool {
	s.mu.Lock()
	busy := s.taking[id]
	s.taking[id] = true
	s.mu.Unlock()
	if busy {
		refuse(w, http.StatusServiceUnavailable, "failure", "the model is being sent already, try again")
		return false
	}
	defer func() {
		s.mu.Lock()
		delete(s.taking, id)
		s.mu.Unlock()
	}()
	err := s.keep(r.Context(), r.Body, id, m)
	var refusal *contracts.Refusal
	switch {
	case err == nil:
		return true
	case errors.As(err, &refusal):
		refusePeer(w, refusal.Code, refusal.Detail)
	default:
		s.n.log.ErrorContext(r.Context(), "couldn't keep a model", "model", id, "err", err)
		refuse(w, http.StatusServiceUnavailable, "failure", "this node failed, try again")
	}
	return false
}

// keep writes what arrives to a file, however slowly it comes, and then reads it for what it is, in its turn.
func (s *scoring) keep(ctx context.Context, body io.Reader, id contracts.ID, m *contracts.Model) error {
	f, err := os.CreateTemp(s.models(), "tmp-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	most := score.MaxModelBytes(m.Arity)
	n, err := io.Copy(f, io.LimitReader(body, most+1))
	if err == nil && n > most {
		err = &contracts.Refusal{Code: score.CodeModel, Detail: "the file is larger than the model can be"}
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return err
	}
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	got, err := score.ReadModel(bufio.NewReaderSize(f, 1<<20), m.Digest)
	<-s.turn
	if err == nil && (got.Spec.Digest() != m.Features || int64(got.Spec.Columns()) != m.Arity) {
		err = &contracts.Refusal{Code: score.CodeModel, Detail: "the model takes other features than were registered"}
	}
	if err == nil {
		err = errors.Join(f.Sync(), os.Rename(f.Name(), s.path(id, m.Digest)), syncDir(s.models()))
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.held[id] = m.Digest
	s.mu.Unlock()
	return nil
}

// send has the provider's node hold one of this bank's models. One is sent at a time: who comes meanwhile finds it sent.
// What fails is tried again for as long as a local request waits.
func (s *scoring) send(ctx context.Context, c *consumer, id contracts.ID, own *ownModel) error {
	select {
	case s.sending <- struct{}{}:
		defer func() { <-s.sending }()
	case <-ctx.Done():
		return ctx.Err()
	}
	end := time.Now().Add(s.n.patience)
	for !s.sent[id] {
		err := s.sendOnce(ctx, c, id, own)
		var refusal *contracts.Refusal
		switch {
		case err == nil:
			s.sent[id] = true
		case errors.As(err, &refusal), ctx.Err() != nil, time.Now().After(end):
			return err
		default:
			t := time.NewTimer(100 * time.Millisecond)
			select {
			case <-t.C:
			case <-ctx.Done():
			}
			t.Stop()
		}
	}
	return nil
}

// sendOnce asks whether the model is there, and if not makes the file while it sends it.
func (s *scoring) sendOnce(ctx context.Context, c *consumer, id contracts.ID, own *ownModel) error {
	client := &http.Client{Transport: c.link}
	url := strings.TrimSuffix(c.server.url, "/") + "/agreements/" + string(c.id) + "/model/" + string(id)
	status, err := s.do(ctx, client, http.MethodGet, url, nil)
	if status != http.StatusNotFound {
		return err
	}
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := score.EncryptModel(w, &own.Card, own.Secret)
		w.CloseWithError(err)
	}()
	_, err = s.do(ctx, client, http.MethodPut, url, r)
	r.Close()
	<-done
	return err
}

// forget is told that a provider hasn't got a model after all.
func (s *scoring) forget(ctx context.Context, id contracts.ID) {
	select {
	case s.sending <- struct{}{}:
		delete(s.sent, id)
		<-s.sending
	case <-ctx.Done():
	}
}

// do asks the provider's node about a model. A refusal of its is a *contracts.Refusal.
func (s *scoring) do(ctx context.Context, client *http.Client, method, url string, body io.Reader) (status int, err error) {
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return 0, err
	}
	resp, err := client.Do(r)
	if err != nil {
		return 0, fmt.Errorf("couldn't send the model: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNoContent {
		return resp.StatusCode, nil
	}
	var p problem
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err == nil && resp.StatusCode == http.StatusConflict && json.Unmarshal(b, &p) == nil && p.Code != "" {
		return resp.StatusCode, &contracts.Refusal{Code: contracts.Code(p.Code), Detail: p.Detail}
	}
	return resp.StatusCode, fmt.Errorf("couldn't send the model: the provider's node answered %d", resp.StatusCode)
}
