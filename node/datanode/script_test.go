package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts plays the command line.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script"})
}
