package compute

import "strings"

// Confinement is what holds a child, as far as this machine can. A child says itself what it is under.
type Confinement uint32

// The measures. Rlimits and an empty environment are everywhere; the others are Linux's.
const (
	Rlimits      Confinement = 1 << iota // memory, processor time, no file written, few files open
	NoNewPrivs                           // no program gains rights
	Seccomp                              // only the system calls that computing needs: no network, no process, no program, no writing open
	Landlock                             // of all files, only the working table, this program and its libraries can be opened, and only read
	Capabilities                         // root's powers are given up
	Namespaces                           // an own network, process and user namespace: where seccomp is missing
)

var confinementNames = []string{"rlimits", "no_new_privs", "seccomp", "landlock", "capabilities", "namespaces"}

// String lists the measures: "rlimits, no_new_privs, seccomp".
func (c Confinement) String() string {
	var out []string
	for i, name := range confinementNames {
		if c&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}

// Missing lists what should hold a child on any machine that can, and doesn't on this one. Namespaces stand in for
// seccomp.
func (c Confinement) Missing() Confinement {
	want := Rlimits | NoNewPrivs | Seccomp | Landlock | Capabilities
	return want &^ c
}
