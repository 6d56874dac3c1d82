#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Inside a guest: swap on compressed memory, KSM in a hurry, huge pages for
# those who ask; what this kernel cannot do is said, and left out.  Called by
# tests/kmod/inside before programs that need the kernel to be busy.
set -uo pipefail

say_not()
{
	printf '# pressure: no %s\n' "$*"
}

swap_on()
{
	modprobe zram num_devices=1 2>/dev/null
	[[ -e /sys/block/zram0/disksize ]] || { say_not "swap: this kernel has no zram"; return; }
	grep -q zram0 /proc/swaps && return
	if ! { echo 256M >/sys/block/zram0/disksize && mkswap /dev/zram0 >/dev/null &&
		swapon -p 100 /dev/zram0; }; then
		say_not "swap: zram0 could not be used"
	fi
}

ksm_on()
{
	[[ -w /sys/kernel/mm/ksm/run ]] || { say_not "KSM in this kernel"; return; }
	echo 200 >/sys/kernel/mm/ksm/pages_to_scan
	echo 20 >/sys/kernel/mm/ksm/sleep_millisecs
	echo 1 >/sys/kernel/mm/ksm/run
}

huge_on()
{
	local dir=/sys/kernel/mm/transparent_hugepage

	[[ -w $dir/enabled ]] || { say_not "huge pages in this kernel"; return; }
	echo madvise >"$dir/enabled"
	echo madvise >"$dir/defrag"
}

swap_on
ksm_on
huge_on
exit 0
