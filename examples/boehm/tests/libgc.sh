#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# libgc's own tests: as built from Debian's source with libpml-gc added to the
# unchanged binaries, and with GC_set_dirty_provider() patched in, by itself and
# with libpml-gc.  Run by CTest and by tests/long/boehm.
#   libgc.sh LIBRARIES few|all      (LIBRARIES: the folders of libpml and libpml-gc)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lib/tap.sh
. "$here/../../../tests/lib/tap.sh"
libraries=$1
few="gctest hugetest realloc_test middletest staticrootstest subthreadcreate_test"
few+=" initsecondarythread_test provider_test generational_test"
more="smashtest leaktest threadleaktest threadkey_test test_atomic_ops disclaim_test"
more+=" disclaim_weakmap_test disclaim_bench"

status=0
stock=$("$here/../bdwgc/get" stock) || status=$?
[ "$status" -eq 0 ] && { patched=$("$here/../bdwgc/get" patched) || status=$?; }
[ "$status" -ne 77 ] || tap_skip_all "no source of libgc can be had here"
[ "$status" -eq 0 ] || exit 1
tap_note "$("$here/../bdwgc/which" "$stock")"
tap_note "patched: $("$here/../bdwgc/which" "$patched")"
command -v patchelf >/dev/null || tap_skip_all "there is no patchelf"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Called by name.
# shellcheck disable=SC2317
starts_early()
{
	! LD_LIBRARY_PATH=$stock GC_ENABLE_INCREMENTAL=1 timeout 600 "$patched/generational_test" \
		>"$scratch/early" && grep -q "although there was room" "$scratch/early"
}

read -ra tests <<<"$few"
[ "$2" = few ] || read -ra tests <<<"$few $more"
for t in "${tests[@]}"; do
	for from in "$stock" "$patched"; do
		[ -x "$from/$t" ] || continue
		kind=libgc
		[ "$from" = "$stock" ] || kind="patched libgc"
		cp "$from/$t" "$scratch/$t"
		if [ "$from" = "$patched" ]; then
			tap_run "$kind: $t" env GC_ENABLE_INCREMENTAL=1 LD_LIBRARY_PATH="$from" \
				timeout 600 "$scratch/$t"
		fi
		# the one that sets a provider of its own
		[ "$t" != provider_test ] || continue
		patchelf --add-needed libpml-gc.so.0 "$scratch/$t"
		tap_run "$kind with libpml-gc: $t" env LD_LIBRARY_PATH="$from:$libraries" \
			timeout 600 "$scratch/$t"
	done
done
tap_run "libgc without the patch: generational_test fails" starts_early
tap_done
