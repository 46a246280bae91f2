package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// server is one listener with its handler.
type server struct {
	l    net.Listener
	http *http.Server
}

// grace is how long calls under way have when the node ends.
const grace = 5 * time.Second

func newServer(l net.Listener, h http.Handler, log *slog.Logger) *server {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	return &server{l, &http.Server{Handler: h, Protocols: p, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}}
}

// run serves until ctx ends.
func (s *server) run(ctx context.Context) error {
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		if s.http.Shutdown(last) != nil {
			s.http.Close()
		}
	})
	serve := s.http.Serve
	if s.http.TLSConfig != nil {
		serve = func(l net.Listener) error { return s.http.ServeTLS(l, "", "") }
	}
	err := serve(s.l)
	if !stop() {
		<-ended
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
