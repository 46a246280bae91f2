package fabric_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bund-exchange/bund/deploy/fabric/network"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/fabric"
)

// One network serves all tests of this package; it is started by the first that needs it.
var shared struct {
	once sync.Once
	dir  string
	net  *network.Network
	err  error
}

func TestMain(m *testing.M) {
	if file := os.Getenv(submitterEnv); file != "" {
		if err := submit(file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	if shared.net != nil {
		if err := shared.net.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if shared.dir != "" {
		os.RemoveAll(shared.dir)
	}
	os.Exit(code)
}

// running gives the network, or skips a test on a machine that has not built it.
func running(t *testing.T) *network.Network {
	t.Helper()
	bin := os.Getenv("BUND_FABRIC")
	if bin == "" {
		t.Skip("BUND_FABRIC is not set: make fabric-build, then BUND_FABRIC=$PWD/bin go test ./ledger/fabric/...")
	}
	shared.once.Do(func() {
		if shared.dir, shared.err = os.MkdirTemp("", "bund-fabric-"); shared.err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		base, err := network.FreeBase()
		if err != nil {
			shared.err = err
			return
		}
		shared.net, shared.err = network.Start(ctx, network.Config{Dir: filepath.Join(shared.dir, "net"), BasePort: base, Tools: filepath.Join(bin, "fabric"),
			Chaincode: filepath.Join(bin, "chaincode"), Ledger: "bund.test/{channel}"})
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.net
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

type forgetful struct{}

func (forgetful) Put(context.Context, []ledger.Opening) error { return nil }

func open(t *testing.T, cfg fabric.Config) *fabric.Ledger {
	t.Helper()
	if cfg.Organisation == "" {
		cfg.Organisation = "venue"
	}
	if cfg.Log == nil {
		cfg.Log = quiet
	}
	if os.Getenv("BUND_LOG") != "" {
		cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l, err := fabric.Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// channel adds a channel with an empty ledger, bund.test/NAME, and says how to open it.
func channel(t *testing.T, ledgerID string) fabric.Config {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p, err := running(t).AddLedger(ctx, strings.TrimPrefix(ledgerID, "bund.test/"))
	if err != nil {
		t.Fatal(err)
	}
	return fabric.Config{Network: p, Dir: t.TempDir(), Openings: forgetful{}}
}
