#!/usr/bin/env bash
# The newest Docker Engine that can be built here (API 1.56) for tests:
# docker-new.sh start|stop|purge|build. It is built once, with Go, into
# ${SLUICE_TEST_CACHE:-~/.cache/sluice-test}/engine-<versions> (four minutes on two cores).
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=engine.sh
. "$here/engine.sh"

moby=v2.0.0-beta.24
runc=v1.5.2 # Debian's 1.1.5 does not know the "time" namespace that this engine asks for
bin=${SLUICE_TEST_CACHE:-$HOME/.cache/sluice-test}/engine-$moby-$runc

build_engine() {
	if [ -x "$bin/dockerd" ] && [ -x "$bin/runc" ]; then return; fi
	need go golang
	need gcc gcc libc6-dev
	mkdir -p "$bin"
	local part
	part=$(mktemp -d --suffix=.part -p "$bin")
	(
		cd / # outside of any module
		GOFLAGS='' GOBIN=$part CGO_ENABLED=0 go install -trimpath -ldflags '-s -w' "github.com/moby/moby/v2/cmd/dockerd@$moby"
		# libseccomp is not asked of the machine; so runc is built without it (see --seccomp-profile below).
		GOFLAGS='' GOBIN=$part CGO_ENABLED=1 go install -trimpath -ldflags '-s -w' "github.com/opencontainers/runc@$runc"
	) >&2
	mv "$part/dockerd" "$part/runc" "$bin/"
	rmdir "$part"
}

start_engine() {
	need containerd containerd
	if running && answers; then
		announce
		return
	fi
	build_engine
	local flags
	mapfile -t flags < <(dockerd_flags)
	PATH=$bin:$PATH launch "$bin/dockerd" "${flags[@]}" --seccomp-profile unconfined
}

if [ "${1:-}" = build ]; then
	build_engine
	echo "$bin"
	exit
fi
main docker-new "$@"
