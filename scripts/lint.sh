#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Everything that reads the sources without running them.  Called by
# scripts/test.sh, one step at a time, and by hand:
#   scripts/lint.sh            all steps
#   scripts/lint.sh STEP...    these
#   scripts/lint.sh --list     their names
#   scripts/lint.sh --update-abi   accept the ABI of the release build
# Exit: 0 clean, 1 not, 77 nothing to look at yet.
set -euo pipefail
# shellcheck source=scripts/lib/common.sh
. "$(dirname "$0")/lib/common.sh"
cd "$PML_ROOT"

readonly STEPS="spdx words pipes clang-tidy cppcheck shellcheck c++ man abi module"
ABI=tests/abi/libpml-$(uname -m).abi
readonly ABI
readonly LIBRARY=build/release/libpml/libpml.so

# nothing WHY: ends a step that has nothing to look at yet.
nothing()
{
	echo "$1"
	exit 77
}

# tracked PATTERN...: the files of the tree, new ones not yet added included.
tracked()
{
	git ls-files --cached --others --exclude-standard -- "$@" | while IFS= read -r f; do
		[ -f "$f" ] && printf '%s\n' "$f"
	done
}

# Line 1 names the licence; line 2 under a "#!" line or an XML or man preamble.
# JSON has no comments; licence texts and pictures are what they are.
lint_spdx()
{
	local f bad=0

	while IFS= read -r f; do
		case $f in
		LICENSES/*.txt | *.json | *.png | *.svg) continue ;;
		esac
		[ -s "$f" ] || continue
		if ! grep -aq 'SPDX-License-Identifier:' <(head -n 2 "$f"); then
			echo "$f: no SPDX line"
			bad=1
		elif ! grep -aqE "SPDX-License-Identifier:|^#!|^<[?]xml|^'.\\\\\"" <(head -n 1 "$f"); then
			echo "$f: the SPDX line is not line 1"
			bad=1
		fi
	done < <(tracked)
	return "$bad"
}

# The tree speaks of the project alone: no unfinished work, no machine paths.
lint_words()
{
	local found=0

	# In pieces, so that this file does not find itself.
	if tracked '*.c' '*.h' '*.sh' '*.txt' '*.md' '*.py' '*.[1-8]' |
		xargs -d '\n' grep -nE "\\b(TO""DO|FIX""ME|XX""X)\\b"; then
		found=1
	fi
	return "$found"
}

lint_clang_tidy()
{
	local database=build/clang/compile_commands.json files

	[ -f "$database" ] || pml_build clang >/dev/null
	mapfile -t files < <(jq -r '.[].file' "$database" | sort -u | grep '\.c$')
	[ "${#files[@]}" -gt 0 ] || nothing "no C files"
	# what nobody has asked for any more
	find "$(pml_cache_dir)"/tidy -type f -mtime +14 -delete 2>/dev/null || true
	printf '%s\n' "${files[@]}" | xargs -d '\n' -n 1 -P 2 scripts/lib/tidy.sh
}

lint_cppcheck()
{
	local files

	mapfile -t files < <(tracked '*.c' ':!guest-kmod')
	[ "${#files[@]}" -gt 0 ] || nothing "no C files"
	# varFuncNullUB: NULL is a pointer in every C library that Linux has.
	cppcheck --quiet -j2 --std=c11 --language=c --enable=warning,performance,portability \
		--inline-suppr --suppress=missingIncludeSystem --suppress=normalCheckLevelMaxBranches \
		--suppress=varFuncNullUB \
		-D__linux__ -D__x86_64__ -Ilibpml/include -Iabi -Ilibpml/src \
		--error-exitcode=1 "${files[@]}"
}

lint_shellcheck()
{
	local f scripts=()

	while IFS= read -r f; do
		case $f in
		*.sh) scripts+=("$f") ;;
		*) grep -aqE '^#!.*\b(ba|da)?sh\b' <(head -n 1 "$f") && scripts+=("$f") ;;
		esac
	done < <(tracked)
	shellcheck -x -P SCRIPTDIR -P . "${scripts[@]}"
}

# Under pipefail, a reader that ends at what it looks for makes the whole pipe fail
# whenever the writer has more to say: by chance.  A here-string has no such race.
lint_pipes()
{
	local found=0

	# tests/softdirty/beside is plain sh, which has no pipefail.
	if tracked ':!*.[chmd]' ':!*.md' ':!scripts/lint.sh' ':!tests/softdirty/beside' |
		xargs -d '\n' grep -nIE "[|] *(grep( +-[^ ]+)* +-[a-zA-Z]*q|awk .*exit)"; then
		found=1
	fi
	return "$found"
}

# A public header stands alone, in C and in C++.
lint_cxx()
{
	local header

	for header in $(tracked 'libpml/include/*.h'); do
		printf '#include "%s"\nint main(void) { return 0; }\n' "$PML_ROOT/$header" |
			g++ -std=c++11 -Wall -Wextra -Wpedantic -Werror -Ilibpml/include \
				-fsyntax-only -x c++ -
		printf '#include "%s"\nint main(void) { return 0; }\n' "$PML_ROOT/$header" |
			gcc -std=c11 -Wall -Wextra -Wpedantic -Werror -Ilibpml/include \
				-fsyntax-only -x c -
	done
}

lint_man()
{
	local pages

	mapfile -t pages < <(tracked 'man/*.[1-8]')
	# Pages that the build generates.
	for page in build/release/man/*.[1-8]; do
		[ -f "$page" ] && pages+=("$page")
	done
	[ "${#pages[@]}" -gt 0 ] || nothing "no man pages"
	mandoc -Tlint -W warning "${pages[@]}"
}

abi_of_build()
{
	# where it was built is nobody's ABI
	abidw --drop-private-types --no-corpus-path --no-comp-dir-path --headers-dir libpml/include \
		"$LIBRARY" | sed "s|$PML_ROOT/||g"
}

# What the library exports only grows: a removal or a change of layout stops here.
lint_abi()
{
	local status=0 stored

	[ -e "$LIBRARY" ] || nothing "the release build has no library"
	[ -f "$ABI" ] || nothing "no ABI is stored for this architecture"
	# abidiff takes a description only without our licence line at its top.
	stored=$(mktemp --suffix=.abi)
	tail -n +2 "$ABI" >"$stored"
	abidiff --headers-dir2 libpml/include "$stored" "$LIBRARY" || status=$?
	rm -f "$stored"
	# Bits 0 and 1: it could not run.  4: changed; 8: changed incompatibly.
	if [ $((status & 11)) -ne 0 ]; then
		echo "the ABI changed incompatibly: raise the SONAME, or scripts/lint.sh --update-abi"
		return 1
	fi
}

update_abi()
{
	mkdir -p "$(dirname "$ABI")"
	{
		echo '<!-- SPDX-License-Identifier: MIT -->'
		abi_of_build
	} >"$ABI.new"
	mv "$ABI.new" "$ABI"
}

# The guest module: the compiler's and sparse's warnings, then kernel style by the
# kernel's own checkpatch, which comes with the debug kernel's sources.  Of its
# rules those are left out that no code out of the tree can keep (versions), that
# the tracing headers break, and BIT(), which user space has not.
lint_module()
{
	local out root checkpatch status=0

	out=$(mktemp -d)
	tests/vm/kmod-build --kernel 6.12 guest-kmod "$out" W=1 C=2 KCFLAGS=-Werror \
		>"$out/log" 2>&1 || status=$?
	if [ "$status" -eq 77 ]; then
		tail -n 1 "$out/log"
		rm -rf "$out"
		exit 77
	fi
	if [ "$status" -ne 0 ] || grep -E '(warning|error):' "$out/log"; then
		tail -n 20 "$out/log"
		status=1
	fi
	rm -rf "$out"
	root=$(tests/vm/debug-kernel --cached 2>/dev/null) || {
		echo "module: checkpatch was not run: the debug kernel is not built (tests/vm/debug-kernel)"
		return "$status"
	}
	checkpatch=$(find "$root/root/usr/lib/modules" -path '*/scripts/checkpatch.pl' | head -n 1)
	tracked 'guest-kmod/*.[ch]' abi/pml_uapi.h | grep -v '/trace\.h$' |
		xargs -d '\n' perl "$checkpatch" --strict --no-tree --terse --no-summary \
			--max-line-length=100 \
			--ignore LINUX_VERSION_CODE,CONSTANT_COMPARISON,SPDX_LICENSE_TAG,BIT_MACRO \
			--file || status=1
	return "$status"
}

run_step()
{
	case $1 in
	spdx) lint_spdx ;;
	words) lint_words ;;
	clang-tidy) lint_clang_tidy ;;
	cppcheck) lint_cppcheck ;;
	shellcheck) lint_shellcheck ;;
	pipes) lint_pipes ;;
	c++) lint_cxx ;;
	man) lint_man ;;
	abi) lint_abi ;;
	module) lint_module ;;
	*) pml_die "lint step $1" "there is none of that name" "scripts/lint.sh --list" ;;
	esac
}

case ${1:-} in
--list)
	tr ' ' '\n' <<<"$STEPS"
	exit 0
	;;
--update-abi)
	update_abi
	exit 0
	;;
esac
if [ $# -eq 1 ]; then
	run_step "$1"
	exit
fi
[ $# -gt 0 ] || read -ra all <<<"$STEPS"
bad=0
for step in "${@:-${all[@]}}"; do
	status=0
	# Its own process: a step's failure does not end the others.
	"$0" "$step" || status=$?
	case $status in
	0) echo "lint: $step: clean" ;;
	77) echo "lint: $step: nothing to look at" ;;
	*)
		echo "lint: $step: NOT clean"
		bad=1
		;;
	esac
done
exit "$bad"
