package main

import (
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/node/gate"
	"github.com/bund-exchange/bund/privacy/envelope"
)

// fetch is a file that this node was promised by a metered call: <digest>.promise in canonical JSON, and beside it
// <digest>.sealed, as far as it has been fetched. The sealed file stays after it was opened: with the receipt it proves
// what was delivered.
type fetch struct {
	Agreement contracts.ID     `json:"agreement"`
	Binding   envelope.Binding `json:"binding"`
	Delivery  delivery         `json:"delivery"`
}

func (f *filing) local(m *http.ServeMux) {
	m.HandleFunc("POST /v1/files", f.localFile)
	m.HandleFunc("GET /v1/files/{digest}", f.localFetched)
	m.HandleFunc("POST /v1/files/{digest}/chunks", f.localChunks)
	m.HandleFunc("GET /v1/files/{digest}/content", f.localContent)
	m.HandleFunc("DELETE /v1/files/{digest}", f.localForget)
}

type localFileRequest struct {
	Agreement contracts.ID   `json:"agreement"`
	Fields    []string       `json:"fields"`
	Purpose   policy.Purpose `json:"purpose"`
	Nonce     string         `json:"nonce"` // as in a call
}

// localFile makes the metered call that has a file sealed to this node.
func (f *filing) localFile(w http.ResponseWriter, r *http.Request) {
	var q localFileRequest
	if !decode(w, r, &q) {
		return
	}
	if f.n.keys.HPKE == nil {
		refuse(w, http.StatusConflict, hpkeMissing, "this node has no HPKE key: make one by datanode keygen and add it to the member")
		return
	}
	req := gate.Request{Fields: q.Fields, Operation: policy.File, Purpose: q.Purpose, Payload: canon.Marshal(recipient{f.n.keys.HPKE.ID()})}
	if _, err := gate.ParseRequest(req.Bytes()); err != nil {
		malformed(w, err.Error())
		return
	}
	nonce, ok := f.n.nonce(w, q.Nonce)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), f.n.patience+sealTimeout)
	defer cancel()
	u, err := f.n.use(ctx, q.Agreement, nonce, req)
	more := extra{"nonce": hex.EncodeToString(nonce[:])}
	if err != nil {
		f.n.localError(w, r, err, more)
		return
	}
	out := map[string]any{"outcome": u.Outcome, "detail": u.Detail, "nonce": hex.EncodeToString(nonce[:]), "receipt": u.receipt()}
	if len(u.Payload) > 0 {
		x, err := f.promised(q.Agreement, req.Fields, u)
		if err != nil {
			f.n.localError(w, r, err, more)
			return
		}
		f.describe(out, x)
	}
	answer(w, out)
}

// promised checks the answer against what this node asked for, by the ledger, and keeps it.
func (f *filing) promised(agreement contracts.ID, fields []string, u *used) (*fetch, error) {
	x := &fetch{Agreement: agreement}
	if err := canon.Unmarshal(u.Payload, &x.Delivery); err != nil {
		return nil, fmt.Errorf("couldn't read the provider's answer: %w", err)
	}
	if !slices.Equal(x.Delivery.Fields, fields) {
		return nil, errors.New("couldn't read the provider's answer: it has other fields")
	}
	version, err := f.n.grantedVersion(agreement)
	if err != nil {
		return nil, err
	}
	x.Binding = envelope.Binding{Agreement: agreement, Version: version, Dataset: contracts.Hash(hex.EncodeToString(u.leaf.Snapshot[:])), Recipient: f.n.keys.HPKE.ID()}
	if _, err := f.n.keys.HPKE.Open(x.Delivery.Manifest, x.Binding); err != nil {
		return nil, err
	}
	return x, writeWhole(f.fetched(string(x.Delivery.Manifest.Digest)+".promise"), canon.Marshal(x))
}

func (n *Node) grantedVersion(agreement contracts.ID) (version contracts.ID, err error) {
	err = n.readBoth(func(st contracts.State) error {
		b, err := st.Get(contracts.KeyGrant(agreement))
		if err != nil {
			return err
		}
		if b == nil {
			return &contracts.Refusal{Code: "agreement.unknown", Detail: "this node uses no agreement with this id, or has not followed it yet"}
		}
		g, err := contracts.Read[contracts.Grant](b)
		if err == nil {
			version = g.Version
		}
		return err
	})
	return version, err
}

