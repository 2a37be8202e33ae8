#!/usr/bin/env bash
# Debian's PostgreSQL for tests, on a unix socket and a port of loopback:
# postgres.sh start|stop|purge. start prints SLUICE_TEST_POSTGRES=postgres://...
# Its data lie below ${SLUICE_TEST_ENGINES:-/tmp/sluice-engines}/postgres; nothing is installed.
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=engine.sh
. "$here/engine.sh"

# PostgreSQL refuses to be root, so it is the user that Debian's package makes.
as_postgres() { setpriv --reuid=postgres --regid=postgres --clear-groups -- "$@"; }

find_postgres() {
	need setpriv util-linux
	bin=$(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1)
	if [ -z "$bin" ] || ! id postgres >/dev/null 2>&1; then die "PostgreSQL is missing: apt-get install postgresql"; fi
	data=$state/data
}

answers() { as_postgres "$bin/pg_isready" -q -h "$data" -p "$(cat "$state/port" 2>/dev/null || echo 1)"; }

announce() { echo "SLUICE_TEST_POSTGRES=postgres://postgres@127.0.0.1:$(cat "$state/port")/postgres?sslmode=disable"; }

# free_port: one that nobody listens on; the next start may have another.
free_port() {
	local port
	for port in $(seq 5640 5699); do
		if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
			echo "$port"
			return
		fi
	done
	die "no port between 5640 and 5699 is free"
}

start_engine() {
	find_postgres
	if running && answers; then
		announce
		return
	fi
	if [ ! -f "$data/PG_VERSION" ]; then
		rm -rf "$data"
		install -d -m 0700 -o postgres -g postgres "$data"
		# Another order of letters than bytes have, as most installations; and no password on loopback.
		(cd / && as_postgres "$bin/initdb" -D "$data" --auth=trust --encoding=UTF8 --locale-provider=icu --icu-locale=en-US --locale=C.UTF-8 >&2)
	fi
	free_port >"$state/port"
	cd /
	launch setpriv --reuid=postgres --regid=postgres --clear-groups -- "$bin/postgres" -D "$data" \
		-k "$data" -h 127.0.0.1 -p "$(cat "$state/port")" -c max_connections=200 -c shared_buffers=64MB
}

end_signal=INT   # fast shutdown: what is connected is cut off
state_mode=0711 # its user must reach the data, which only it can read

main postgres "$@"
