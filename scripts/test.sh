#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# All tests.  From a clean clone on a fresh Debian 12, as root:
#   scripts/test.sh                the fast tier (what continuous integration runs)
#   scripts/test.sh --long         the full counts, in parts; parts that have passed
#                                  for this commit are not run again
#   scripts/test.sh --long PART... these parts
#   scripts/test.sh --list         the names of the parts
#   scripts/test.sh --only STEP... of the fast tier: build, lint, release, fuzz, hooks,
#                                asan, tsan
# PML_TEST_SKIP=LABEL|LABEL leaves tests with these labels out (as: vm), and says so.
# Logs are in build/test-logs.  The last line is "N passed, N failed, N skipped":
# single tests, and build and lint steps.  Exit: 0 if nothing failed.
# The steps are called by name, and the last line ends the script.
# shellcheck disable=SC2317
set -euo pipefail
# shellcheck source=scripts/lib/common.sh
. "$(dirname "$0")/lib/common.sh"
cd "$PML_ROOT"

readonly LOGS=$PML_ROOT/build/test-logs
readonly STATE=$PML_ROOT/build/test-long
readonly JOBS=${PML_TEST_JOBS:-2}
readonly PRESETS="release hooks clang asan tsan arm64"

passed=0
failed=0
skipped=0
failures=()
skips=()

say()
{
	printf '[%4ds] %s\n' "$SECONDS" "$*"
}

# step NAME CMD ARG...: one build or lint step; counts once.
step()
{
	local name=$1 status=0 log

	shift
	log=$LOGS/${name//[^A-Za-z0-9.+-]/-}.log
	"$@" >"$log" 2>&1 || status=$?
	case $status in
	0)
		passed=$((passed + 1))
		say "$name: passed"
		;;
	77)
		skipped=$((skipped + 1))
		skips+=("$name: $(tail -n 1 "$log")")
		say "$name: skipped"
		;;
	*)
		failed=$((failed + 1))
		failures+=("$name: see $log")
		say "$name: FAILED"
		tail -n 25 "$log" | sed 's/^/    /'
		;;
	esac
	return 0
}

# count_facts FILE: adds what tally.awk found.
count_facts()
{
	local kind what

	while read -r kind what; do
		case $kind in
		pass) passed=$((passed + what)) ;;
		fail)
			failed=$((failed + 1))
			failures+=("$what")
			;;
		skip)
			skipped=$((skipped + 1))
			skips+=("$what")
			;;
		esac
	done <"$1"
}

# run_ctest PRESET ARG...: the CTest tests of one build; counts single tests.
run_ctest()
{
	local preset=$1 log=$LOGS/ctest-$1.log status=0 before_p=$passed before_f=$failed

	shift
	if [ ! -f "build/$preset/CTestTestfile.cmake" ]; then
		failed=$((failed + 1))
		failures+=("ctest $preset: it was not built")
		return 0
	fi
	ctest --test-dir "build/$preset" --extra-verbose -j "$JOBS" --no-tests=ignore \
		--timeout 300 "$@" >"$log" 2>&1 || status=$?
	awk -v suite="$preset" -f scripts/lib/tally.awk "$log" >"$log.facts"
	count_facts "$log.facts"
	# 8 is "a test failed"; then the facts above hold a failure too.
	if [ "$status" -ne 0 ] && [ "$failed" -eq "$before_f" ]; then
		failed=$((failed + 1))
		failures+=("ctest $preset: exit status $status, see $log")
	fi
	say "ctest $preset: $((passed - before_p)) passed, $((failed - before_f)) failed"
}

# That its workers waited long for a processor is no fault: the machine was busy.  A
# processor that does not come back from the kernel has a name of its own.
kernel_complaints()
{
	dmesg 2>/dev/null | grep -E 'BUG:|WARNING:|Oops|lockdep' |
		grep -v 'BUG: workqueue lockup' || true
}

# The tests drive little-used corners of the kernel: it must not have complained.
# check_kernel_log BEFORE: so many times it had then.
check_kernel_log()
{
	local now

	now=$(kernel_complaints | wc -l)
	[ "$now" -le "$1" ] || {
		kernel_complaints | tail -n 20
		return 1
	}
}

