#!/usr/bin/env bash
# A certified OpenID provider for tests (npm's oidc-provider), installed below
# ${SLUICE_TEST_CACHE:-~/.cache/sluice-test}/oidc: oidc.sh start|stop|purge. start
# prints SLUICE_TEST_OIDC=FOLDER; tests run provider.js there themselves.
here=$(dirname "$(readlink -f "$0")")
set -euo pipefail
folder=${SLUICE_TEST_CACHE:-$HOME/.cache/sluice-test}/oidc
case ${1:-} in
start)
	command -v npm >/dev/null || { echo "$0: npm is missing: apt-get install nodejs npm" >&2; exit 1; }
	mkdir -p "$folder"
	exec 9>"$folder/lock"
	flock 9
	if ! cmp -s "$here/../oidc/package-lock.json" "$folder/installed"; then
		cp "$here/../oidc/package.json" "$here/../oidc/package-lock.json" "$folder/"
		(cd "$folder" && npm ci --silent --no-audit --no-fund --ignore-scripts >&2)
		cp "$folder/package-lock.json" "$folder/installed"
	fi
	cp "$here/../oidc/provider.js" "$folder/provider.js.$$"
	mv "$folder/provider.js.$$" "$folder/provider.js"
	echo "SLUICE_TEST_OIDC=$folder"
	;;
stop) ;;
purge) rm -rf "$folder" ;;
*)
	echo "usage: $0 start|stop|purge" >&2
	exit 2
	;;
esac
