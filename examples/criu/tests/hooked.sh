#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The plugin with a CRIU that has hooks for dirty pages, if patches/get has built it, on
# this machine's own kernel, which need not have soft-dirty, or in a guest; and the test
# that comes with the patches.  Prints TAP.
#   hooked.sh BUILD host [PLAN [ARG]...]            a plan of chain.sh, else "hooked"
#   hooked.sh BUILD guest KERNEL [--device] [PLAN [ARG]...]
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lib/tap.sh
. "$here/../../../tests/lib/tap.sh"
build=$1 where=$2 status=0
shift 2

[ "$(id -u)" = 0 ] || tap_skip_all "criu needs root"
folder=$("$here/../patches/get" --cached 2>&1) || status=$?
[ "$status" -ne 77 ] || tap_skip_all "${folder#*skipped: }"
[ "$status" -eq 0 ] || { printf "%s\n" "$folder" >&2; exit 1; }
export PML_CRIU=$folder/criu/criu PML_ZDTM=$folder/test/zdtm

if [ "$where" = guest ]; then
	kernel=$1 options=()
	shift
	[ "${1:-}" != --device ] || { options+=(--device); shift; }
	# where what has passed is noted
	[ -z "${PML_LONG_STATE:-}" ] || options+=(--share "$PML_LONG_STATE")
	exec "$here/../../../tests/kmod/guest" --kernel "$kernel" --mem 2G \
		--timeout "${PML_CRIU_TIMEOUT:-840}" --share "$folder" "${options[@]}" \
		"$build" run bash "$here/chain.sh" "$build" "${@:-hooked}"
fi
why=$("$PML_CRIU" check 2>&1) ||
	tap_skip_all "criu does not run on this kernel: $(grep Error <<<"$why" | tail -n 1)"
# Of its own: process numbers, which a restore needs to find free, ports, mounts.
own=(unshare --fork --pid --net --mount --kill-child)
"${own[@]}" true 2>/dev/null || tap_skip_all "namespaces of one's own are not permitted here"
command -v ip >/dev/null || tap_skip_all "there is no ip; install iproute2"
# shellcheck disable=SC2016 # expanded inside
# A /proc in place of the other, not on top of it: criu would look below.
exec "${own[@]}" bash -c 'umount -l /proc && mount -t proc proc /proc && ip link set lo up &&
	exec bash "$@"' bash \
	"$here/chain.sh" "$build" "${@:-hooked}"
