#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A real Redis under load, watched from outside.  From a clean clone on a fresh
# Debian 12, as root; installs what is missing, builds, starts Debian's
# redis-server on a port and in a folder of its own, tracks it through a few
# kinds of load, and draws which pages were written over address and time.
# Whatever it started it stops.  Pictures and data go to build/demo.
#
# Then, in a guest with Linux 6.12, the PML device and pml.ko, another Redis, tracked
# by the device's log, by page tables and by the kernel's own methods, events counted
# side by side.  Where a guest cannot be had this part is left out, with the reason.
set -euo pipefail
# shellcheck source=scripts/lib/common.sh
. "$(dirname "$0")/lib/common.sh"
cd "$PML_ROOT"

readonly OUT=$PML_ROOT/build/demo
readonly PML=$PML_ROOT/build/release/tools/pml/pml
readonly INTERVAL=0.25
readonly PHASE_S=5
readonly KEYS=200000
readonly VALUE=256
readonly GUEST_S=140	# at most so long for the guest

redis_pid=
load_pid=
guest_pid=	# what prepares the guest, with its own process group
scratch=

stop_all()
{
	local pid

	for pid in $load_pid $redis_pid; do
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	[ -z "$guest_pid" ] || kill -- "-$guest_pid" 2>/dev/null || true
	[ -z "$scratch" ] || rm -rf "$scratch"
}
trap stop_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say()
{
	printf '\n[%3d s] %s\n' "$SECONDS" "$*"
}

prepare()
{
	local wanted new_redis

	new_redis=$(pml_missing redis-server)
	mkdir -p "$OUT"
	rm -f "$OUT"/*
	scratch=$(mktemp -d)
	say "installing what is missing, and building (log: build/demo/build.log)"
	mapfile -t wanted < <(pml_packages build demo)
	{
		pml_install "${wanted[@]}"
		pml_build release pml-command
	} >"$OUT/build.log" 2>&1 || {
		tail -n 20 "$OUT/build.log" >&2
		pml_die "demo" "the set-up or the build failed" "see build/demo/build.log"
	}
	# Its package starts a server of the system's: that is not wanted here.
	if [ -n "$new_redis" ] && systemctl -q is-active redis-server 2>/dev/null; then
		systemctl stop redis-server
	fi
}

# Tries ports until one is free: whoever listens there already is left alone.
start_redis()
{
	local try

	for try in $(seq 1 20); do
		port=$((20000 + (RANDOM + try) % 10000))
		redis-server --bind 127.0.0.1 --port "$port" --save '' --appendonly no \
			--dir "$scratch" --daemonize no >"$OUT/redis.log" 2>&1 &
		redis_pid=$!
		for _ in $(seq 1 50); do
			kill -0 "$redis_pid" 2>/dev/null || break
			if [ "$(redis_pid_at_port)" = "$redis_pid" ]; then
				return 0
			fi
			sleep 0.1
		done
		kill "$redis_pid" 2>/dev/null || true
		wait "$redis_pid" 2>/dev/null || true
		redis_pid=
	done
	tail -n 5 "$OUT/redis.log" >&2
	pml_die "demo" "redis-server did not start" "see build/demo/redis.log"
}

redis_pid_at_port()
{
	redis-cli -h 127.0.0.1 -p "$port" info server 2>/dev/null |
		sed -n 's/^process_id:\([0-9]*\).*/\1/p'
}

now()
{
	python3 -c 'import time; print(time.monotonic())'
}

# phase NAME ARG...: redis-benchmark with ARG for PHASE_S seconds.
phase()
{
	local name=$1

	shift
	printf '%s %s\n' "$(now)" "$name" >>"$OUT/phases"
	timeout "$PHASE_S" redis-benchmark -h 127.0.0.1 -p "$port" -c 8 -n 100000000 -d "$VALUE" \
		"$@" >>"$OUT/load.log" 2>&1 || true
}

load()
{
	phase "SET, new keys" -t set -r "$KEYS"
	phase "GET, all keys" -t get -r "$KEYS"
	phase "SET, 1 key in 100" -t set -r $((KEYS / 100))
	phase "SET, all keys" -t set -r "$KEYS"
	printf '%s idle\n' "$(now)" >>"$OUT/phases"
	sleep 2
}

track()
{
	local epochs

	epochs=$(awk -v p="$PHASE_S" -v i="$INTERVAL" 'BEGIN { print int((4 * p + 2) / i) }')
	load &
	load_pid=$!
	"$PML" dirty -p "$redis_pid" -i "$INTERVAL" -n "$epochs" --ranges --by-mapping --json \
		-o "$OUT/dirty.jsonl"
	wait "$load_pid" || true
	load_pid=
}

check_redis()
{
	[ "$(redis_pid_at_port)" = "$redis_pid" ] ||
		pml_die "demo" "Redis does not answer any more" "see build/demo/redis.log"
	printf 'Redis answers, with %s keys.\n' \
		"$(redis-cli -h 127.0.0.1 -p "$port" dbsize | tr -dc 0-9)"
}

# What the guest needs that the first part does not.  Its root file system and its
# kernel are kept: building them is said by the scripts that do so.
guest_needs()
{
	pml_build release pml-qemu pml-device-api1 pml-device-api3 pml-keep-callbacks &&
		tests/vm/run --kernel 6.12 --device --build build/release --prepare
}

# Beside the first part: the network is what it waits for.
prepare_guest()
{
	set -m
	guest_needs >>"$OUT/guest.log" 2>&1 </dev/null &
	guest_pid=$!
	set +m
}

guest_is_ready()
{
	local status=0

	say "a guest with the PML device (log: build/demo/guest.log); the first time its Debian is"
	echo "        fetched and unpacked, which takes a minute or two, and is kept"
	wait "$guest_pid" || status=$?
	guest_pid=
	return "$status"
}

in_guest()
{
	tests/kmod/guest --kernel 6.12 --device --timeout "$GUEST_S" build/release run \
		scripts/demo-guest "build/release/tools/pml/pml" 2>>"$OUT/guest.log" |
		tee "$OUT/guest.txt"
}

# Never a reason to fail: the first part has shown what there is to show.
guest_part()
{
	local status=0

	guest_is_ready || status=$?
	if [ "$status" -eq 0 ]; then
		say "the same methods side by side, in a guest"
		in_guest || status=$?
	fi
	[ "$status" -ne 0 ] || return 0
	printf 'The guest part was left out or cut short: %s; see build/demo/guest.log\n' \
		"$(grep -v '^ *$' "$OUT/guest.log" | tail -n 1)"
}

prepare
prepare_guest
say "what this machine can do: pml info"
"$PML" info
start_redis
say "tracking redis-server, process $redis_pid: pml dirty -p $redis_pid -i $INTERVAL --ranges --json"
track
check_redis
say "drawing"
scripts/plot-dirty --title "redis-server under redis-benchmark: pages written" \
	--phases "$OUT/phases" "$OUT/dirty.jsonl" "$OUT/dirty.png" "$OUT/dirty.svg"
guest_part
say "done"
printf 'Picture: %s\nThe same: %s\nData:    %s\n' "$OUT/dirty.png" "$OUT/dirty.svg" \
	"$OUT/dirty.jsonl"
