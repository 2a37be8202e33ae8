#!/usr/bin/env bash
# All engines that tests use, and the prepackaged environments in Docker 20.10:
# all.sh start|stop|purge. start prints what to put into the environment for
# `make test`; it wants ./sluice (make build) and takes a while the first time.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")

# host_of ENGINE: starts it and gives its address.
host_of() { "$here/$1.sh" start | sed -n 's/^DOCKER_HOST=//p'; }

case ${1:-} in
start)
	docker_20=$(host_of docker-20)
	docker_new=$(host_of docker-new)
	podman=$(host_of podman)
	postgres=$("$here/postgres.sh" start)
	oidc=$("$here/oidc.sh" start)
	DOCKER_HOST=$docker_20 "$here/../../sluice" env build >&2
	printf 'export %s=%s\n' SLUICE_TEST_DOCKER_20 "$docker_20" SLUICE_TEST_DOCKER_NEW "$docker_new" SLUICE_TEST_PODMAN "$podman" \
		SLUICE_TEST_POSTGRES "${postgres#*=}" SLUICE_TEST_OIDC "${oidc#*=}"
	;;
stop | purge)
	for engine in postgres podman docker-new docker-20; do "$here/$engine.sh" "$1"; done
	;;
*)
	echo "usage: $0 start|stop|purge" >&2
	exit 2
	;;
esac
