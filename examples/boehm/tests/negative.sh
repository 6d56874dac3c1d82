#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Dirty pages are withheld on purpose: the oracle must see objects lost.  Only in
# builds with PML_TEST_HOOKS.  Run by CTest with the programs' folder.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lib/tap.sh
. "$here/../../../tests/lib/tap.sh"
# shellcheck source=examples/boehm/tests/loses.sh
. "$here/loses.sh"
oracle=$1/boehm-oracle

# One page in eight is armed unread.  If the canary is one of them, which is a matter
# of where it was mapped, libpml-gc notices, takes all as dirty, and loses nothing.
# Called by name.
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
	loses env PML_GC_TEST_BREAK=withhold timeout 100 "$oracle" --need
tap_run "libpml arms what it has not read: objects are lost" \
	loses_once env PML_TEST_BREAK=arm-early timeout 100 "$oracle" --need
tap_done
