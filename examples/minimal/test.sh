#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Installs the library into a folder of its own, builds the example there with
# CMake and with pkg-config, and runs it.  Run by CTest with the build folder as
# its argument.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$1
# shellcheck source=tests/lib/tap.sh
. "$here/../../tests/lib/tap.sh"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
prefix=$scratch/prefix

# The tests are called by name.
# shellcheck disable=SC2317
with_cmake()
{
	cmake -S "$here" -B "$scratch/cmake" -DCMAKE_PREFIX_PATH="$prefix" &&
		cmake --build "$scratch/cmake"
}

# shellcheck disable=SC2317
with_pkg_config()
{
	local dir

	mkdir "$scratch/make" && cp "$here/Makefile" "$here/minimal.c" "$scratch/make"
	dir=$(find "$prefix" -name libpml.pc -printf '%h\n')
	PKG_CONFIG_PATH=$dir make -C "$scratch/make" \
		PKG_CONFIG="pkg-config --define-variable=prefix=$prefix"
}

# shellcheck disable=SC2317
runs()
{
	local library got

	library=$(dirname "$(find "$prefix" -name libpml.so.0)")
	got=$(LD_LIBRARY_PATH=$library "$1")
	[ "$got" = $'written: pages 3 to 3\nwritten: pages 10 to 11' ] || {
		echo "$got"
		return 1
	}
}

# A back-end for the own process has to be there.
works_here()
{
	grep -qE '^  [a-z-]+ +yes +dirty' <<<"$("$build/tools/pml/pml" info)"
}

tap_run "the library installs" cmake --install "$build" --prefix "$prefix"
tap_run "the installed command runs" "$prefix/bin/pml" info
tap_run "the example builds with CMake" with_cmake
tap_run "the example builds with pkg-config" with_pkg_config
if works_here; then
	tap_run "the CMake build prints what was written" runs "$scratch/cmake/minimal"
	tap_run "the pkg-config build prints what was written" runs "$scratch/make/minimal"
else
	tap_skip "no back-end works here" "the CMake build prints what was written"
	tap_skip "no back-end works here" "the pkg-config build prints what was written"
fi
tap_done
