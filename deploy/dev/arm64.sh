#!/usr/bin/env bash
# Everything builds for arm64, and the protocols' tests run there under qemu-user where it can be installed: their
# portable paths are what an arm64 node would run.
set -euo pipefail
cd "$(dirname "$0")/../.."
export GOARCH=arm64 CGO_ENABLED=0
go build ./...
have() { command -v qemu-aarch64 >/dev/null || command -v qemu-aarch64-static >/dev/null; }
if ! have && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
	echo 'installing qemu-user'
	{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq qemu-user; } >/dev/null 2>&1 || true
fi
have || { echo 'built for arm64; no qemu-user here: the protocol tests did not run on it'; exit 0; }
qemu=$(command -v qemu-aarch64 || command -v qemu-aarch64-static)
go test -short -exec "$qemu" ./contracts/canon ./privacy/...
