// Command chaincode runs the market's rules on a peer of Hyperledger Fabric, as a service that the peer connects to. The
// same binary is both definitions, market and clearing, each in a process of its own.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run serves until ctx ends, which is no error: a transaction that is being endorsed then fails, and its client tries again.
// It gives the exit code: 0, 1 when serving failed, 2 for wrong usage.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	if len(args) == 1 && (args[0] == "--help" || args[0] == "-h") {
		fmt.Fprint(stdout, help)
		return 0
	}
	if len(args) > 0 {
		fmt.Fprint(stderr, help)
		return 2
	}
	cfg, err := readConfig(getenv)
	if err != nil {
		fmt.Fprintf(stderr, "chaincode: %v; see chaincode --help\n", err)
		return 2
	}
	log := slog.New(slog.NewTextHandler(stderr, nil)).With("definition", cfg.definition)
	server := cfg.server(newContract(cfg, log))
	ended := make(chan error, 1)
	go func() { ended <- server.Start() }()
	log.Info("serving", "address", cfg.address, "tls", !cfg.tls.Disabled)
	select {
	case err := <-ended:
		log.Error("couldn't serve", "error", err)
		return 1
	case <-ctx.Done():
		return 0
	}
}

const help = `chaincode: the market's rules as chaincode of Hyperledger Fabric, run as a service

It takes no arguments. The environment says what it is:

  CHAINCODE_ID              package id that the peer gave at installation
  CHAINCODE_SERVER_ADDRESS  where it listens, host:port; on loopback unless TLS is on
  BUND_DEFINITION           market or clearing
  BUND_LEDGER               id of the ledger, which every command names; {channel} in it stands for the channel's name
  BUND_VENUE_MSP            MSP that may begin epochs (VenueMSP)
  BUND_OTHER                name of the other definition (clearing for market, market for clearing)
  CHAINCODE_TLS_CERT        file with its certificate, PEM; without it there is no TLS
  CHAINCODE_TLS_KEY         file with the certificate's key, PEM
  CHAINCODE_TLS_CLIENT_CA   file with the CA of the peers that may connect, PEM; without it any may

Functions: submit, open, gets, epoch. Only market has epoch. See contracts/proposal.
Exit code: 0 asked to end, 1 serving failed, 2 wrong usage.
`
