package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/server/catalog"
	"github.com/bund-exchange/bund/server/identity"
	"github.com/bund-exchange/bund/server/projection"
	"github.com/bund-exchange/bund/server/rest"
)

// visitor asks the market's API as a browser would that isn't signed in.
type visitor struct {
	http *http.Client
	base string
}

// serve starts the API on loopback. Its log is written and thrown away: writing it is part of a request.
func serve(db *sqlx.DB, callers int) (*visitor, func(), error) {
	p, err := projection.New(db, nil, catalog.Schema())
	if err != nil {
		return nil, nil, err
	}
	s, err := rest.New(rest.Config{Identity: identity.New(db), Projection: p, PlainHTTP: true, RatePerSec: 1e6,
		Domain: rest.Domain{DB: db, Catalog: &catalog.Catalog{DB: db}}, Log: slog.New(slog.NewJSONHandler(io.Discard, nil))})
	if err != nil {
		return nil, nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, fmt.Errorf("couldn't listen: %w", err)
	}
	srv := &http.Server{Handler: s.Handler()}
	go srv.Serve(l)
	v := &visitor{http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: callers}}, base: "http://" + l.Addr().String()}
	return v, func() { srv.Close() }, nil
}

const pageOf = 50

// page asks for a page and reads all of it.
func (v *visitor) page(ctx context.Context, q catalog.Query) error {
	u := url.Values{"q": {q.Words}, "limit": {fmt.Sprint(pageOf)}}
	for f, value := range q.Select {
		u.Set(string(f), value)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, v.base+"/products?"+u.Encode(), http.NoBody)
	if err != nil {
		return err
	}
	res, err := v.http.Do(req)
	if err != nil {
		return fmt.Errorf("couldn't ask for a page: %w", err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("couldn't read a page: %w", err)
	}
	var page struct{ Items []json.RawMessage }
	if res.StatusCode != http.StatusOK || json.Unmarshal(b, &page) != nil || len(page.Items) > pageOf {
		return fmt.Errorf("%s answered %d: %.200s", u.Encode(), res.StatusCode, b)
	}
	return nil
}
