package compute

import (
	"runtime"
	"time"
)

// Limits bound one child. Zero fields take their default.
type Limits struct {
	Wall        time.Duration // from start to end; then it is killed with its group; default 60 s
	CPUSec      int64         // processor time of all its threads; default 60
	MemoryMB    int64         // default 2048
	ResultBytes int64         // of its answer; default 256 MiB
	Threads     int64         // default: one a processor, 4 at most
}

func (l Limits) complete() Limits {
	if l.Wall <= 0 {
		l.Wall = time.Minute
	}
	if l.CPUSec <= 0 {
		l.CPUSec = 60
	}
	if l.MemoryMB <= 0 {
		l.MemoryMB = 2048
	}
	if l.ResultBytes <= 0 {
		l.ResultBytes = 256 << 20
	}
	if l.Threads <= 0 {
		l.Threads = int64(min(4, runtime.NumCPU()))
	}
	return l
}
