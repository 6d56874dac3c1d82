#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The test of exactness is worth something only if it fails when the library is
# broken.  Run by CTest in the build that has the ways to break it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lib/tap.sh
. "$here/../lib/tap.sh"

# finds HOW: whether a run with the library broken in this way fails.
# Called by name.
# shellcheck disable=SC2317
finds()
{
	local out status=0

	out=$(ROUNDS=8 PML_TEST_BREAK=$1 python3 "$here/test_exact.py") || status=$?
	[ "$status" -eq 77 ] && return 77
	[ "$status" -eq 1 ] && grep -q '^not ok' <<<"$out"
}

status=0
finds no-such-way || status=$?
[ "$status" -ne 77 ] || tap_skip_all "no back-end here tracks other processes"
tap_ok $((status == 0)) "with nothing broken it finds nothing"
tap_run "it fails when pages are not armed again" finds no-rearm
tap_done
