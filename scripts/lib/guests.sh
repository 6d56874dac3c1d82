# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# All that the guests' scripts (tests/vm/run, kmod-build, debug-kernel) share;
# sourced.  The caller sets SAY, its name in messages, first.

guests_lib=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=scripts/lib/common.sh
. "$guests_lib/common.sh"
# shellcheck source=scripts/lib/say.sh
. "$guests_lib/say.sh"
# shellcheck source=scripts/lib/cache.sh
. "$guests_lib/cache.sh"
# shellcheck source=scripts/lib/debian.sh
. "$guests_lib/debian.sh"
# shellcheck source=scripts/lib/guest-root.sh
. "$guests_lib/guest-root.sh"
# shellcheck source=scripts/lib/kernel-root.sh
. "$guests_lib/kernel-root.sh"
# shellcheck source=scripts/lib/debug-kernel.sh
. "$guests_lib/debug-kernel.sh"
# shellcheck source=scripts/lib/newer-qemu.sh
. "$guests_lib/newer-qemu.sh"
