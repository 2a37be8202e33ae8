#!/usr/bin/env bash
# Soaks ./sluice on SQLite and, where SLUICE_TEST_POSTGRES names a server, on
# PostgreSQL: test/soak/run.sh [TIME FOR EACH], such as 30s or 30m.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
time=${1:-30s}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
go build -o "$work/soak" ./test/soak
echo "soak on SQLite"
"$work/soak" -sluice ./sluice -time "$time"
if [ -n "${SLUICE_TEST_POSTGRES:-}" ]; then
	echo "soak on PostgreSQL"
	"$work/soak" -sluice ./sluice -time "$time" -postgres "$SLUICE_TEST_POSTGRES"
elif [ "${CI:-}" = true ]; then
	echo "SLUICE_TEST_POSTGRES is not set" >&2
	exit 1
else
	echo "SLUICE_TEST_POSTGRES is not set: not on PostgreSQL (test/engines/postgres.sh start prints it)"
fi
