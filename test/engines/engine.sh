# shellcheck shell=bash
# What the engine scripts share: where state lives, how a daemon is started,
# found again and ended. Sourced, not run.
set -euo pipefail

# A short path, as a unix socket's may have 107 bytes only.
engine_root=${SLUICE_TEST_ENGINES:-/tmp/sluice-engines}

die() {
	echo "$0: $*" >&2
	exit 1
}

# need COMMAND PACKAGE...: says what to install when a command is missing.
need() {
	local command=$1
	shift
	command -v "$command" >/dev/null || die "$command is missing: apt-get install $*"
}

# engine_init NAME: sets the engine's paths and takes its lock, so that two
# starts at once make one engine.
engine_init() {
	[ "$(id -u)" = 0 ] || die "the engine needs root"
	need curl curl
	need flock util-linux
	engine=$1
	state=$engine_root/$engine
	socket=$state/engine.sock
	log=$state/engine.log
	mkdir -p "$state"
	chmod a+x "$engine_root" # daemons that refuse to be root must reach their own folder
	chmod "${state_mode:-0700}" "$state"
	exec 9>"$state/lock"
	flock 9
}

answers() { [ "$(curl -fsS --max-time 5 --unix-socket "$socket" http://engine/_ping 2>/dev/null)" = OK ]; }

# running: the process of the pid file is alive and is the one that we started.
running() {
	local pid started
	[ -f "$state/pid" ] && read -r pid started <"$state/pid" || return 1
	[ "$(start_time "$pid")" = "$started" ]
}

# start_time PID: field 22 of its stat, which a reused pid does not share.
start_time() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

# launch COMMAND...: starts the daemon apart from this terminal and waits until it answers.
launch() {
	if running && answers; then
		announce
		return
	fi
	end
	rm -f "$socket"
	cd "$state" # what a daemon leaves where it stands (conmon an empty "oom") is not for the tree
	setsid nohup "$@" </dev/null >>"$log" 2>&1 9>&- &
	echo "$! $(start_time $!)" >"$state/pid"
	for _ in $(seq 300); do
		if answers; then
			announce
			return
		fi
		running || { tail -n 20 "$log" >&2; die "$engine ended while starting; its log is $log"; }
		sleep 0.1
	done
	tail -n 20 "$log" >&2
	die "$engine does not answer after 30 s; its log is $log"
}

announce() { echo "DOCKER_HOST=unix://$socket"; }

# end: stops the daemon that we started, and lets go of what it left mounted.
end() {
	if running; then
		local pid
		read -r pid _ <"$state/pid"
		kill -s "${end_signal:-TERM}" "$pid" 2>/dev/null || true
		for _ in $(seq 200); do
			running || break
			sleep 0.1
		done
		if running; then kill -9 "$pid"; fi
	fi
	rm -f "$state/pid"
	local mount
	cut -d' ' -f5 /proc/self/mountinfo | grep "^$state/" | sort -r | while read -r mount; do
		umount -l "$mount" 2>/dev/null || true
	done || true
}

# main NAME COMMAND: start_engine is the script's own; it calls launch.
main() {
	case ${2:-} in
	start)
		engine_init "$1"
		start_engine
		;;
	stop)
		engine_init "$1"
		end
		;;
	purge)
		engine_init "$1"
		end
		rm -rf "${state:?}"
		;;
	*)
		echo "usage: $0 start|stop|purge" >&2
		echo "start prints DOCKER_HOST=...; stop keeps the images; purge does not" >&2
		exit 2
		;;
	esac
}

# dockerd_flags: no bridge and no firewall rules, so that it starts on a bare
# machine; containers have --network host or none.
dockerd_flags() {
	printf '%s\n' --host "unix://$socket" --data-root "$state/data" --exec-root "$state/exec" \
		--pidfile "$state/daemon.pid" --iptables=false --ip6tables=false --bridge=none
}
