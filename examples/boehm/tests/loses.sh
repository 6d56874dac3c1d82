# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# A negative control: the oracle has to lose objects.  Sourced by oracle.sh, patched.sh
# and negative.sh.

# loses CMD...: it lost some, or so badly that the program fell over them.
loses()
{
	local status=0

	"$@" || status=$?
	[ "$status" -eq 1 ] || [ "$status" -eq 139 ]
}
