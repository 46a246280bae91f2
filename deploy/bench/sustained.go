package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sync/errgroup"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger/embedded"
	"github.com/bund-exchange/bund/ledger/ledgertest"
	"github.com/bund-exchange/bund/ledger/publish"
	"github.com/bund-exchange/bund/ledger/witness"
	"github.com/bund-exchange/bund/server/catalog"
	"github.com/bund-exchange/bund/server/pg"
	"github.com/bund-exchange/bund/server/projection"
	"github.com/bund-exchange/bund/server/trading"
)

const (
	sustainedLedger  = "bund.bench/sustained"
	sustainedCallers = 256
	sustainedPerSec  = 4_400 // commands that are due each second; the figure is what was acknowledged
)

// sustainedFor is how long; BENCH_SUSTAINED_SEC shortens a trial.
func sustainedFor() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("BENCH_SUSTAINED_SEC") + "s"); err == nil && d > 0 {
		return d
	}
	return 120 * time.Second
}

// sustained offers commands of the kind consent.register at a steady rate, signed beforehand, to a ledger as marketd
// runs it: openings and projection in PostgreSQL, the published log with a witness. A part that can't keep up shows as
// a lag that grows: its largest in the first and in the last third are printed, and where it stood at the end.
func sustained(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "sustainedbench")
	if err != nil {
		return fmt.Errorf("couldn't make a folder: %w", err)
	}
	defer os.RemoveAll(dir)
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	db, err := pg.Open(ctx, pg.Config{URL: os.Getenv("DATABASE_URL"), Dir: filepath.Join(dir, "pg"), Log: quiet})
	if err != nil {
		return err
	}
	defer db.Close()
	if err := pg.Migrate(ctx, db.DB, quiet); err != nil {
		return err
	}
	l, err := embedded.Open(embedded.Config{Dir: filepath.Join(dir, "ledger"), LedgerID: sustainedLedger, Key: ed25519.NewKeyFromSeed(make([]byte, 32)),
		Openings: trading.Openings{DB: db.DB}, Log: quiet})
	if err != nil {
		return err
	}
	defer l.Close()
	m := ledgertest.NewMarket(sustainedLedger, l, 1)
	if err := m.Open(); err != nil {
		return err
	}
	pub, stop, err := published(ctx, dir, l, quiet)
	if err != nil {
		return err
	}
	defer stop()
	proj, err := projection.New(db.DB, l, catalog.Schema(), trading.Schema())
	if err != nil {
		return err
	}
	proj.Log = quiet
	if err := proj.Prepare(ctx); err != nil {
		return err
	}
	if err := errors.Join(pub.RunOnce(ctx), proj.RunOnce(ctx)); err != nil {
		return err
	}
	took := sustainedFor()
	subs := m.Consents(int(took.Seconds()*sustainedPerSec), 1001) // not the seed of the market: it gives ids too
	fmt.Fprintf(os.Stderr, "%d commands are signed; %.0f s of them follow\n", len(subs), took.Seconds())

	lags := &lags{ledger: l, pub: pub, proj: proj}
	running, end := context.WithCancel(ctx)
	jobs, running := errgroup.WithContext(running)
	for _, job := range []func(context.Context) error{pub.Run, proj.Run, lags.watch} {
		jobs.Go(func() error {
			if err := job(running); err != nil && running.Err() == nil {
				return err
			}
			return nil
		})
	}
	began := time.Now()
	offered := offer(running, l, subs)
	seconds := time.Since(began).Seconds()
	published, projected, stored := lags.now()
	end()
	if err := errors.Join(offered, jobs.Wait()); err != nil {
		return err
	}
	fmt.Printf("figure ledger.sustained %.0f commands/s\nfigure ledger.sustained_s %.1f s\nfigure ledger.sustained_offered %d commands/s\n",
		float64(len(subs))/seconds, seconds, sustainedPerSec)
	for i, name := range []string{"published", "projected", "stored"} {
		first, last := lags.thirds(i)
		fmt.Printf("figure ledger.sustained_%s_lag %d entries\nfigure ledger.sustained_%s_lag_s %.2f s\nfigure ledger.sustained_%s_lag_first %d entries\nfigure ledger.sustained_%s_lag_last %d entries\n",
			name, [3]uint64{published, projected, stored}[i], name, float64([3]uint64{published, projected, stored}[i])/sustainedPerSec, name, first, name, last)
	}
	return nil
}

// offer submits each command when it is due, or as soon as a caller is free.
func offer(ctx context.Context, l *embedded.Ledger, subs []contracts.Submission) error {
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	for range sustainedCallers {
		g.Go(func() error {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(subs) {
					return nil
				}
				time.Sleep(time.Until(began.Add(time.Duration(i) * time.Second / sustainedPerSec)))
				if _, err := l.Submit(ctx, subs[i]); err != nil {
					return fmt.Errorf("command %d: %w", i, err)
				}
			}
			return ctx.Err()
		})
	}
	return g.Wait()
}

// published opens the public log with a witness on loopback.
func published(ctx context.Context, dir string, l *embedded.Ledger, quiet *slog.Logger) (_ *publish.Publisher, stop func(), err error) {
	skey, vkey, err := note.GenerateKey(rand.Reader, sustainedLedger)
	if err != nil {
		return nil, nil, err
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		return nil, nil, err
	}
	wkey, _, err := note.GenerateKey(rand.Reader, "witness.bench")
	if err != nil {
		return nil, nil, err
	}
	w, err := witness.Open(witness.Config{Dir: filepath.Join(dir, "witness"), LogKey: vkey, Key: wkey, Begin: true, Log: quiet})
	if err != nil {
		return nil, nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, errors.Join(err, w.Close())
	}
	srv := &http.Server{Handler: w.Handler(), ReadHeaderTimeout: 10 * time.Second}
	go srv.Serve(listener)
	p, err := publish.Open(ctx, publish.Config{Dir: filepath.Join(dir, "tlog"), Ledger: sustainedLedger, Signer: signer, LogKey: vkey,
		Witnesses: []publish.Witness{{URL: "http://" + listener.Addr().String(), Key: w.VerifierKey()}}, Quorum: 1, Log: quiet}, l)
	if err != nil {
		return nil, nil, errors.Join(err, srv.Close(), w.Close())
	}
	return p, func() {
		p.Close()
		srv.Close()
		w.Close()
	}, nil
}

// lags reads every second how far the followers of the ledger are behind it.
type lags struct {
	ledger *embedded.Ledger
	pub    *publish.Publisher
	proj   *projection.Projector
	seen   [][3]uint64
}

func (g *lags) watch(ctx context.Context) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			published, projected, stored := g.now()
			g.seen = append(g.seen, [3]uint64{published, projected, stored})
		}
	}
}

func (g *lags) now() (published, projected, stored uint64) {
	// Followers first: the ledger may only have grown since.
	p := g.proj.Projected()
	head, _ := g.pub.Head()
	h := g.ledger.Health()
	return h.Height - head.Size, h.Height - p, h.Height - min(h.Stored, h.Height)
}

// thirds gives the largest lags in the first and in the last third.
func (g *lags) thirds(i int) (first, last uint64) {
	for k, s := range g.seen {
		if 3*k < len(g.seen) {
			first = max(first, s[i])
		}
		if 3*k >= 2*len(g.seen) {
			last = max(last, s[i])
		}
	}
	return first, last
}
