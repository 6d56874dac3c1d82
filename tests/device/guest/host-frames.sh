#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Starts a guest without any DMA (no disk, no network), in which a program uses
# the device, and checks pml-host against the guest's memory meanwhile.
#   host-frames.sh BUILD-DIR KERNEL VCPUS ROUNDS
# Prints TAP: pml-host's rounds, and that the guest's program was undisturbed.
set -euo pipefail
# shellcheck disable=SC2034 # for guests.sh
SAY=host-frames
# shellcheck source=scripts/lib/guests.sh
. "$(dirname "$0")/../../../scripts/lib/guests.sh"

build=$1 kernel=$2 vcpus=$3 rounds=$4
readonly epochs=20
work=$(mktemp -d)
qemu=
trap '[[ -z $qemu ]] || kill "$qemu" 2>/dev/null || true; rm -rf "$work"' EXIT

skip()
{
	echo "1..0 # SKIP $1"
	exit 77
}

command -v qemu-system-x86_64 >/dev/null || skip "no qemu-system-x86_64"
kernel_root "$kernel"

make_initrd()
{
	mkdir -p "$work/root"/{bin,proc,sys,dev}
	cp "$KERNEL_ROOT/busybox" "$work/root/bin/busybox"
	cp "$build/tests/device/guest/device-guest" "$work/root/bin/"
	cat >"$work/root/init" <<INIT
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
echo READY
# by turns without the device and with it
while :; do
	i=0; while [ \$i -lt 100 ]; do i=\$((i + 1)); /bin/busybox true; done
	/bin/device-guest epochs $epochs
	echo "STATUS \$?"
done
INIT
	chmod +x "$work/root/init"
	(cd "$work/root" && find . | "$KERNEL_ROOT/busybox" cpio -o -H newc 2>/dev/null) \
		>"$work/initrd"
}

start_guest()
{
	"$build/device/qemu-plugin/pml-qemu" --pml user=on --pml "control=$work/control" \
		-accel tcg,thread=multi -cpu max,la57=off,cx16=off -smp "$vcpus" -m 256M -nodefaults \
		-display none -no-reboot -serial "file:$work/console" \
		-monitor "unix:$work/monitor,server=on,wait=off" \
		-object "memory-backend-file,id=ram,size=256M,share=on,mem-path=$work/ram" \
		-machine memory-backend=ram -kernel "$KERNEL_ROOT/vmlinuz" -initrd "$work/initrd" \
		-append "console=ttyS0 quiet panic=-1" >"$work/qemu.log" 2>&1 &
	qemu=$!
}

# lines TEXT: how many of the console have it.
lines()
{
	grep -ca "$1" "$work/console" || true
}

# wait_for TEXT SECONDS [TIMES]: until it is on the console, so often.
wait_for()
{
	local n

	for ((n = 0; n < $2 * 5; n++)); do
		[ "$(lines "$1")" -lt "${3:-1}" ] || return 0
		kill -0 "$qemu" 2>/dev/null || break
		sleep 0.2
	done
	cat "$work/qemu.log" "$work/console" | tail -n 20 | sed 's/^/# /'
	return 1
}

touch "$work/console"
make_initrd
start_guest
wait_for READY 120 || { echo "Bail out! the guest did not start"; exit 1; }
status=0
"$build/tests/device/guest/host-frames" "$work/ram" "$work/monitor" "$build/device/host/pml-host" \
	"$work/control" "$rounds" >"$work/tap" || status=1
grep -v '^1\.\.' "$work/tap" || true
n=$(($(sed -n 's/^1\.\.//p' "$work/tap") + 1))
# One more program, begun and ended with the host's logging off.
if wait_for STATUS 240 $(($(lines STATUS) + 2)) && ! grep -qa 'STATUS [^0]' "$work/console"; then
	echo "ok $n - the guest's own epochs were exact before, meanwhile and after, in every mode"
else
	grep -a -m 5 '^not ok' "$work/console" | sed 's/^/# /' || true
	echo "not ok $n - the guest's own epochs were exact before, meanwhile and after, in every mode"
	status=1
fi
echo "1..$n"
exit $status
