#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Memory stressors that verify what they wrote, while they and their children
# are tracked: they must find nothing wrong.
# Run by CTest for a few seconds and by tests/long/stress-ng.
#   stress-ng.sh PML [SECONDS-EACH]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lib/tap.sh
. "$here/../lib/tap.sh"

readonly PML=$1 SECONDS_EACH=${2:-2}
command -v stress-ng >/dev/null || tap_skip_all "there is no stress-ng"
"$PML" info --json | jq -e 'any(.backends[]; .available and .external)' >/dev/null ||
	tap_skip_all "no back-end can track another process here"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# stressor NAME ARG...: two of them, verifying, tracked all the while.
stressor()
{
	local name=$1 status=0

	shift
	if ! stress-ng --"$name" 1 --"$name"-ops 1 -t 1 "$@" >/dev/null 2>&1; then
		tap_skip "this stress-ng, or this kernel, has no such stressor" "stress-ng --$name under tracking"
		return
	fi
	"$PML" dirty -i 0.05 --json -o "$dir/epochs" -- \
		stress-ng --"$name" 2 "$@" --verify -t "$SECONDS_EACH" \
		>"$dir/out" 2>&1 || status=$?
	if grep -qE 'stress-ng: (fail|error)' "$dir/out"; then
		status=1
	fi
	tap_ok "$status" "stress-ng --$name --verify under tracking"
	[ "$status" -eq 0 ] || tap_note "$(tail -n 15 "$dir/out")"
	tap_note "$(jq -s -r '[.[] | select(.type == "epoch")] |
		"\(length) epochs, \(map(.pages) | add) pages, at most \(map(.processes) | max) processes"' \
		"$dir/epochs")"
}

stressor vm --vm-bytes 32M --vm-method all
stressor mmap --mmap-bytes 32M
stressor mremap --mremap-bytes 16M
stressor vm-rw --vm-rw-bytes 16M
stressor brk --brk-notouch
stressor bigheap --bigheap-growth 64K
stressor shm --shm-bytes 8M
stressor memfd --memfd-bytes 16M
stressor madvise
tap_done
