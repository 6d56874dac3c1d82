#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Dirty pages are withheld on purpose: the oracle must see objects lost.  Only in
# builds with PML_TEST_HOOKS.  Run by CTest with the programs' folder.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lib/tap.sh
. "$here/../../../tests/lib/tap.sh"
oracle=$1/boehm-oracle

# The tests are called by name.
# shellcheck disable=SC2317
loses()
{
	local status=0

	env "$@" timeout 100 "$oracle" --need || status=$?
	[ "$status" -eq 1 ] || [ "$status" -eq 139 ]
}

# One page in eight is armed unread.  If the canary is one of them, which is a matter
# of where it was mapped, libpml-gc notices, takes all as dirty, and loses nothing.
# shellcheck disable=SC2317
loses_once()
{
	local i

	for ((i = 0; i < 8; i++)); do
		loses "$@" && return
	done
	return 1
}

"$oracle" --need --chains 10 --writes 10 --quiet ||
	tap_skip_all "no back-end of libpml works here"
tap_run "nothing withheld: no object is lost" "$oracle" --need
tap_run "libpml-gc withholds what libpml reports: objects are lost" \
	loses PML_GC_TEST_BREAK=withhold
tap_run "libpml arms what it has not read: objects are lost" \
	loses_once PML_TEST_BREAK=arm-early
tap_done
