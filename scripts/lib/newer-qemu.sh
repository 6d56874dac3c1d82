# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# A QEMU newer than this machine's, from a later Debian: extracted, not
# installed, and run with the libraries of its own suite, so nothing here
# changes.  Used by the test of the device's second plugin.  Sourced by guests.sh.

newer_qemu_suite=trixie

newer_qemu_build()
{
	local out=$1

	debian_root "$out/root" "$newer_qemu_suite" extract qemu-system-x86
	rm -rf "$out"/root/var
	cat >"$out/qemu-system-x86_64" <<'WRAPPER'
#!/bin/sh
# SPDX-License-Identifier: MIT
root=$(dirname "$(readlink -f "$0")")/root
libs=$root/usr/lib/x86_64-linux-gnu
QEMU_MODULE_DIR=$libs/qemu exec "$libs/ld-linux-x86-64.so.2" \
	--library-path "$libs:$libs/pulseaudio" "$root/usr/bin/qemu-system-x86_64" \
	-L "$root/usr/share/qemu" -L "$root/usr/share/seabios" "$@"
WRAPPER
	chmod +x "$out/qemu-system-x86_64"
	"$out/qemu-system-x86_64" --version
}

# Sets NEWER_QEMU to a command that takes QEMU's arguments.
newer_qemu()
{
	local key

	key=$(cache_key "$(dirname "${BASH_SOURCE[0]}")/newer-qemu.sh")
	[[ -d $(cache_path newer-qemu "$key") ]] || need_builder "$newer_qemu_suite"
	cache_get newer-qemu "$key" newer_qemu_build
	# shellcheck disable=SC2034 # the caller's
	NEWER_QEMU=$CACHE_ENTRY/qemu-system-x86_64
}
