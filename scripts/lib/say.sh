# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# How the guests' scripts speak to people and end, on stderr: their statuses
# mean something (77 is a skip), which pml_die of common.sh has no room for.
# Sourced by guests.sh; the caller sets SAY to its own name.

SAY=${SAY:-pml}
# What a machine cannot run is a skip for CTest, never a pass.
EXIT_SKIP=77
EXIT_USAGE=2

say()
{
	printf '%s: %s\n' "$SAY" "$*" >&2
}

# die STATUS WORDS...
die()
{
	local status=$1

	shift
	say "$@"
	exit "$status"
}

skip()
{
	die "$EXIT_SKIP" "skipped: $*"
}

usage_error()
{
	die "$EXIT_USAGE" "$*; see $0 --help"
}
