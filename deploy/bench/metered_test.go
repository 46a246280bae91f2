package main

import "testing"

func TestMedians(t *testing.T) {
	bare, with, err := medians([]byte("pkg: x\nBenchmarkBareCall-2      \t 1\t 3574292 ns/op\t 280.2 calls/s\t 40.0 cpu-µs/call\n" +
		"BenchmarkBareCall-2 1 3 ns/op 60 cpu-µs/call\nBenchmarkBareCall-2 1 3 ns/op 50.5 cpu-µs/call\n" +
		"BenchmarkMeteredCall-2 \t 1\t 8865754 ns/op\t 0.04 calls/group\t 112.9 calls/s\t 1622 cpu-µs/call\nPASS\n"))
	if err != nil || bare != 50.5 || with != 1622 {
		t.Errorf("got %v, %v, %v", bare, with, err)
	}
	if _, _, err := medians([]byte("BenchmarkBareCall-2 1 3 ns/op 60 cpu-µs/call\n")); err == nil {
		t.Error("half of a comparison is no comparison")
	}
}
