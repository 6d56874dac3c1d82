#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The manual pages: every exported call has one, mandoc finds nothing wrong with
# any, and a call without a comment stops the generator.  Run by CTest with the
# build folder as its argument.
# The tests are called by name.
# shellcheck disable=SC2317
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
build=$1
# shellcheck source=tests/lib/tap.sh
. "$root/tests/lib/tap.sh"

library=$build/libpml/libpml.so
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

every_call_has_a_page()
{
	local name missing=0

	for name in $(nm -D --defined-only "$library" | awk '{ sub(/@.*/, "", $3); print $3 }' |
		grep '^pml_'); do
		[ -s "$build/man/$name.3" ] || {
			echo "$name has no page"
			missing=1
		}
	done
	[ -s "$build/man/pml_open.3" ] || missing=1
	return "$missing"
}

every_command_has_a_page()
{
	local name missing=0

	for name in $("$build/tools/pml/pml" --help | sed -n 's/^  \([a-z]*\) .*/\1/p'); do
		[ -s "$root/man/pml-$name.1" ] || {
			echo "pml $name has no page"
			missing=1
		}
	done
	return "$missing"
}

# Options that --help shows; those that wss has in common with dirty are told there.
every_option_is_in_its_page()
{
	local name option pages missing=0

	for name in info dirty wss detach; do
		pages=("$root/man/pml-$name.1")
		[ "$name" != wss ] || pages+=("$root/man/pml-dirty.1")
		for option in $("$build/tools/pml/pml" "$name" --help |
			grep -oE -- '--[a-z][a-z-]+' | sort -u | sed 's/^--//'); do
			grep -qE "Fl Fl $option( |\$)" "${pages[@]}" || {
				echo "pml-$name.1 does not name --$option"
				missing=1
			}
		done
	done
	return "$missing"
}

every_reason_is_explained()
{
	local name missing=0

	for name in $(sed -n 's/^\tPML_REASON_\([A-Z_]*\) = [1-9].*/\1/p' \
		"$root/libpml/include/pml.h" | tr 'A-Z_' 'a-z-'); do
		grep -qx ".It Cm $name" "$root/man/pml.7" || {
			echo "pml.7 does not explain $name"
			missing=1
		}
	done
	return "$missing"
}

undocumented_call_is_refused()
{
	sed 's|^#endif /\* PML_H \*/|int pml_new_call(int x);\n&|' \
		"$root/libpml/include/pml.h" >"$scratch/pml.h"
	grep -q pml_new_call "$scratch/pml.h" || return 1
	! "$root/scripts/man-from-header" --list "$scratch/pml.h" 2>&1
}

# mandoc looks at the machine's own pages for cross references: not our matter.
lint()
{
	mandoc -Tlint -W warning "$root"/man/*.[1-8] "$build"/man/*.3
}

tap_run "every call that the library exports has a manual page" every_call_has_a_page
tap_run "every command has a manual page" every_command_has_a_page
tap_run "every option is in its manual page" every_option_is_in_its_page
tap_run "every reason is explained in pml(7)" every_reason_is_explained
tap_run "a call without a comment stops the generator" undocumented_call_is_refused
if command -v mandoc >/dev/null; then
	tap_run "mandoc finds nothing wrong with the pages" lint
else
	tap_skip "mandoc is not installed" "mandoc finds nothing wrong with the pages"
fi
tap_done
