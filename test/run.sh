#!/usr/bin/env bash
# Every test with the race detector: test/run.sh [PACKAGE...]
# Ends with the skipped tests and why, and a line "N passed, N failed, N skipped".
# With CI=true a skip that test/allowed-skips does not name is a failure.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/.." || exit 2

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
CGO_ENABLED=0 go build -o "$work/summary" ./test/summary || exit 2

strict=()
if [ "${CI:-}" = true ]; then strict=(-strict); fi
if [ $# = 0 ]; then set -- ./...; fi

# Two packages at a time: some of them start engines, sandboxes and builds of their own.
# What the go command says aside from its events goes to standard error.
CGO_ENABLED=1 go test -race -json -p "${SLUICE_TEST_PACKAGES:-2}" -timeout "${SLUICE_TEST_TIMEOUT:-60m}" "$@" </dev/null |
	"$work/summary" -allow test/allowed-skips "${strict[@]}"
status=("${PIPESTATUS[@]}")
if [ "${status[1]}" != 0 ]; then exit "${status[1]}"; fi
exit "${status[0]}"
