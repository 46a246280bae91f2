package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/bund-exchange/bund/contracts"
)

// psiEvery is how often the command asks how far an intersection is; psiGiveUp how many times in a row it may fail to.
const (
	psiEvery  = time.Second
	psiGiveUp = 60
)

// intersect asks which companies of a list a provider has too, waits, and writes them to a file. What was begun goes on
// in the node when the command is ended: GET /v1/intersections lists it.
func intersect(c *command) error {
	var file, agreement, purpose, list, out, padding string
	if err := c.flags(func(fs *flag.FlagSet) {
		fs.StringVar(&file, "config", "", "")
		fs.StringVar(&agreement, "agreement", "", "")
		fs.StringVar(&purpose, "purpose", "", "")
		fs.StringVar(&list, "ids", "", "")
		fs.StringVar(&out, "out", "", "")
		fs.StringVar(&padding, "padding", "rounded", "")
	}, "config", "agreement", "purpose", "ids", "out"); err != nil {
		return err
	}
	body, err := readList(list)
	if err != nil {
		return err
	}
	q := url.Values{"agreement": {agreement}, "purpose": {purpose}, "padding": {padding}}
	var v localIntersection
	err = c.get(file, http.MethodPost, "/v1/intersections?"+q.Encode(), bytes.NewReader(body), &v)
	var p *problem
	if errors.As(err, &p) && p.Intersection != "" { // its outcome is unknown: the node goes on trying
		v.Intersection, err = p.Intersection, nil
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(c.err, "intersection %s\n", v.Intersection)
	if err := c.await(file, &v); err != nil {
		return err
	}
	resp, err := c.send(file, http.MethodGet, "/v1/intersections/"+string(v.Intersection)+"/matches", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := replaceWith(out, func(w *bufio.Writer) error { _, err := io.Copy(w, resp.Body); return err }); err != nil {
		return fmt.Errorf("couldn't write matches: %w", err)
	}
	return printJSON(c.out, v)
}

// await tells how far an intersection is until it is over.
func (c *command) await(file string, v *localIntersection) error {
	t := time.NewTicker(psiEvery)
	defer t.Stop()
	said := ""
	for fails := 0; ; {
		err := c.get(file, http.MethodGet, "/v1/intersections/"+string(v.Intersection), nil, v)
		var p *problem
		switch {
		case errors.As(err, &p) && p.Status < 500, c.ctx.Err() != nil:
			return err
		case err != nil:
			if fails++; fails == psiGiveUp {
				return err
			}
		default:
			fails = 0
			if say := v.say(); say != said {
				said = say
				fmt.Fprintln(c.err, say)
			}
			switch v.State {
			case "done":
				return nil
			case "refused":
				return &problem{Code: string(v.Code), Detail: "the intersection has ended", Status: http.StatusConflict}
			}
		}
		select {
		case <-t.C:
		case <-c.ctx.Done():
			return c.ctx.Err()
		}
	}
}

func (v *localIntersection) say() string {
	switch {
	case v.State == "waiting":
		return "waiting: " + v.Why
	case v.Of > 0:
		return fmt.Sprintf("%s %d of %d", v.Stage, v.Progress, v.Of)
	case v.Progress > 0:
		return fmt.Sprintf("%s %d", v.Stage, v.Progress)
	}
	return v.State
}

// readList reads credit codes from a file's first column, as lines. A first line without one is a header.
func readList(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("couldn't read ids: %w", err)
	}
	defer f.Close()
	r := csv.NewReader(bufio.NewReader(f))
	r.ReuseRecord = true
	var out []byte
	for line := 1; ; line++ {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("couldn't read ids: %w", err)
		}
		if contracts.CreditCode(row[0]).Check() != nil {
			if line == 1 {
				continue
			}
			at, _ := r.FieldPos(0)
			return nil, fmt.Errorf("couldn't read ids: line %d has no credit code", at)
		}
		out = append(append(out, row[0]...), '\n')
	}
}
