package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

// Exit codes. A script may rely on them.
const (
	exitOK     = 0 // nothing failed
	exitFailed = 1 // a check failed, or a proof does not verify
	exitUsage  = 2
	exitError  = 3 // nothing was decided: a file can't be read
)

// errFailed ends a command whose output has said what failed.
var errFailed = errors.New("a check failed")

type usageError struct{ what string }

func (e *usageError) Error() string { return e.what }

// command is one call of the program.
type command struct {
	ctx    context.Context
	name   string
	args   []string
	lang   lang
	out    io.Writer
	err    io.Writer
	params []string // what is no flag
}

// run is the program: main without the process.
func run(ctx context.Context, args []string, getenv func(string) string, out, errw io.Writer) int {
	commands := map[string]func(*command) error{"verify": verify, "proof": proof, "show": show, "blocks": auditBlocks, "witness": runWitness, "witness-accept": acceptLoss, "witness-key": witnessKey}
	c := &command{ctx: ctx, lang: langOf(getenv), out: out, err: errw}
	if len(args) > 0 {
		c.name, c.args = args[0], args[1:]
	}
	switch c.name {
	case "", "-h", "--help", "help":
		for i, a := range c.args { // bundaudit help --lang zh, bundaudit help verify
			if a == "--lang" && i+1 < len(c.args) {
				c.lang = lang(c.args[i+1])
			}
		}
		if len(c.args) > 0 && commands[c.args[0]] != nil {
			c.name = c.args[0]
		}
		fmt.Fprint(out, c.lang.help(c.name))
		return exitOK
	}
	f := commands[c.name]
	if f == nil {
		fmt.Fprintf(errw, "bundaudit: "+c.lang.say("there is no command %q", "没有命令 %q")+"\n\n%s", clean(c.name), c.lang.help(""))
		return exitUsage
	}
	err := f(c)
	var u *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(out, c.lang.help(c.name))
		return exitOK
	case errors.As(err, &u):
		fmt.Fprintf(errw, "bundaudit %s: %s\n\n%s", c.name, clean(u.what), c.lang.help(c.name))
		return exitUsage
	case errors.Is(err, errFailed):
		return exitFailed
	}
	fmt.Fprintf(errw, "bundaudit %s: %s\n", c.name, clean(err.Error()))
	return exitError
}

// parse reads flags, which may stand before and behind what is no flag. Every one of required must be given.
func (c *command) parse(define func(*flag.FlagSet), required ...string) error {
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Func("lang", "", func(s string) error {
		if s != "zh" && s != "en" {
			return errors.New("zh, en")
		}
		c.lang = lang(s)
		return nil
	})
	define(fs)
	for rest := c.args; ; {
		if err := fs.Parse(rest); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return err
			}
			return &usageError{err.Error()}
		}
		if rest = fs.Args(); len(rest) == 0 {
			break
		}
		c.params, rest = append(c.params, rest[0]), rest[1:]
	}
	for _, r := range required {
		if fs.Lookup(r).Value.String() == "" {
			return &usageError{fmt.Sprintf(c.lang.say("--%s is missing", "缺少 --%s"), r)}
		}
	}
	return nil
}

// files takes the parameters, from least to most of them.
func (c *command) files(least, most int, what string) error {
	if len(c.params) < least || len(c.params) > most {
		return &usageError{fmt.Sprintf(c.lang.say("want %s", "需要 %s"), what)}
	}
	return nil
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }
