#!/usr/bin/env bash
# Podman's Docker-compatible socket for tests: podman.sh start|stop|purge
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=engine.sh
. "$here/engine.sh"

start_engine() {
	need podman podman
	need runc runc
	# runc, as crun refuses a hybrid cgroup tree; limits within what a container
	# in a virtual machine may raise; no systemd needed.
	cat >"$state/containers.conf" <<-CONF
		[containers]
		default_ulimits = ["nofile=$(ulimit -Hn | sed 's/unlimited/1048576/'):$(ulimit -Hn | sed 's/unlimited/1048576/')", "nproc=$(ulimit -Hu | sed 's/unlimited/-1/'):$(ulimit -Hu | sed 's/unlimited/-1/')"]
		[engine]
		runtime = "runc"
		cgroup_manager = "cgroupfs"
		events_logger = "file"
	CONF
	export CONTAINERS_CONF=$state/containers.conf
	launch podman --root "$state/data" --runroot "$state/run" --tmpdir "$state/tmp" system service --time 0 "unix://$socket"
}

main podman "$@"
