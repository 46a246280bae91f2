package main

import (
	"context"
	"encoding/binary"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/node/gate"
	"github.com/bund-exchange/bund/node/meter"
	"github.com/bund-exchange/bund/node/peer"
	"github.com/bund-exchange/bund/node/vault"
	"github.com/bund-exchange/bund/privacy/envelope"
)

// Refusals of sealed delivery.
const (
	hpkeMissing contracts.Code = "hpke.key"     // no HPKE key of this member that stands
	fileUnknown contracts.Code = "file.unknown" // no such file, or it is kept no longer
)

// filing is sealed delivery, both sides: as a provider the files that were sealed, <dir>/files/sealed/<agreement>/<digest>,
// and as a grantee those that are fetched, <dir>/files/fetched/<digest>.*.
//
// A file is made by a metered call, whose answer has its manifest; its chunks are fetched beside the calls:
//
//	GET /agreements/{id}/file/{digest}/{chunk}   the sealed chunk
type filing struct {
	n    *Node
	dir  string
	turn chan struct{} // one file is sealed at a time

	fetching sync.Mutex // one request writes into fetched files
}

func fileMode(n *Node) (*mode, error) {
	f := &filing{n: n, dir: filepath.Join(n.cfg.Dir, "files"), turn: make(chan struct{}, 1)}
	if err := errors.Join(os.MkdirAll(f.sealed(""), 0o700), os.MkdirAll(f.fetched(""), 0o700)); err != nil {
		return nil, fmt.Errorf("couldn't make the folder of files: %w", err)
	}
	left, err := filepath.Glob(f.sealed("*/tmp-*"))
	for _, name := range left {
		err = errors.Join(err, os.Remove(name))
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't clear unfinished files: %w", err)
	}
	return &mode{
		answers: map[policy.Operation]operation{policy.File: f.answer},
		beside:  map[string]besideHandler{"file": f.serveChunk},
		local:   f.local,
	}, nil
}

func (f *filing) sealed(name string) string  { return filepath.Join(f.dir, "sealed", name) }
func (f *filing) fetched(name string) string { return filepath.Join(f.dir, "fetched", name) }

// recipient is what a request for a file has as its payload, in canonical JSON.
type recipient struct {
	Key contracts.ID `json:"key"` // the grantee's HPKE key on the ledger
}

// delivery is the answer's payload, in canonical JSON: CSV with a header line, one line for each row of the dataset
// snapshot, in its order.
type delivery struct {
	Fields   []string          `json:"fields"`
	Manifest envelope.Manifest `json:"manifest"`
	Rows     int64             `json:"rows"`
}

// Check reports what no delivery has.
func (d delivery) Check() error {
	if d.Rows < 0 || len(d.Fields) == 0 {
		return errors.New("want fields, and rows from 0")
	}
	return nil
}

const (
	// sealTimeout bounds the making of one file, well within what the grantee's node waits for an answer.
	sealTimeout = 45 * time.Second
	// keptFiles is how many files of an agreement stay to be fetched: the newest. A further call seals anew.
	keptFiles = 4
)

