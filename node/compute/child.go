package compute

import (
	"errors"
	"io"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/bund-exchange/bund/contracts/canon"
)

// ChildArg is the one argument of a child: the hidden subcommand of the program that runs it.
const ChildArg = "compute-child"

// IsChild reports whether a program was started as a child. It must then call Main, before it does anything else.
func IsChild(args []string) bool { return len(args) == 2 && args[1] == ChildArg }

// Main is a child's whole life: it confines itself, reads its task, answers it and ends with the code that Main gives.
// It never writes what a row holds anywhere but into its answer.
func Main() int {
	b, err := io.ReadAll(io.LimitReader(os.Stdin, canon.MaxBytes+1))
	if err != nil {
		return 1
	}
	j, err := parseJob(b)
	if err != nil {
		return 1
	}
	a := runJob(j)
	if a == nil {
		return 1
	}
	if _, err := os.Stdout.Write(a.encode()); err != nil {
		return 1
	}
	return 0
}

// runJob gives nil where the child can't even be confined.
func runJob(j *job) *answer {
	l := j.limits()
	runtime.GOMAXPROCS(int(l.Threads))
	debug.SetMemoryLimit(l.MemoryMB << 20 / 4)
	debug.SetGCPercent(-1) // a child ends before its garbage matters; the limit collects it where there is much
	held, err := confineProcess(l)
	if err != nil {
		return nil
	}
	a := &answer{held: held, state: stateConfined}
	if j.Program == nil {
		return a
	}
	a.exact, err = builtEngine(tablePath, j.Program, engineLimits{threads: int(l.Threads), memoryMB: int(l.MemoryMB / 2)})
	switch {
	case errors.Is(err, errTooManyGroups):
		a.state = stateTooManyGroups
	case err != nil:
		a.state = stateFailed
		os.Stderr.WriteString("compute: " + err.Error() + "\n")
	default:
		a.state = stateFigures
	}
	return a
}