# The library is used as its users do: installed, then linked by the examples.
check_installed()
{
	local prefix=$PML_ROOT/build/installed dir

	rm -rf "$prefix"
	cmake --install build/release --prefix "$prefix"
	[ -d examples/minimal ] || {
		echo "there is no examples/minimal"
		return 77
	}
	for dir in "$prefix"/lib/*/pkgconfig "$prefix"/lib/pkgconfig; do
		[ -d "$dir" ] && export PKG_CONFIG_PATH=$dir CMAKE_PREFIX_PATH=$prefix
	done
	if [ -f examples/minimal/CMakeLists.txt ]; then
		cmake -S examples/minimal -B build/example-minimal -G Ninja --fresh
		cmake --build build/example-minimal
	else
		make -C examples/minimal clean all
	fi
}

tier_build()
{
	local preset

	for preset in $PRESETS; do
		step "build $preset" pml_build "$preset"
	done
	step "install and use" check_installed
}

tier_lint()
{
	local name

	for name in $(scripts/lint.sh --list); do
		step "lint $name" scripts/lint.sh "$name"
	done
}

readonly LEFT_OUT=${PML_TEST_SKIP:+|$PML_TEST_SKIP}

tier_release() { run_ctest release -LE "negative|fuzz$LEFT_OUT"; }
tier_fuzz() { run_ctest clang -L 'fuzz'; }
tier_hooks() { run_ctest hooks -L 'negative'; }
tier_asan() { run_ctest asan -LE "vm|nosan|negative$LEFT_OUT"; }
tier_tsan() { run_ctest tsan -LE "vm|nosan|notsan|negative$LEFT_OUT"; }

fast()
{
	local kernel_before tier

	kernel_before=$(kernel_complaints | wc -l)
	for tier in "$@"; do
		"tier_$tier"
	done
	step "kernel log" check_kernel_log "$kernel_before"
}

long_parts()
{
	find tests/long -maxdepth 1 -type f -perm -u+x -printf '%f\n' 2>/dev/null | sort
}

# A part that passed is not run again for the same sources.
source_id()
{
	{ git rev-parse HEAD; git diff HEAD; } | sha256sum | cut -c1-16
}

# long_part NAME: the part is a program that prints TAP; a folder of its own is
# handed to it in which it can note what is already done.
long_part()
{
	local name=$1 dir=$STATE/$id/$1 log=$LOGS/long-$1.log status=0 verdict
	local began=$SECONDS

	mkdir -p "$dir"
	if [ -f "$dir/passed" ]; then
		log=$dir/passed
		verdict="   Passed"
		say "$name: passed before"
	else
		say "$name: begins, log $log"
		PML_LONG_STATE=$dir PML_BUILD=$PML_ROOT/build "tests/long/$name" >"$log" 2>&1 ||
			status=$?
		case $status in
		0)
			cp "$log" "$dir/passed"
			verdict="   Passed"
			;;
		77) verdict="***Skipped" ;;
		*) verdict="***Failed" ;;
		esac
	fi
	{
		sed 's/^/1: /' "$log"
		printf '1/1 Test #1: %s ...%s 0 sec\n' "$name" "$verdict"
	} | awk -v suite=long -f scripts/lib/tally.awk >"$LOGS/long-$name.facts"
	count_facts "$LOGS/long-$name.facts"
	say "$name: ended after $((SECONDS - began)) s"
}

run_long()
{
	local id name

	id=$(source_id)
	for name in release hooks; do
		step "build $name" pml_build "$name"
	done
	for name in "$@"; do
		[ -x "tests/long/$name" ] ||
			pml_die "part $name" "there is none of that name" "scripts/test.sh --list"
		long_part "$name"
	done
}

summary()
{
	local line

	if [ "${#skips[@]}" -gt 0 ]; then
		printf '\nSkipped:\n'
		printf '  %s\n' "${skips[@]}"
	fi
	if [ "${#failures[@]}" -gt 0 ]; then
		printf '\nFailed:\n'
		printf '  %s\n' "${failures[@]}"
	fi
	line="$passed passed, $failed failed, $skipped skipped"
	printf '\nin %d s; logs in %s\n%s\n' "$SECONDS" "$LOGS" "$line"
	[ "$failed" -eq 0 ]
}

usage()
{
	sed -n '3,14s/^# \{0,1\}//p' "$0"
}

main()
{
	local mode=fast args=()

	case ${1:-} in
	--list)
		long_parts
		return 0
		;;
	--long)
		mode=long
		shift
		;;
	--only)
		mode=only
		shift
		;;
	-h | --help)
		usage
		return 0
		;;
	-*)
		usage >&2
		return 2
		;;
	esac
	args=("$@")
	mkdir -p "$LOGS"
	if [ -n "${PML_TEST_SKIP:-}" ]; then
		skipped=$((skipped + 1))
		skips+=("tests labelled $PML_TEST_SKIP: left out by PML_TEST_SKIP")
	fi
	step "packages" packages
	case $mode in
	fast) fast build lint release fuzz hooks asan tsan ;;
	only) fast "${args[@]}" ;;
	long)
		[ "${#args[@]}" -gt 0 ] || mapfile -t args < <(long_parts)
		run_long "${args[@]}"
		;;
	esac
	summary
}

packages()
{
	local wanted

	mapfile -t wanted < <(pml_packages build test cross lint)
	pml_install "${wanted[@]}"
}

main "$@"; exit
