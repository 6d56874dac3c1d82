#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# With GC_set_dirty_provider() patched into libgc, libpml-gc is its provider and no
# object is lost.  Run by CTest and by tests/long/boehm.
#   patched.sh PROGRAMS RUNS
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lib/tap.sh
. "$here/../../../tests/lib/tap.sh"
# shellcheck source=examples/boehm/tests/many.sh
. "$here/many.sh"
# shellcheck source=examples/boehm/tests/loses.sh
. "$here/loses.sh"
oracle=$1/boehm-oracle

# The test is called by name.
# shellcheck disable=SC2317
is_provider()
{
	PML_GC_STATS=- "$oracle" --need --quiet --writes 10 2>&1 |
		grep -x "provider 1"
}

"$oracle" --need --chains 10 --writes 10 --quiet ||
	tap_skip_all "no back-end of libpml works here"
status=0
patched=$("$here/../bdwgc/get" patched) || status=$?
[ "$status" -ne 77 ] || tap_skip_all "no source of libgc can be had here"
[ "$status" -eq 0 ] || exit 1
tap_note "patched: $("$here/../bdwgc/which" "$patched")"
export LD_LIBRARY_PATH=$patched
tap_run "libpml-gc is the provider" is_provider
tap_run "patched: $2 runs lose no object" many "$oracle" "$2" wp-async
tap_run "patched: objects are lost if what was written is kept back" loses \
	timeout 300 "$oracle-silent" --need --writes 100000
tap_run "patched: all descriptors closed, others in their place" "$oracle" --close-all
tap_run "patched: another event hook is set later" "$oracle" --replace
tap_done
