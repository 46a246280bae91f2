module github.com/bund-exchange/bund/bench/peers

go 1.24.11

require github.com/optable/match v1.4.0

require (
	github.com/alecthomas/unsafeslice v0.1.0 // indirect
	github.com/bwesterb/go-ristretto v1.2.0 // indirect
	github.com/dgryski/go-metro v0.0.0-20211015221634-2661b20a2446 // indirect
	github.com/go-logr/logr v1.2.0 // indirect
	github.com/gtank/ristretto255 v0.1.2 // indirect
	github.com/twmb/murmur3 v1.1.6 // indirect
	github.com/zeebo/blake3 v0.2.0 // indirect
	golang.org/x/sync v0.0.0-20210220032951-036812b2e83c // indirect
	golang.org/x/sys v0.19.0 // indirect
)
