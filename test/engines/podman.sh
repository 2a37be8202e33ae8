#!/usr/bin/env bash
# Podman's Docker-compatible socket for tests: podman.sh start|stop|purge
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=engine.sh
. "$here/engine.sh"

# lower A B: the lower of two limits, as a soft and a hard one.
lower() {
	local limit=$1
	if [ "$2" != unlimited ] && [ "$2" -lt "$1" ]; then limit=$2; fi
	echo "$limit:$limit"
}

start_engine() {
	need podman podman
	need runc runc
	# runc, as crun refuses a hybrid cgroup tree; limits that a machine without
	# CAP_SYS_RESOURCE may still set (Podman lowers its own to pid_max first).
	local files=20000 processes=20000
	cat >"$state/containers.conf" <<-CONF
		[containers]
		default_ulimits = ["nofile=$(lower "$files" "$(ulimit -Hn)")", "nproc=$(lower "$processes" "$(ulimit -Hu)")"]
		[engine]
		runtime = "runc"
		cgroup_manager = "cgroupfs"
		events_logger = "file"
	CONF
	# The tests' own registries, which speak plain HTTP.
	cat >"$state/registries.conf" <<-CONF
		[[registry]]
		location = "127.0.0.1:5598"
		insecure = true
		[[registry]]
		location = "127.0.0.1:5599"
		insecure = true
	CONF
	export CONTAINERS_REGISTRIES_CONF=$state/registries.conf
	export CONTAINERS_CONF=$state/containers.conf
	launch podman --root "$state/data" --runroot "$state/run" --tmpdir "$state/tmp" system service --time 0 "unix://$socket"
}

main podman "$@"
