#!/usr/bin/env bash
# All that CI runs, cheap things first. Each step prints its name and how long it took.
set -euo pipefail
cd "$(dirname "$0")/../.."

step() {
	local name=$1 begin=$SECONDS
	shift
	printf '== %s\n' "$name"
	"$@" || { printf '== %s FAILED after %d s\n' "$name" $((SECONDS - begin)); exit 1; }
	printf '== %s: %d s\n' "$name" $((SECONDS - begin))
}

formatted() {
	local bad
	bad=$(gofmt -l $(git ls-files -- '*.go'))
	[ -z "$bad" ] || { printf 'not formatted:\n%s\n' "$bad"; return 1; }
}

generated() {
	go generate ./...
	git diff --exit-code --stat -- '*.gen.go' docs/reference || { echo 'generated files are stale: run make generate and commit'; return 1; }
}

step 'postgres' deploy/dev/postgres.sh
step 'format' formatted
step 'vet' go vet ./...
step 'staticcheck' go tool -modfile=tools/go.mod staticcheck ./...
step 'generated files' generated
step 'tests' go test ./...
step 'tests under the race detector' go test -race ./contracts/... ./ledger/... ./node/... ./privacy/...
step 'arm64' deploy/dev/arm64.sh
step 'smoke: a whole trade' make --no-print-directory smoke
step 'private: use without handing over' make --no-print-directory private
step 'fabric: its programs' make --no-print-directory fabric-build
step 'fabric: rules, ledger and network' env BUND_FABRIC="$PWD/bin" go test -count=1 -p 1 -parallel 6 -timeout 30m ./ledger/fabric/... ./deploy/fabric/...
step 'fabric: two markets on one network' env BUND_FABRIC="$PWD/bin" go test -count=1 -run OnANetwork ./server/marketd
step 'fabric: a whole trade' make --no-print-directory fabric-smoke
step 'smoke against mutants' env BUND_MUTANTS=1 go test -count=1 -timeout 40m -run TestMutants ./deploy/smoke
