#!/usr/bin/env bash
# Measures the budgets: test/bench/run.sh [FLAGS OF test/bench]. The rows about
# containers want an engine: SLUICE_TEST_DOCKER_20 (a DOCKER_HOST) and
# SLUICE_BENCH_IMAGE (an image it has); test/engines/all.sh start gives the first.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
for tool in zip zstd; do
	command -v "$tool" >/dev/null || {
		echo "bench: $tool is the floor of one measurement and is not installed" >&2
		exit 1
	}
done
exec go run ./test/bench -sluice ./sluice "$@"
