package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/bund-exchange/bund/ledger/publish"
	"github.com/bund-exchange/bund/server/catalog"
	"github.com/bund-exchange/bund/server/clearing"
	"github.com/bund-exchange/bund/server/compliance"
	"github.com/bund-exchange/bund/server/rest"
	"github.com/bund-exchange/bund/server/trading"
)

func serve(c *command) error {
	f, err := c.flags("config")
	if err != nil {
		return err
	}
	cfg, err := ReadConfig(f["config"])
	if err != nil {
		return err
	}
	m, err := OpenMarket(c.ctx, cfg, c.log)
	if err != nil {
		return err
	}
	err = m.Run(c.ctx)
	return errors.Join(err, m.Close())
}

// Run serves until ctx ends, or a part fails for good.
func (m *Market) Run(ctx context.Context) error {
	public, err := net.Listen("tcp", m.cfg.Listen)
	if err != nil {
		return fmt.Errorf("couldn't listen: %w", err)
	}
	admin, err := net.Listen("tcp", m.adminAddress())
	if err != nil {
		return errors.Join(fmt.Errorf("couldn't listen for operators: %w", err), public.Close())
	}
	desk := &trading.Desk{DB: m.db.DB, Ledger: m.ledger, Now: m.now, Log: m.log}
	reads := &compliance.Reads{DB: m.db.DB, Now: m.now}
	registry := prometheus.NewRegistry()
	registry.MustRegister(m.ledger.Collectors()...)
	audience := publish.Audience{Caller: m.callerOf, MayRead: m.mayRead}
	tiles := m.pub.Handler()
	server, err := rest.New(rest.Config{
		Identity: m.identity, Ledger: desk, Projection: m.proj, Log: m.log, Registry: registry, PlainHTTP: !m.cfg.Secure, Shared: m.cfg.Fabric != nil, Parts: m.parts(),
		Domain: rest.Domain{LedgerID: m.cfg.Ledger, DB: m.db.DB, Ledger: m.ledger, Proofs: m.pub, Catalog: &catalog.Catalog{DB: m.db.DB},
			Book: &trading.Book{DB: m.db.DB, Openings: m.openings}, Openings: m.openings, Reads: reads,
			Exporter: &compliance.Exporter{LedgerID: m.cfg.Ledger, Ledger: m.ledger, Head: m.pub.Head, Openings: m.openings, Signer: m.cfg.log, Now: m.now}, Now: m.now},
		Mounts: map[string]http.Handler{"/checkpoint": tiles, "/tile/*": tiles, "/cosign": tiles, "/entries": m.pub.EntriesHandler(audience)},
	})
	if err != nil {
		return errors.Join(err, public.Close(), admin.Close())
	}
	if m.cfg.Fabric == nil {
		// Nobody else has taken a command: whatever is open, an earlier process has left.
		if err := desk.Resume(ctx, 0); err != nil {
			return errors.Join(err, public.Close(), admin.Close())
		}
	}
	clerk := &clearing.Clerk{DB: m.db.DB, Desk: desk, Openings: m.openings, Projection: m.proj, Ledger: m.cfg.Ledger, Key: m.cfg.machine, Now: m.now, Log: m.log, Every: 10 * time.Second}
	anchorer := &compliance.Anchorer{Reads: reads, Desk: desk, Ledger: m.cfg.Ledger, Key: m.cfg.machine, Now: m.now, Log: m.log}
	g, ctx := errgroup.WithContext(ctx)
	// Each waits for its turn: on several replicas one runs it, and another takes over when that one is gone.
	jobs := map[string]func(context.Context) error{
		"published log": m.pub.Run, "projection": m.proj.Run, "clerk": clerk.Run, "anchor of reads": anchorer.Run, "eraser": (&trading.Eraser{DB: m.db.DB, Log: m.log}).Run,
		"sign-ins": func(ctx context.Context) error { return m.identity.Run(ctx, m.log) }, "open commands": desk.Run,
	}
	if m.cfg.Fabric != nil {
		jobs["watch of the projection"] = m.proj.Watch
	}
	for name, job := range jobs {
		g.Go(func() error {
			if err := job(ctx); err != nil && ctx.Err() == nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	g.Go(func() error {
		select {
		case <-m.db.Lost():
			return errors.New("the private PostgreSQL has ended")
		case <-ctx.Done():
			return nil
		}
	})
	g.Go(func() error { return server.Serve(ctx, public, admin) })
	m.log.Info("the market is open", "ledger", m.cfg.Ledger, "listen", public.Addr().String(), "admin", admin.Addr().String())
	return g.Wait()
}

// adminAddress is where operators read metrics: loopback, a free port unless configured.
func (m *Market) adminAddress() string {
	if m.cfg.Admin != "" {
		return m.cfg.Admin
	}
	return "127.0.0.1:0"
}

// parts are what readiness asks.
func (m *Market) parts() []rest.Part {
	return []rest.Part{
		{Name: "ledger", Check: m.ledger.Check},
		{Name: "database", Check: func(ctx context.Context) error { return m.db.PingContext(ctx) }},
		{Name: "published log", Check: func(ctx context.Context) error { return m.pub.Status(ctx).Broken }},
		{Name: "projection", Check: func(ctx context.Context) error {
			h, err := m.ledger.Height(ctx)
			if err != nil || h == 0 {
				return err
			}
			return m.proj.WaitFor(ctx, h-1)
		}},
	}
}
