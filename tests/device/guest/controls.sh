#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Negative controls in a guest: with the device broken on purpose, one way at a
# time, the guest's program must say "not ok" to the truth that it breaks.
# Needs a build with PML_TEST_HOOKS.
#   controls.sh BUILD-DIR KERNEL
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lib/tap.sh
. "$here/../../lib/tap.sh"

build=$1 kernel=$2
out='' status=0

# broken FAULT ARG...: FAULT is PML_FAULT_* of device/model.h.
broken()
{
	status=0
	out=$(PML_DEVICE_OPTIONS=user=on,faults=$1 "$here/../../vm/run" --kernel "$kernel" --smp 2 \
		--device --cx16 --build "$build" -- "$build/tests/device/guest/device-guest" "${@:2}" 2>&1) ||
		status=$?
}

# caught NAME TRUTH: of what ran last, a truth with these words has failed.
caught()
{
	if [ "$status" -eq 77 ]; then
		tap_skip "${out##*$'\n'}" "$1"
	elif [ "$status" -eq 1 ] && grep -q "^not ok .*$2" <<<"$out"; then
		tap_ok 0 "$1 is caught: $(grep -c '^not ok' <<<"$out") tests fail"
	else
		tap_ok 1 "$1 is caught (exit status $status)"
		tap_note "$(tail -n 5 <<<"$out")"
	fi
}

broken 1 order
caught "a log's index published before the entry" "the log's index was ahead"
caught "a ring's index published before the entry" "the ring's index was ahead"
broken 2
caught "a log that is emptied but not drained" "full logs of 16 entries were drained"
broken 4 epochs 4
caught "a re-arm that is dropped" "each page written exactly once"
broken 8
caught "what the published code does on a full log" "full logs of 16 entries were drained"
broken 16 epochs 4
caught "a short cut that outlives a re-arm" "each page written exactly once"
status=0
out=$(PML_DEVICE_OPTIONS=faults=4 "$here/host-frames.sh" "$build" "$kernel" 2 3 2>&1) || status=$?
caught "a host's re-arm that is dropped" "frames changed, .* [1-9][0-9]* missed"
tap_done
