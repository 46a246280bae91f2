//go:build cgo && (amd64 || arm64)

package compute

import _ "github.com/duckdb/duckdb-go/v2" // what the benchmark measures against
