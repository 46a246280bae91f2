// Command bundaudit verifies what a market says, offline, and witnesses its log.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

const usage = `bundaudit: 离线核验与见证 · verifies a market offline, and witnesses its log

  bundaudit verify  --trust FILE [--lang en] [--json] DIR
                    an evidence package: manifest, hash chain, signatures, every rule replayed, the published log,
                    witnesses, openings, money, certificates. One line a check: verified, failed or not checkable
  bundaudit proof   --trust FILE PROOF.tlog-proof
                    one entry's proof file, and what the entry says
  bundaudit show    DIR [POSITION]
                    the entries of a package, for people
  bundaudit witness --dir DIR --key-file FILE --log-key KEY --listen ADDRESS [--begin]
                    cosign checkpoints of one log (C2SP tlog-witness); --begin once, on an empty folder
  bundaudit witness-key --name NAME --out FILE
                    make a witness's key: the private one into FILE, the public one on standard output

FILE of --trust is the trust root that you got out of band from venue and regulator.
Exit code: 0 all good, 1 something failed, 2 wrong usage.
`

var errUsage = errors.New("wrong usage")

// errFailed means that the report has said what failed.
var errFailed = errors.New("verification failed")

type command struct {
	ctx       context.Context
	args      []string
	out, errw io.Writer
}

func run(ctx context.Context, args []string, out, errw io.Writer) int {
	commands := map[string]func(*command) error{"verify": verify, "proof": prove, "show": show, "witness": serveWitness, "witness-key": witnessKey}
	if len(args) == 0 || args[0] == "-h" || args[0] == "--help" || args[0] == "help" {
		fmt.Fprint(out, usage)
		return 0
	}
	f := commands[args[0]]
	if f == nil {
		fmt.Fprintf(errw, "bundaudit: no command %q\n\n%s", args[0], usage)
		return 2
	}
	err := f(&command{ctx, args[1:], out, errw})
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errFailed):
		return 1
	case errors.Is(err, errUsage):
		fmt.Fprintf(errw, "bundaudit %s: %v\n\n%s", args[0], err, usage)
		return 2
	}
	fmt.Fprintf(errw, "bundaudit %s: %v\n", args[0], err)
	return 1
}

// flags parses flags, before or after the positional arguments, and gives those.
func (c *command) flags(define func(*flag.FlagSet), required ...string) ([]string, error) {
	fs := flag.NewFlagSet("bundaudit", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	define(fs)
	var rest []string
	for args := c.args; ; {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				fmt.Fprint(c.out, usage)
				return nil, err
			}
			return nil, fmt.Errorf("%w: %w", errUsage, err)
		}
		if fs.NArg() == 0 {
			break
		}
		rest, args = append(rest, fs.Arg(0)), fs.Args()[1:]
	}
	for _, r := range required {
		if fs.Lookup(r).Value.String() == "" {
			return nil, fmt.Errorf("%w: --%s is missing", errUsage, r)
		}
	}
	return rest, nil
}

// english reports whether the reader wants English: by flag, else by the environment.
func english(lang string) bool {
	if lang == "" {
		lang = os.Getenv("LANG")
	}
	return strings.HasPrefix(lang, "en")
}
