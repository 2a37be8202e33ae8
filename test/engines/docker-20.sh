#!/usr/bin/env bash
# Debian 12's Docker Engine 20.10 (API 1.41) for tests: docker-20.sh start|stop|purge
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=engine.sh
. "$here/engine.sh"

start_engine() {
	need dockerd docker.io
	need containerd containerd
	local flags
	mapfile -t flags < <(dockerd_flags)
	launch dockerd "${flags[@]}"
}

main docker-20 "$@"
