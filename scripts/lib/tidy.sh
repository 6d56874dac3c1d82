#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# clang-tidy on one file of build/clang, for scripts/lint.sh.  What was clean is not
# looked at again while all that it says of a file depends on is the same: the file and
# what it includes as they are compiled, comments (NOLINT) and macros with them, the
# rules, and the program itself.
#
#   tidy.sh FILE
set -euo pipefail
# shellcheck source=scripts/lib/common.sh
. "$(dirname "$0")/common.sh"
cd "$PML_ROOT"
readonly DATABASE=$PML_ROOT/build/clang/compile_commands.json

# all_of_it FILE: as each target that has the file compiles it.
all_of_it()
{
	local command

	cat .clang-tidy
	clang-tidy --version
	while IFS= read -r command; do
		printf '%s\n' "$command"
		(cd build/clang && eval "$(sed -E 's/ -o [^ ]+//; s/ -c / -E -C -dD /' <<<"$command")")
	done < <(jq -r --arg file "$1" '.[] | select(.file == $file).command' "$DATABASE")
}

clean=$(pml_cache_dir)/tidy
mkdir -p "$clean"
# the same in every clone
mark=$clean/$(all_of_it "$1" | sed "s|$PML_ROOT||g" | sha256sum | cut -c1-32)
if [ -e "$mark" ]; then
	touch "$mark"
	exit 0
fi
clang-tidy --quiet -p build/clang "$1" 2>/dev/null
touch "$mark"
