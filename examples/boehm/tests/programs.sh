#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Programs with libpml-gc give the results that they give without: Debian's guile and
# ecl, unchanged but for the added library, guile with the extension, and ours.
# Run by CTest, and in guests.
#   programs.sh PROGRAMS LIBRARIES     (LIBRARIES: the folders of libpml and libpml-gc)
# The tests are called by name.
# shellcheck disable=SC2317
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lib/tap.sh
. "$here/../../../tests/lib/tap.sh"
programs=$1 libraries=$2
# tests/long/boehm puts patchelf there for a guest
PATH=$PATH:$programs
scripts=$here/../scripts
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

"$programs/boehm-oracle" --need --chains 10 --writes 10 --quiet ||
	tap_skip_all "no back-end of libpml works here"

# same CMD...: its output is $expected, and libpml gave the dirty pages.  PML_BOEHM_LIMIT:
# the seconds it may take, more where a processor is emulated.
same()
{
	local got

	rm -f "$scratch/stats"
	got=$(env LD_LIBRARY_PATH="$libraries" PML_GC_STATS="$scratch/stats" \
		timeout "${PML_BOEHM_LIMIT:-200}" "$@")
	echo "$got"
	cat "$scratch/stats"
	[ "$got" = "$expected" ] && grep -qx "enabled 1" "$scratch/stats" &&
		grep -qx "all_dirty 0" "$scratch/stats" && ! grep -qx "stops 0" "$scratch/stats"
}

# with_library PROGRAM: a copy with the library added.
with_library()
{
	cp "$(readlink -f "$(command -v "$1")")" "$scratch/$1"
	patchelf --add-needed libpml-gc.so.0 "$scratch/$1"
}

for p in gcbench words index; do
	expected=$(PML_GC=0 "$programs/boehm-$p")
	tap_run "$p, linked" same "$programs/boehm-$p"
done
if command -v guile >/dev/null && command -v patchelf >/dev/null; then
	expected=$(guile --no-auto-compile "$scripts/churn.scm" 10)
	with_library guile
	tap_run "guile with the library added" same "$scratch/guile" --no-auto-compile \
		"$scripts/churn.scm" 10
	tap_run "guile with the extension" same guile --no-auto-compile \
		-c "(load-extension \"libpml-gc.so.0\" \"scm_init_pml_gc\")
			(load \"$(realpath "$scripts")/churn.scm\")" 10
else
	tap_skip "guile or patchelf is not installed" "guile with the library added"
	tap_skip "guile or patchelf is not installed" "guile with the extension"
fi
if command -v ecl >/dev/null && command -v patchelf >/dev/null; then
	expected=$(ecl --shell "$scripts/churn.lisp" 5)
	with_library ecl
	tap_run "ecl with the library added" same "$scratch/ecl" --shell "$scripts/churn.lisp" 5
else
	tap_skip "ecl or patchelf is not installed" "ecl with the library added"
fi
tap_done
