// Command datanode is a member's data node. Data stays here; what leaves are answers to calls that the ledger allows.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/bund-exchange/bund/node/compute"
)

func main() {
	if compute.IsChild(os.Args) {
		os.Exit(compute.Main())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

const usage = `datanode: 会员数据节点 · a member's data node

  datanode keygen  --dir DIR                     make the node's keys, print the public ones
  datanode run     --config FILE                 serve and follow until Ctrl-C
  datanode import  --config FILE --dataset NAME --schema FILE
                   (--csv FILE | --parquet FILE | --table [SCHEMA.]TABLE) [--as-of yyyy-mm-dd]
                                                 import a dataset; nothing is kept unless all of it is good.
                                                 --table reads the PostgreSQL of the configuration (postgres.dsnFile)
  datanode schema  --schema FILE                 print a field dictionary's digest
  datanode call    --config FILE --agreement ID --subject CODE --fields a,b --purpose pre_loan
                   [--consent ID --consent-key-file FILE | --consent-key HEX] [--as-of yyyy-mm-dd] [--nonce HEX]
                                                 use data through the running node
  datanode model   --config FILE --card FILE     make a model of a scorecard (YAML): prints what to register on the ledger
  datanode assess  --model FILE --digest HEX     the assessor's check: the registered digest is the encryption of this card
  datanode score   --config FILE --agreement ID --model ID --purpose pre_loan --subjects FILE.csv --out FILE.csv
                   [--as-of yyyy-mm-dd]          score companies (code[,consent,consent key] a line) through the running
                                                 node; an unfinished --out is gone on with
  datanode lookup build   --config FILE --version ID [--cohort N] [--consent-node ID]
                                                 a new key epoch of private lookup: a key, a table of the reported dataset,
                                                 and the commitment on the ledger. N: records in a bucket at least
  datanode lookup fetch   --config FILE --agreement ID
                                                 fetch the whole table ahead; an interrupted fetch is gone on with
  datanode lookup ask     --config FILE --agreement ID --purpose pre_loan (--subjects FILE|a,b | --consents FILE)
                   [--buckets] [--nonce HEX]     ask about companies without telling the provider which. --consents has
                                                 a line each: code,consent,consent key. --buckets: see docs/privacy/lookup.md
  datanode lookup history --config FILE --subject CODE
                                                 of a consent service: who was given tickets about a company
  datanode fetch   --config FILE --agreement ID --fields a,b --purpose pre_loan --out FILE.csv
                                                 have a dataset sealed to this node, fetch it and open it; an interrupted
                                                 fetch goes on where it was and is paid once
  datanode stats contribute --config FILE --task ID --values FILE.csv [--name NAME]
                                                 split one whole number a line between a joint statistic's aggregators;
                                                 the same file again goes on where it was and counts once
  datanode stats collect    --config FILE --task ID
                                                 close the next batch and collect its sum, with noise
  datanode stats result     --config FILE --agreement ID --task ID --fields a,b --purpose pre_loan [--batch N]
                                                 buy a result
  datanode stats status     --config FILE --task ID
  datanode psi     --config FILE --agreement ID --purpose pre_loan --ids FILE.csv --out FILE.csv [--padding rounded|exact]
                                                 which companies of a list (codes in the first column) the provider has
                                                 too, through the running node, which goes on without this command
  datanode query   --config FILE --agreement ID --purpose research --spec FILE.json [--nonce HEX]
                                                 compute on a provider's dataset, through the running node: figures with noise
  datanode report  --config FILE --dataset NAME --version ID
                                                 report a dataset to the ledger, through the running node
  datanode status  --config FILE                 where the running node stands
  datanode ui      --config FILE                 the page for private queries: prints its address and a code to type there
  datanode sign    --key FILE                    show and sign prepared bytes from standard input

A node runs one process (datanode run); import needs it stopped; what asks or uses anything needs it running.
Exit code: 0 done, 1 failed, 2 wrong usage, 3 refused.
`

type command struct {
	ctx  context.Context
	args []string
	in   io.Reader
	out  io.Writer
	err  io.Writer
	log  *slog.Logger
	now  func() time.Time
}

func run(ctx context.Context, args []string, in io.Reader, out, errw io.Writer) int {
	commands := map[string]func(*command) error{"run": runNode, "keygen": keygen, "import": importDataset, "schema": printSchema, "call": callNode, "lookup": lookupCommand, "model": makeModel, "assess": assess, "score": scoreCompanies, "psi": intersect, "status": statusNode, "report": reportDataset, "sign": sign, "ui": openUI, "fetch": fetchFile, "stats": statCommand, "query": computeQuery}
	if len(args) == 0 || args[0] == "-h" || args[0] == "--help" || args[0] == "help" {
		fmt.Fprint(out, usage)
		return 0
	}
	f := commands[args[0]]
	if f == nil {
		fmt.Fprintf(errw, "datanode: no command %q\n\n%s", args[0], usage)
		return 2
	}
	err := f(&command{ctx, args[1:], in, out, errw, newLog(errw), time.Now})
	switch err := err.(type) {
	case nil:
		return 0
	case *usageError:
		fmt.Fprintf(errw, "datanode %s: %v\n\n%s", args[0], err, usage)
		return 2
	case *problem:
		fmt.Fprintf(errw, "refused: %v\n", err)
		return 3
	default:
		if err == flag.ErrHelp {
			return 0
		}
		fmt.Fprintf(errw, "datanode %s: %v\n", args[0], err)
		return 1
	}
}

func newLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

type usageError struct{ what string }

func (e *usageError) Error() string { return e.what }

// flags parses a command's flags; every one of required must be given.
func (c *command) flags(define func(*flag.FlagSet), required ...string) error {
	fs := flag.NewFlagSet("datanode", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	define(fs)
	if err := fs.Parse(c.args); err != nil {
		if err == flag.ErrHelp {
			fmt.Fprint(c.out, usage)
			return err
		}
		return &usageError{err.Error()}
	}
	if fs.NArg() > 0 {
		return &usageError{fmt.Sprintf("%q is no flag", fs.Arg(0))}
	}
	for _, r := range required {
		if f := fs.Lookup(r); f.Value.String() == "" {
			return &usageError{"--" + r + " is missing"}
		}
	}
	return nil
}

func runNode(c *command) error {
	var file string
	if err := c.flags(func(fs *flag.FlagSet) { fs.StringVar(&file, "config", "", "") }, "config"); err != nil {
		return err
	}
	cfg, err := ReadConfig(file)
	if err != nil {
		return err
	}
	n, err := OpenNode(cfg, c.log)
	if err != nil {
		return err
	}
	err = n.Run(c.ctx)
	if err2 := n.Close(); err == nil {
		err = err2
	}
	return err
}