// writeWhole writes a file that is whole or not there.
func writeWhole(name string, b []byte) error {
	dir := filepath.Dir(name)
	t, err := os.CreateTemp(dir, "tmp-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(t.Name())
	_, err = t.Write(b)
	if err = errors.Join(err, t.Sync(), t.Close()); err == nil {
		err = errors.Join(os.Rename(t.Name(), name), syncDir(dir))
	}
	return err
}

// promise reads what this node was promised, or answers the request.
func (f *filing) promise(w http.ResponseWriter, r *http.Request) (*fetch, bool) {
	d := contracts.Hash(r.PathValue("digest"))
	if err := d.Check(); err != nil {
		malformed(w, "the digest in the path: "+err.Error())
		return nil, false
	}
	b, err := os.ReadFile(f.fetched(string(d) + ".promise"))
	if errors.Is(err, os.ErrNotExist) {
		refuse(w, http.StatusNotFound, fileUnknown, "this node was promised no file with this digest")
		return nil, false
	}
	x := new(fetch)
	if err == nil {
		err = canon.Unmarshal(b, x)
	}
	if err != nil {
		f.n.localError(w, r, fmt.Errorf("couldn't read promise: %w", err))
		return nil, false
	}
	return x, true
}

func (f *filing) describe(out map[string]any, x *fetch) {
	m := &x.Delivery.Manifest
	out["file"], out["content"], out["bytes"], out["chunks"], out["rows"], out["have"] = m.Digest, m.Content, m.Bytes, m.Chunks, x.Delivery.Rows, f.have(m)
}

func (f *filing) localFetched(w http.ResponseWriter, r *http.Request) {
	if x, ok := f.promise(w, r); ok {
		out := map[string]any{}
		f.describe(out, x)
		answer(w, out)
	}
}

func (f *filing) partName(m *envelope.Manifest) string {
	return f.fetched(string(m.Digest) + ".sealed")
}

// have is how many chunks are here, each of which was checked when it came. What a crash damaged is found when the file
// is opened.
func (f *filing) have(m *envelope.Manifest) int64 {
	info, err := os.Stat(f.partName(m))
	if err != nil {
		return 0
	}
	if info.Size() == m.SealedBytes() {
		return m.Chunks
	}
	first, _, _ := m.Chunk(0)
	return max(0, (info.Size()-first)/envelope.SealedChunkBytes)
}

// maxChunks bounds the chunks of one local request.
const maxChunks = 64

// localChunks fetches some more chunks, so that whoever asks can show how far it is.
func (f *filing) localChunks(w http.ResponseWriter, r *http.Request) {
	x, ok := f.promise(w, r)
	if !ok {
		return
	}
	var q struct {
		Most int64 `json:"most"`
	}
	if !decode(w, r, &q) {
		return
	}
	if q.Most < 1 || q.Most > maxChunks {
		malformed(w, "most is 1 to "+strconv.Itoa(maxChunks))
		return
	}
	f.fetching.Lock()
	err := f.more(r.Context(), x, q.Most)
	f.fetching.Unlock()
	if err != nil {
		f.n.localError(w, r, err, extra{"have": f.have(&x.Delivery.Manifest)})
		return
	}
	answer(w, map[string]int64{"have": f.have(&x.Delivery.Manifest), "chunks": x.Delivery.Manifest.Chunks})
}

// more appends chunks to what is here. What was fetched before an error stays.
func (f *filing) more(ctx context.Context, x *fetch, most int64) error {
	m := &x.Delivery.Manifest
	o, err := f.n.keys.HPKE.Open(*m, x.Binding)
	if err != nil {
		return err
	}
	c := f.n.consumer(x.Agreement)
	if c == nil {
		return &contracts.Refusal{Code: "agreement.unknown", Detail: "this node uses no agreement with this id, or has not followed it yet"}
	}
	file, err := os.OpenFile(f.partName(m), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.WriteAt(m.Prefix(), 0); err != nil {
		return err
	}
	for seq := f.have(m); seq < m.Chunks && most > 0; seq, most = seq+1, most-1 {
		b, err := f.chunk(ctx, c, x, seq)
		if err == nil {
			_, err = o.Chunk(seq, b)
		}
		if err != nil {
			return errors.Join(err, file.Sync())
		}
		at, size, _ := m.Chunk(seq)
		if _, err := file.WriteAt(b, at); err != nil {
			return err
		}
		if err := file.Truncate(at + size); err != nil { // of a torn write, what is behind
			return err
		}
	}
	return file.Sync()
}

// chunk asks the provider's node for one. A refusal of its is a *contracts.Refusal.
func (f *filing) chunk(ctx context.Context, c *consumer, x *fetch, seq int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, size, err := x.Delivery.Manifest.Chunk(seq)
	if err != nil {
		return nil, err
	}
	url := strings.TrimSuffix(c.server.url, "/") + "/agreements/" + string(c.id) + "/file/" + string(x.Delivery.Manifest.Digest) + "/" + strconv.FormatInt(seq, 10)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.link.RoundTrip(r)
	if err != nil {
		return nil, fmt.Errorf("couldn't fetch chunk: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, peerRefusal(resp)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, size+1))
	if err != nil {
		return nil, fmt.Errorf("couldn't fetch chunk: %w", err)
	}
	return b, nil
}

// localContent opens a whole file: first all of it is checked, digests and rows, then it is given as CSV. Nothing leaves
// of a file that is not whole.
func (f *filing) localContent(w http.ResponseWriter, r *http.Request) {
	x, ok := f.promise(w, r)
	if !ok {
		return
	}
	m := &x.Delivery.Manifest
	if have := f.have(m); have < m.Chunks {
		refuse(w, http.StatusConflict, fileUnknown, "the file is not here as a whole yet", extra{"have": have, "chunks": m.Chunks})
		return
	}
	rows := newRowCounter()
	_, err := f.open(rows, x)
	if n, rerr := rows.end(); err == nil && (rerr != nil || n != x.Delivery.Rows+1) { // and the header
		err = &contracts.Refusal{Code: envelope.BadDigest, Detail: "the file has another number of rows than was promised"}
	}
	var damaged *contracts.Refusal
	if errors.As(err, &damaged) && damaged.Code == envelope.BadChunk {
		// Each chunk was good when it came: what is on this disk isn't what was written. It is fetched again.
		f.n.log.ErrorContext(r.Context(), "a fetched file was damaged here and is fetched again", "file", m.Digest)
		f.fetching.Lock()
		err = errors.Join(errors.New("couldn't open the file: it was damaged here, fetch it again"), os.Remove(f.partName(m)))
		f.fetching.Unlock()
	}
	if err != nil {
		f.n.localError(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Length", strconv.FormatInt(m.Bytes, 10))
	if n, err := f.open(w, x); err != nil {
		f.n.log.WarnContext(r.Context(), "couldn't give a file", "bytes", n, "err", err)
		panic(http.ErrAbortHandler) // what is out is not the whole: the connection says so
	}
}

func (f *filing) open(w io.Writer, x *fetch) (int64, error) {
	o, err := f.n.keys.HPKE.Open(x.Delivery.Manifest, x.Binding)
	if err != nil {
		return 0, err
	}
	file, err := os.Open(f.partName(&x.Delivery.Manifest))
	if err != nil {
		return 0, err
	}
	defer file.Close()
	return io.Copy(w, o.Reader(file))
}

// rowCounter counts the records of CSV that is written to it.
type rowCounter struct {
	w    *io.PipeWriter
	done chan struct{}
	n    int64
	err  error
}

func newRowCounter() *rowCounter {
	r, w := io.Pipe()
	c := &rowCounter{w: w, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		records := csv.NewReader(r)
		records.ReuseRecord = true
		for c.err == nil {
			if _, c.err = records.Read(); c.err == nil {
				c.n++
			}
		}
		io.Copy(io.Discard, r)
	}()
	return c
}

func (c *rowCounter) Write(b []byte) (int, error) { return c.w.Write(b) }

func (c *rowCounter) end() (int64, error) {
	c.w.Close()
	<-c.done
	if errors.Is(c.err, io.EOF) {
		c.err = nil
	}
	return c.n, c.err
}

// localForget removes a file from this node: the proof of what was delivered too.
func (f *filing) localForget(w http.ResponseWriter, r *http.Request) {
	x, ok := f.promise(w, r)
	if !ok {
		return
	}
	f.fetching.Lock()
	defer f.fetching.Unlock()
	digest := string(x.Delivery.Manifest.Digest)
	err := os.Remove(f.partName(&x.Delivery.Manifest))
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if err = errors.Join(err, os.Remove(f.fetched(digest+".promise"))); err != nil {
		f.n.localError(w, r, err)
		return
	}
	answer(w, map[string]string{"forgotten": digest})
}

// checked passes on what it reads and hashes it.
type checked struct {
	io.Reader
	hash hash.Hash
}

func newChecked(r io.Reader) *checked {
	h := sha256.New()
	return &checked{io.TeeReader(r, h), h}
}

func (c *checked) sum() contracts.Hash { return contracts.Hash(hex.EncodeToString(c.hash.Sum(nil))) }
