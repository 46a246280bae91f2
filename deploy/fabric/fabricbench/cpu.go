package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// cpu is CPU time by what used it: the client, which is this process, and the network's processes.
type cpu map[string]time.Duration

// per is the CPU time of each of n things done.
func (c cpu) per(n int) string {
	var all time.Duration
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(c)) {
		all += c[k]
		parts = append(parts, fmt.Sprintf("%s %.2f", k, ms(c[k])/float64(n)))
	}
	return fmt.Sprintf("%.2f ms each (%s)", ms(all)/float64(n), strings.Join(parts, ", "))
}

// cpuNow reads what has been used since each process began.
func (b *bench) cpuNow() (cpu, error) {
	c := cpu{}
	own, err := used(os.Getpid())
	if err != nil {
		return nil, err
	}
	c["client"] = own
	for _, p := range b.net.Processes() {
		t, err := used(p.PID())
		if err != nil {
			return nil, fmt.Errorf("couldn't read the CPU time of %s: %w", p.Name, err)
		}
		kind, rest, _ := strings.Cut(p.Name, ".")
		switch {
		case kind == "chaincode":
			kind = rest[strings.LastIndexByte(rest, '.')+1:] + "'s chaincode"
		case rest == "venue":
			kind = "venue's peer"
		case kind == "peer":
			kind = "other peers"
		}
		c[kind] += t
	}
	return c, nil
}

func (b *bench) since(before cpu) cpu {
	now, err := b.cpuNow()
	if err != nil {
		return cpu{}
	}
	for k := range now {
		now[k] -= before[k]
	}
	return now
}

// tick is the unit of CPU times in /proc on Linux.
const tick = 10 * time.Millisecond

func used(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 13 {
		return 0, fmt.Errorf("process %d has no times", pid)
	}
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("process %d has no times", pid)
	}
	return time.Duration(user+system) * tick, nil
}
