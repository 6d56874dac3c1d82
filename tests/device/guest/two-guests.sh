#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Two guests at the same time, each with a PML device of its own: see
# two_guests.c.  Prints the TAP of the quiet one.
#   two-guests.sh BUILD-DIR KERNEL
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$1 kernel=$2
work=$(mktemp -d)
loud=
trap '[[ -z $loud ]] || kill "$loud" 2>/dev/null || true; rm -rf "$work"' EXIT
export PML_DEVICE_OPTIONS=user=on
mkdir "$work/share"

guest()
{
	"$here/../../vm/run" --kernel "$kernel" --timeout 900 --device --build "$build" \
		--share "$work/share" -- "$build/tests/device/guest/device-two" "$1" "$work/share"
}

guest loud >"$work/loud" 2>&1 &
loud=$!
status=0
guest quiet || status=$?
wait "$loud" || {
	# 77 of both is a skip, told by the quiet one
	loud=
	[[ $status -eq 77 ]] || sed 's/^/# loud: /' "$work/loud"
	[[ $status -ne 0 ]] || status=1
}
loud=
exit $status