// answer seals the dataset to the grantee's key. The file is durable before the answer is.
func (f *filing) answer(ctx context.Context, pass *gate.Pass, _ *meter.Call) (meter.Result, error) {
	req, g, id := pass.Request, pass.Grant, slotOf(ctx).id
	ds, ok := f.n.datasetOf(g.Product)
	if !ok {
		return meter.Result{}, refused(noDataset, "this node has no dataset for the product")
	}
	var to recipient
	if err := canon.Unmarshal(req.Payload, &to); err != nil {
		return meter.Result{}, refused("request.malformed", "the payload names the HPKE key to seal to")
	}
	key, err := f.n.hpkeKey(to.Key, g.Buyer)
	if err != nil {
		return meter.Result{}, err
	}
	columns, problem := columnsOf(ds.Schema(), req.Fields)
	if problem != "" {
		return meter.Result{Outcome: meter.BadRequest, Body: canon.Marshal(Body{Outcome: string(vault.BadRequest), Detail: problem})}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, sealTimeout)
	defer cancel()
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return meter.Result{}, ctx.Err()
	}
	b := envelope.Binding{Agreement: id, Version: g.Version, Dataset: ds.Digest(), Recipient: to.Key}
	m, err := f.seal(ctx, ds.Snapshot, columns, key, b)
	if err != nil {
		return meter.Result{}, fmt.Errorf("couldn't seal file: %w", err)
	}
	f.n.log.InfoContext(ctx, "sealed a file", "agreement", id, "bytes", m.Bytes, "rows", ds.Rows())
	f.sweep(ctx, id)
	body := Body{Outcome: string(vault.Found), Payload: canon.Marshal(delivery{Fields: req.Fields, Manifest: m, Rows: ds.Rows()})}
	return meter.Result{Body: canon.Marshal(body), Outcome: meter.Found, Snapshot: ds.Digest().Bytes()}, nil
}

// datasetOf gives the dataset of the vault that stands for a product.
func (n *Node) datasetOf(product contracts.ID) (*vault.Dataset, bool) {
	for _, d := range n.cfg.Datasets {
		if d.Product == product {
			return n.vault.Dataset(d.Dataset)
		}
	}
	return nil, false
}

// hpkeKey gives a member's HPKE key from the ledger, stops that were announced included.
func (n *Node) hpkeKey(id, member contracts.ID) (key contracts.PublicKey, err error) {
	err = n.readBoth(func(st contracts.State) error {
		b, err := st.Get(contracts.KeyKey(id))
		if err != nil {
			return err
		}
		k := new(contracts.Key)
		if b != nil {
			if k, err = contracts.Read[contracts.Key](b); err != nil {
				return err
			}
		}
		now := contracts.Millis(n.now().UnixMilli())
		if b == nil || k.Member != member || k.Purpose != contracts.PurposeHPKE || k.Revoked != 0 || k.NotAfter != 0 && now > k.NotAfter {
			return &contracts.Refusal{Code: hpkeMissing, Detail: "the ledger holds no HPKE key of this member in force with this id"}
		}
		key = k.Key
		return nil
	})
	return key, err
}

// columnsOf gives the places of fields in a row.
func columnsOf(s *vault.Schema, fields []string) (columns []int, problem string) {
	for i, name := range fields {
		at := s.Index(name)
		if at < 0 {
			return nil, "the dataset has no such field"
		}
		if slices.Contains(fields[:i], name) {
			return nil, "a field is asked for twice"
		}
		columns = append(columns, at)
	}
	return columns, ""
}

func (f *filing) seal(ctx context.Context, s *vault.Snapshot, columns []int, key contracts.PublicKey, b envelope.Binding) (m envelope.Manifest, err error) {
	dir := f.sealed(string(b.Agreement))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return m, err
	}
	file, err := os.CreateTemp(dir, "tmp-*")
	if err != nil {
		return m, err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	w, err := envelope.Seal(file, key, b)
	if err != nil {
		return m, err
	}
	if err := writeCSV(ctx, w, s, columns); err != nil {
		return m, err
	}
	if err := w.Close(); err != nil {
		return m, err
	}
	if m, err = w.Manifest(); err != nil {
		return m, err
	}
	if err := file.Sync(); err != nil {
		return m, err
	}
	return m, errors.Join(os.Rename(file.Name(), filepath.Join(dir, string(m.Digest))), syncDir(dir))
}

