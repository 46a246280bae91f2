//go:build !cgo || !(amd64 || arm64)

package compute

// builtEngine is chosen by the build: plain Go where there was no C compiler.
var builtEngine = engine(func(path string, p *program, _ engineLimits) (*exact, error) { return plainEngine(path, p) })

// EngineName tells which engine this program has.
const EngineName = "plain"
