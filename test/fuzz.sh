#!/usr/bin/env bash
# Each fuzzer of the tree for a while: test/fuzz.sh [TIME], such as 5s or 10m.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/.." || exit 2
time=${1:-5s}
failed=() count=0

# only_late OUTPUT: the time ended while a worker was at an input, which the go
# command sometimes calls a failure. A real one leaves its input.
only_late() {
	grep -qx ' *context deadline exceeded' <<<"$1" && ! grep -q 'Failing input\|panic:\|_test\.go:' <<<"$1"
}

while read -r package; do
	while read -r fuzzer; do
		count=$((count + 1))
		if ! out=$(go test -run '^$' -fuzz "^$fuzzer\$" -fuzztime "$time" "$package" </dev/null 2>&1) && ! only_late "$out"; then
			failed+=("$package $fuzzer")
			printf '%s\n' "$out"
		else
			printf 'ok  \t%s %s\t%s\n' "$package" "$fuzzer" "$(printf '%s\n' "$out" | sed -n 's/^fuzz: elapsed.*execs: \([0-9]*\).*/\1 inputs/p' | tail -n 1)"
		fi
	done < <(go test -list '^Fuzz' "$package" </dev/null | grep '^Fuzz')
done < <(git grep -l 'func Fuzz' -- '*_test.go' | xargs -n 1 dirname | sort -u | sed 's:^:./:')
if [ "$count" = 0 ]; then
	echo "no fuzzer was found" >&2
	exit 1
fi
if [ ${#failed[@]} -gt 0 ]; then
	printf 'failed: %s\n' "${failed[@]}"
	exit 1
fi
echo "$count fuzzers, $time each: no failure"
