#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The collector with libpml's dirty pages loses no object, on any back-end that is
# here; with its hooks taken away it does.  Run by CTest, by tests/long/boehm, and
# in guests.
#   oracle.sh PROGRAMS RUNS [BACKEND]...
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lib/tap.sh
. "$here/../../../tests/lib/tap.sh"
oracle=$1/boehm-oracle
runs=$2
shift 2
[ $# -gt 0 ] || set -- wp-async soft-dirty uffd-sync hash ptscan epml spml

# shellcheck source=examples/boehm/tests/many.sh
. "$here/many.sh"
# shellcheck source=examples/boehm/tests/loses.sh
. "$here/loses.sh"

for backend; do
	status=0
	words=$(env PML_BACKEND="$backend" "$oracle" --need --chains 10 --writes 10 2>/dev/null) ||
		status=$?
	if [ "$status" -eq 77 ]; then
		tap_skip "${words##*pml: }" "$backend: $runs runs lose no object"
		continue
	fi
	tap_run "$backend: $runs runs lose no object" many "$oracle" "$runs" "$backend"
	tap_run "$backend: without the hooks objects are lost" loses env PML_BACKEND="$backend" \
		timeout 300 "$oracle" --need --control --writes 100000
done
tap_done
