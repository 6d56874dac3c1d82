#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A real Redis under load, tracked from outside: no client may see an error, and
# every key must hold afterwards what was written last.  The throughput with and
# without tracking is printed side by side; nothing is asserted of it.
# Run by CTest for a few seconds and by tests/long/redis for a minute.
#   redis.sh PML [SECONDS]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lib/tap.sh
. "$here/../lib/tap.sh"

readonly PML=$1 SECONDS_EACH=${2:-4} KEYS=${KEYS:-50000}
for program in redis-server redis-cli redis-benchmark; do
	command -v "$program" >/dev/null || tap_skip_all "there is no $program"
done
"$PML" info --json | jq -e 'any(.backends[]; .available and .external)' >/dev/null ||
	tap_skip_all "no back-end can track another process here"

dir=$(mktemp -d)
server=
tracker=
# shellcheck disable=SC2317 # called by the trap
cleanup()
{
	[ -z "$tracker" ] || kill "$tracker" 2>/dev/null || true
	[ -z "$server" ] || kill "$server" 2>/dev/null || true
	wait 2>/dev/null || true
	rm -rf "$dir"
}
trap cleanup EXIT

# A socket in a folder of our own: no port, nobody else's server.
redis-server --port 0 --unixsocket "$dir/s" --save '' --appendonly no \
	--dir "$dir" >"$dir/server.log" 2>&1 &
server=$!
cli() { redis-cli -s "$dir/s" "$@"; }
for _ in $(seq 200); do
	cli ping >/dev/null 2>&1 && break
	sleep 0.05
done
cli ping >/dev/null || tap_skip_all "redis-server does not start: $(tail -n 1 "$dir/server.log")"

# write_keys ROUND: every key gets a value that tells the round.
write_keys()
{
	awk -v r="$1" -v n="$KEYS" 'BEGIN { for (i = 0; i < n; i++) printf "SET own:%d round-%d-%d-%080d\n", i, r, i, i }' |
		cli --pipe | grep -E 'errors:' || true
}

# check_keys ROUND: how many keys do not hold what that round wrote.
check_keys()
{
	awk -v n="$KEYS" 'BEGIN { for (i = 0; i < n; i++) print "GET own:" i }' | cli |
		awk -v r="$1" -v n="$KEYS" '
			$0 != sprintf("round-%d-%d-%080d", r, NR - 1, NR - 1) { bad++ }
			END { print bad + (NR == n ? 0 : n) }'
}

# load SECONDS: clients at full speed; requests per second, and their errors.
load()
{
	local end=$((SECONDS + $1)) n=0 began round=$((10 * $2)) now

	began=$(date +%s%N)
	while [ "$SECONDS" -lt "$end" ]; do
		redis-benchmark -s "$dir/s" -q -n 20000 -c 20 -P 4 -r 100000 -t set,incr,lpush \
			>>"$dir/bench.log" 2>&1 || echo "error: redis-benchmark" >>"$dir/errors"
		n=$((n + 60000))
		round=$((round + 1))
		write_keys "$round" | grep -v 'errors: 0' >>"$dir/errors" || true
		cli ltrim mylist 0 1000 >/dev/null
	done
	now=$(date +%s%N)
	echo "$round" >"$dir/round"
	awk -v n="$n" -v t="$((now - began))" 'BEGIN { printf "%.0f\n", n * 1e9 / t }' >"$dir/rate.$2"
}

: >"$dir/errors"
load "$SECONDS_EACH" 1
"$PML" dirty -p "$server" -i 0.1 --json >"$dir/epochs" 2>"$dir/tracker.log" &
tracker=$!
for _ in $(seq 200); do
	[ -s "$dir/epochs" ] && break
	sleep 0.05
done
load "$SECONDS_EACH" 2
status=0
kill -INT "$tracker"
wait "$tracker" || status=$?
tracker=
tap_ok "$status" "pml dirty ends cleanly after tracking Redis"
[ "$status" -eq 0 ] || tap_note "$(cat "$dir/tracker.log")"
grep -iE 'error|refused|closed' "$dir/bench.log" >>"$dir/errors" || true
tap_ok "$([ -s "$dir/errors" ] && echo 1 || echo 0)" "no client saw an error"
[ ! -s "$dir/errors" ] || tap_note "$(head -n 5 "$dir/errors")"
bad=$(check_keys "$(cat "$dir/round")")
tap_ok "$([ "$bad" -eq 0 ] && echo 0 || echo 1)" \
	"all $KEYS keys hold what was written last ($bad do not)"
jq -s -e 'length > 2 and all(.[] | select(.type == "epoch"); .lost | not)' "$dir/epochs" >/dev/null &&
	status=0 || status=1
tap_ok "$status" "every epoch was tracked, none lost"
tap_ok "$(kill -0 "$server" && echo 0 || echo 1)" "the server lives on"
load "$SECONDS_EACH" 3
tap_note "requests a second: before $(cat "$dir/rate.1"), tracked $(cat "$dir/rate.2"), after $(cat "$dir/rate.3");" \
	"$(jq -s '[.[] | select(.type == "epoch")] | "\(length) epochs, median \(map(.pages) | sort | .[length / 2 | floor]) pages, median collect \(map(.cost.collect_s) | sort | .[length / 2 | floor] * 1e6 | floor) us"' "$dir/epochs")"
tap_done
