#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The device's guest program under the QEMU of a later Debian, whose plugin
# interface is the newer one: the second build of the plugin.
#   newer-qemu.sh BUILD-DIR KERNEL
set -uo pipefail
# shellcheck disable=SC2034 # for guests.sh
SAY=newer-qemu
# shellcheck source=scripts/lib/guests.sh
. "$(dirname "$0")/../../../scripts/lib/guests.sh"

newer_qemu
echo "# $("$NEWER_QEMU" --version | head -n 1)"
PML_QEMU=$NEWER_QEMU PML_DEVICE_OPTIONS=user=on exec "$PML_ROOT/tests/vm/run" --kernel "$2" \
	--smp 2 --device --cx16 --build "$1" -- "$1/tests/device/guest/device-guest"