// writeCSV writes the columns of all rows, by RFC 4180 with LF.
func writeCSV(ctx context.Context, w io.Writer, s *vault.Snapshot, columns []int) error {
	c := csv.NewWriter(w)
	record := make([]string, len(columns))
	for i, at := range columns {
		record[i] = s.Schema().Fields[at].Name
	}
	if err := c.Write(record); err != nil {
		return err
	}
	err := s.Each(ctx, func(values [][]byte) error {
		for i, at := range columns {
			record[i] = string(values[at])
		}
		if len(record) == 1 && record[0] == "" { // a bare empty line is no record to readers of CSV
			c.Flush()
			_, err := io.WriteString(w, "\"\"\n")
			return err
		}
		return c.Write(record)
	})
	if err != nil {
		return err
	}
	c.Flush()
	return c.Error()
}

// sweep keeps the newest files of this agreement, and none of those whose grant has ended.
func (f *filing) sweep(ctx context.Context, id contracts.ID) {
	folders, err := os.ReadDir(f.sealed(""))
	for _, d := range folders {
		other := contracts.ID(d.Name())
		switch {
		case other == id:
			err = errors.Join(err, keepNewest(f.sealed(d.Name()), keptFiles))
		case f.n.grantEnded(other):
			err = errors.Join(err, os.RemoveAll(f.sealed(d.Name())))
		}
	}
	if err != nil {
		f.n.log.WarnContext(ctx, "couldn't clear old files", "err", err)
	}
}

func keepNewest(dir string, n int) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var files []os.FileInfo
	for _, e := range entries {
		i, err := e.Info()
		if err != nil {
			return err
		}
		if !strings.HasPrefix(i.Name(), "tmp-") {
			files = append(files, i)
		}
	}
	slices.SortFunc(files, func(a, b os.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	for _, i := range files[min(n, len(files)):] {
		err = errors.Join(err, os.Remove(filepath.Join(dir, i.Name())))
	}
	return err
}

// grantEnded reports a grant that will allow nothing any more, as far as this node has followed.
func (n *Node) grantEnded(id contracts.ID) (ended bool) {
	now := contracts.Millis(n.now().UnixMilli())
	err := n.readBoth(func(st contracts.State) error {
		b, err := st.Get(contracts.KeyGrant(id))
		if err != nil || b == nil {
			return err
		}
		g, err := contracts.Read[contracts.Grant](b)
		ended = err == nil && (g.State == contracts.GrantRevoked || now >= g.To)
		return err
	})
	return err == nil && ended
}

// serveChunk gives one sealed chunk. Whoever reads it can do nothing with it without the recipient's key.
func (f *filing) serveChunk(w http.ResponseWriter, r *http.Request, s *served, _ peer.Identity) {
	digest, seq, _ := strings.Cut(r.PathValue("rest"), "/")
	at, err := strconv.ParseInt(seq, 10, 32)
	if r.Method != http.MethodGet || err != nil || at < 0 || strconv.FormatInt(at, 10) != seq || contracts.Hash(digest).Check() != nil {
		refuse(w, http.StatusNotFound, "request.malformed", "no such operation")
		return
	}
	b, err := readChunk(filepath.Join(f.sealed(string(s.id)), digest), at)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, io.EOF):
		refusePeer(w, fileUnknown, "there is no such file or chunk; the newest files of an agreement are kept")
	case err != nil:
		f.n.log.ErrorContext(r.Context(), "couldn't read a sealed file", "err", err)
		refuse(w, http.StatusServiceUnavailable, "failure", "this node failed, try again")
	default:
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		w.Write(b)
	}
}

// readChunk reads a chunk of a sealed file where it stands. io.EOF: the file has fewer.
func readChunk(name string, seq int64) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var length [4]byte
	if _, err := file.ReadAt(length[:], 0); err != nil {
		return nil, fmt.Errorf("couldn't read header: %v", err)
	}
	b := make([]byte, envelope.SealedChunkBytes)
	n, err := file.ReadAt(b, 4+int64(binary.BigEndian.Uint32(length[:]))+seq*envelope.SealedChunkBytes)
	if err != nil && (!errors.Is(err, io.EOF) || n == 0) {
		return nil, err
	}
	return b[:n], nil
}
