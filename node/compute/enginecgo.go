//go:build cgo && (amd64 || arm64)

package compute

// builtEngine is chosen by the build: DuckDB where a C compiler was found.
var builtEngine = engine(duckEngine)

// EngineName tells which engine this program has.
const EngineName = "duckdb"
