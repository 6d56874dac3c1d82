#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The working set of a whole machine, and a machine that is given no more than that: a
# guest without disk or network, in which a program goes round memory that it only reads,
# with pml-host on its device and its balloon.  Prints TAP.
#   host-wss.sh BUILD-DIR KERNEL
# The tests are called by name.
# shellcheck disable=SC2317
set -uo pipefail
# shellcheck disable=SC2034 # for guests.sh
SAY=host_wss
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib/guests.sh
. "$here/../../../scripts/lib/guests.sh"
# shellcheck source=tests/lib/tap.sh
. "$here/../../lib/tap.sh"
# guests.sh ends a script at the first failure; here a test has failed then
set +e

build=$1 kernel=$2
readonly all=512 load=64 more=200
work=$(mktemp -d)
qemu='' host=("$build/device/host/pml-host" -s "$work/control")
export PML_BALLOONS_DIR=$work/notes
trap '[[ -z $qemu ]] || kill "$qemu" 2>/dev/null; rm -rf "$work"' EXIT

command -v qemu-system-x86_64 >/dev/null || tap_skip_all "no qemu-system-x86_64"
kernel_root "$kernel"

make_initrd()
{
	local file

	mkdir -p "$work/root"/{bin,proc,sys,dev,modules}
	cp "$KERNEL_ROOT/busybox" "$work/root/bin/busybox"
	cp "$build/tests/device/guest/device-load" "$work/root/bin/load"
	for file in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci \
		virtio_balloon; do
		# some kernels have some of them built in
		file=$(find "$KERNEL_ROOT/modules/" -name "$file.ko*")
		case $file in
		*.xz) xz -dc "$file" >"$work/root/modules/$(basename "$file" .xz)" ;;
		*.ko) cp "$file" "$work/root/modules/" ;;
		esac
	done
	cat >"$work/root/init" <<'INIT'
#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci \
	virtio_balloon; do
	[ ! -f /modules/$module.ko ] || insmod /modules/$module.ko
done
echo READY
while read -r command mib; do
	case $command in
	load)
		load read /truth.$mib /init 100000 0 "$mib" &
		loads="$loads $!"
		until [ -s /truth.$mib ]; do sleep 0.1; done
		;;
	stop) kill $loads; sleep 1 ;;
	esac
	echo "DID $command $mib $(awk '/^MemFree/ { print int($2 / 1024) }' /proc/meminfo)"
done
INIT
	chmod +x "$work/root/init"
	(cd "$work/root" && find . | "$KERNEL_ROOT/busybox" cpio -o -H newc 2>/dev/null) \
		>"$work/initrd"
}

start_guest()
{
	mkfifo "$work/input"
	"$build/device/qemu-plugin/pml-qemu" --pml "control=$work/control" \
		-accel tcg,thread=multi -cpu max,la57=off,cx16=off -smp 2 -m "${all}M" -nodefaults \
		-display none -no-reboot -serial stdio -qmp "unix:$work/qmp,server=on,wait=off" \
		-device virtio-balloon,deflate-on-oom=on \
		-kernel "$KERNEL_ROOT/vmlinuz" -initrd "$work/initrd" \
		-append "console=ttyS0 quiet panic=-1" <"$work/input" >"$work/console" 2>&1 &
	qemu=$!
	exec 8>"$work/input"
}

# until_true SECONDS CMD...
until_true()
{
	local i

	for ((i = 0; i < $1 * 5; i++)); do
		! "${@:2}" || return 0
		kill -0 "$qemu" 2>/dev/null || break
		sleep 0.2
	done
	tail -n 20 "$work/console"
	return 1
}

on_console() { grep -qa "$1" "$work/console"; }

# A test is a subshell: what the next has to know is in files.

# tell COMMAND [MIB]: the guest does it; what it has free then, in MiB, is $free
tell()
{
	echo "$*" >&8
	until_true 120 on_console "DID $1 ${2:-} *[0-9]" || return
	free=$(sed -n "s/.*DID $1 ${2:-} *\([0-9]*\).*/\1/p" "$work/console" | tail -n 1)
}

# values KEY: of all lines, null left out
values() { sed -n "s/.*\"$1\":\([0-9][0-9.]*\).*/\1/p" "$work/lines"; }

# middle KEY: the median of the last five, in MiB
middle()
{
	values "$1" | tail -n 5 | sort -n |
		awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] / 1048576 }'
}

# measure INTERVALS
measure() { "${host[@]}" -j wss -w 4 -i 1 -n "$1" >"$work/lines"; }

sees_what_is_read()
{
	local idle both written

	"${host[@]}" enable -e both >/dev/null && measure 6 || return
	idle=$(middle last_bytes)
	tell load "$load" && measure 7 || return
	both=$(middle last_bytes) written=$(middle dirty_bytes)
	tap_note "$idle MiB idle, $both with $load read, $written written" >>"$work/notes.tap"
	awk -v a="$idle" -v b="$both" -v l="$load" -v w="$written" 'BEGIN {
		e = (b - a - l) / (a + l); exit !(e < 0.025 && e > -0.025 && w < l / 2) }' ||
		{ echo "$idle MiB idle, $both with the load, of it written $written"; return 1; }
}

given_less() { [ "$(values balloon_bytes | tail -n 1)" -lt $((all * 3 / 4 << 20)) ] 2>/dev/null; }

works_with() { [ "$(values wss_bytes | tail -n 1)" -ge $(($1 << 20)) ] 2>/dev/null; }

gives_what_it_works_with()
{
	tell look || return
	echo "$free" >"$work/before"
	"${host[@]}" -j wss -w 4 -i 1 -n 1000 --apply "$work/qmp" --active >"$work/lines" \
		2>"$work/err" &
	echo $! >"$work/limiter"
	until_true 180 given_less || { tail -n 3 "$work/lines" "$work/err"; return 1; }
	tap_note "given $(values balloon_bytes | tail -n 1 | awk '{ print $1 / 1048576 }') of $all MiB" \
		>>"$work/notes.tap"
	works_with "$load"
}

grows()
{
	tell load "$more" || return
	until_true 60 works_with $((load + more)) || { tail -n 5 "$work/lines"; return 1; }
	! on_console 'Out of memory' || { echo "something in the guest was killed"; return 1; }
}

ended() { ! kill -0 "$1" 2>/dev/null; }

gives_back()
{
	local limiter before

	limiter=$(<"$work/limiter") before=$(<"$work/before")
	kill -TERM "$limiter" && until_true 30 ended "$limiter" || return
	tell stop && sleep 2 && tell look2 || return
	# the loads have ended too
	tap_note "free before: $before MiB, at the end: $free" >>"$work/notes.tap"
	((free >= before + load / 2)) && [ -z "$(ls "$work/notes")" ]
}

make_initrd
start_guest
until_true 120 on_console READY || { echo "Bail out! the guest did not start"; exit 1; }
free=0
tap_run "a machine's working set: what it reads is in it, within 2.5 %" sees_what_is_read
tap_run "a machine is given what it works with" gives_what_it_works_with
tap_run "one that grows gets what it asks for, and nothing in it dies" grows
tap_run "in the end it has all of it again" gives_back
cat "$work/notes.tap" 2>/dev/null
tap_done
