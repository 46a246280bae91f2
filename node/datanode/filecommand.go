package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/node/meter"
)

// fileState is what datanode fetch keeps beside its output until the file is whole: started again it pays for no second
// one.
type fileState struct {
	Request localFileRequest `json:"request"`
	File    contracts.Hash   `json:"file"`
	Content contracts.Hash   `json:"content"`
	Rows    int64            `json:"rows"`
}

// fetchFile has a dataset sealed to this node, fetches it with progress, and writes what was in it.
func fetchFile(c *command) error {
	var file, agreement, fields, purpose, out string
	if err := c.flags(func(fs *flag.FlagSet) {
		fs.StringVar(&file, "config", "", "")
		fs.StringVar(&agreement, "agreement", "", "")
		fs.StringVar(&fields, "fields", "", "")
		fs.StringVar(&purpose, "purpose", "", "")
		fs.StringVar(&out, "out", "", "")
	}, "config", "agreement", "fields", "purpose", "out"); err != nil {
		return err
	}
	if _, err := os.Stat(out); err == nil {
		return fmt.Errorf("couldn't fetch: %s is there already", out)
	}
	st, err := c.fileState(file, out+".fetch", localFileRequest{Agreement: contracts.ID(agreement), Fields: strings.Split(fields, ","), Purpose: policy.Purpose(purpose)})
	if err != nil {
		return err
	}
	if err := c.fetchChunks(file, st); err != nil {
		return err
	}
	if err := c.writeContent(file, st, out); err != nil {
		return err
	}
	fmt.Fprintf(c.err, "%d rows in %s\n", st.Rows, out)
	return os.Remove(out + ".fetch")
}

// fileState gives the promised file: of an earlier, unfinished fetch, or by a call now.
func (c *command) fileState(config, name string, q localFileRequest) (*fileState, error) {
	st := new(fileState)
	switch b, err := os.ReadFile(name); {
	case errors.Is(err, os.ErrNotExist):
		nonce := meter.NewNonce(c.now())
		st.Request = q
		st.Request.Nonce = hex.EncodeToString(nonce[:])
		if err := writeState(name, st); err != nil { // before the call: one that may have been made is asked for again
			return nil, err
		}
	case err != nil:
		return nil, fmt.Errorf("couldn't read state: %w", err)
	default:
		if err := strictJSON(b, st); err != nil {
			return nil, fmt.Errorf("couldn't read state %s: %w", name, err)
		}
		if r := st.Request; r.Agreement != q.Agreement || r.Purpose != q.Purpose || !slices.Equal(r.Fields, q.Fields) {
			return nil, fmt.Errorf("%s is of another fetch: finish that, or remove it", name)
		}
	}
	if st.File != "" {
		return st, nil
	}
	var a struct {
		Outcome string         `json:"outcome"`
		Detail  string         `json:"detail"`
		File    contracts.Hash `json:"file"`
		Content contracts.Hash `json:"content"`
		Rows    int64          `json:"rows"`
	}
	err := c.patiently(func() error { return c.get(config, http.MethodPost, "/v1/files", st.Request, &a) })
	var no *problem
	if errors.As(err, &no) && no.Status < 500 { // nothing was made, so nothing is to go on with
		if gone := os.Remove(name); gone == nil {
			return nil, no
		}
	}
	if err != nil {
		return nil, err
	}
	if a.File == "" {
		return nil, errors.Join(fmt.Errorf("couldn't fetch: the provider answered %s %s", a.Outcome, a.Detail), os.Remove(name))
	}
	st.File, st.Content, st.Rows = a.File, a.Content, a.Rows
	return st, writeState(name, st)
}

func writeState(name string, st *fileState) error {
	b, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		return err
	}
	return writeWhole(name, b)
}

// patiently asks again what failed: it is billed once, and chunks that came stay.
func (c *command) patiently(ask func() error) error {
	for try := 0; ; try++ {
		err := ask()
		var p *problem
		if err == nil || errors.As(err, &p) && p.Status < 500 || try == 5 || c.ctx.Err() != nil {
			return err
		}
		fmt.Fprintf(c.err, "again, after: %v\n", err)
		select {
		case <-time.After(time.Duration(try) * time.Second / 2):
		case <-c.ctx.Done():
		}
	}
}

func (c *command) fetchChunks(config string, st *fileState) error {
	for {
		var a struct{ Have, Chunks int64 }
		if err := c.patiently(func() error {
			return c.get(config, http.MethodPost, "/v1/files/"+string(st.File)+"/chunks", map[string]int{"most": 16}, &a)
		}); err != nil {
			return err
		}
		fmt.Fprintf(c.err, "%d of %d MiB\n", a.Have, a.Chunks)
		if a.Have == a.Chunks {
			return nil
		}
	}
}

// writeContent writes what the node opened, and gives it its name when its digest is the promised one.
func (c *command) writeContent(config string, st *fileState, out string) error {
	resp, err := c.send(config, http.MethodGet, "/v1/files/"+string(st.File)+"/content", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	f, err := os.OpenFile(out+".part", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(out + ".part")
	body := newChecked(resp.Body)
	_, err = io.Copy(f, body)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("couldn't write file: %w", err)
	}
	if body.sum() != st.Content {
		return errors.New("couldn't write file: it is not the one that was promised")
	}
	return os.Rename(out+".part", out)
}
