#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What a program may do to the collector's dirty pages: no object is lost, or it is
# refused in words and the program runs as without libpml-gc.  Run by CTest with the
# programs' folder as its argument.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lib/tap.sh
. "$here/../../../tests/lib/tap.sh"
oracle=$1/boehm-oracle
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# The tests are called by name.
# shellcheck disable=SC2317
refused()
{
	local words

	words=$("$@" 2>&1 >/dev/null)
	echo "$words"
	[[ $words == *": "*";"* ]]
}

# Room for the loader alone; nothing is inherited.
# shellcheck disable=SC2317
few_descriptors()
{
	local fd

	for ((fd = 3; fd < 64; fd++)); do
		eval "exec $fd>&-"
	done
	ulimit -n 4
	exec "$oracle" --writes 10
}

# uffd-sync has a thread, which must not take the program's files for its own,
# whichever of them has which number.
# shellcheck disable=SC2317
leaves_files()
{
	timeout 100 "$oracle" "$@" 3<&- && timeout 100 "$oracle" "$@" 3</dev/null
}

# shellcheck disable=SC2317
with_thread()
{
	PML_BACKEND=uffd-sync "$@"
}

# Root without the one capability that uffd-sync needs, where others have no right to it
# either.
readonly without=(setpriv --bounding-set -sys_ptrace --inh-caps -sys_ptrace)
can_be_forbidden()
{
	[ "$(id -u)" -eq 0 ] && [ "$(cat /proc/sys/vm/unprivileged_userfaultfd 2>/dev/null)" = 0 ] &&
		"${without[@]}" true
}

# stats_have LINE CMD...: the program ends well, and its statistics have the line.
# shellcheck disable=SC2317
stats_have()
{
	local line=$1

	shift
	rm -f "$scratch/stats"
	env PML_GC_STATS="$scratch/stats" "$@" || return
	cat "$scratch/stats"
	grep -qx "$line" "$scratch/stats"
}

# direct_io: the program has a file open for direct I/O, and the statistics say so.
# shellcheck disable=SC2317
direct_io()
{
	stats_have "doubt io" "$oracle" --need --direct && ! grep -qx "doubted 0" "$scratch/stats"
}

# Whether nobody may run a copy of root's with root's rights here; the loader of such a
# program does not heed LD_SHOW_AUXV.
readonly nobody=(setpriv --reuid 65534 --clear-groups)
can_be_setuid()
{
	[ "$(id -u)" -eq 0 ] && cp "$oracle" "$scratch/setuid" && chmod 4755 "$scratch/setuid" &&
		chmod 777 "$scratch" && "${nobody[@]}" "$scratch/setuid" --chains 10 --writes 10 &&
		! grep -q AT_SECURE <<<"$("${nobody[@]}" env LD_SHOW_AUXV=1 "$scratch/setuid" \
			--chains 10 --writes 10)"
}

# What its caller names is not written to.
# shellcheck disable=SC2317
setuid_writes_nothing()
{
	rm -f "$scratch/stats"
	"${nobody[@]}" env PML_GC_STATS="$scratch/stats" "$scratch/setuid" --need --writes 10 &&
		[ ! -e "$scratch/stats" ]
}

# A program that is the first process of a pid namespace, with children that are the
# first of theirs: all have the process id 1.
readonly namespace=(unshare --pid --fork --kill-child --mount-proc)
# shellcheck disable=SC2317
same_id()
{
	env GC_FULL_FREQUENCY=1000 timeout "${PML_BOEHM_LIMIT:-100}" "${namespace[@]}" \
		"$oracle" --need --namespaces --forks 2 "$@"
}

# What libgc does by itself is not disturbed, and the variable that asks for
# incremental collection is not handed on.
# shellcheck disable=SC2317
environment_is_clean()
{
	local got

	got=$("$oracle" --chains 10 --writes 10 --environment)
	echo "$got"
	[[ $got == *"GC_ENABLE_INCREMENTAL is not set"* ]]
}

# Chains so long that marking overflows its stack: libgc begins it anew, in the same stop.
# shellcheck disable=SC2317
long_chains()
{
	local got

	got=$("$oracle" --need --chains 4 --length 20000 --writes 10000 "$@")
	echo "$got"
	[[ $got == *"bypassed 0"* ]]
}

# libgc then marks on while the world runs, and begins anew there.
# shellcheck disable=SC2317
abandoned()
{
	GC_PAUSE_TIME_TARGET=1 "$@"
}

# bypassed_is_counted: the hook is replaced after the oracle's first collections.
# shellcheck disable=SC2317
bypassed_is_counted()
{
	local got

	got=$("$oracle" --need --replace "$@")
	echo "$got"
	[[ $got == *"bypassed "[1-9]* ]]
}

"$oracle" --need --chains 10 --writes 10 --quiet ||
	tap_skip_all "no back-end of libpml works here"
tap_run "all descriptors closed, others in their place" "$oracle" --close-all --huge
tap_run "the same with threads" "$oracle" --close-all --threads 4
tap_run "the files that are opened then stay open" leaves_files --close-all
tap_run "... also with a back-end that has a thread" \
	with_thread leaves_files --close-all
tap_run "all descriptors closed but a userfaultfd" "$oracle" --need --close-some
tap_run "all closed, and a forked child that does nothing lives on" \
	timeout "${PML_BOEHM_LIMIT:-100}" "$oracle" --need --close-all --bystander
tap_run "... also with a back-end that has a thread" \
	with_thread timeout "${PML_BOEHM_LIMIT:-100}" "$oracle" --close-all --bystander
tap_run "all closed once, while a thread opens and closes others" \
	"$oracle" --need --files --writes 600000
tap_run "forked children collect by themselves" "$oracle" --forks 3 --threads 2
tap_run "forked children after all descriptors were closed" "$oracle" --forks 2 --close-all
tap_run "forked children that exec begin anew" "$oracle" --need --forks 3 --exec --threads 2
if "${namespace[@]}" true 2>/dev/null; then
	tap_run "forked children with the process id of their parent" same_id
	tap_run "the same with threads" same_id --threads 2
else
	tap_skip "it takes root and pid namespaces" \
		"forked children with the process id of their parent"
fi
tap_run "another event hook is set later, and calls nobody" "$oracle" --replace --huge
tap_run "the same with threads and children" "$oracle" --replace --threads 3 --forks 1
tap_run "... and the statistics count the stops" bypassed_is_counted
tap_run "the heap is unmapped and mapped again" \
	env GC_UNMAP_THRESHOLD=1 "$oracle" --unmap --huge
tap_run "GC_disable() and GC_enable()" "$oracle" --toggle
tap_run "some of the heap is read-only while it is collected" \
	env GC_FULL_FREQUENCY=1000 "$oracle" --need --read-only
tap_run "the same with threads and children" \
	env GC_FULL_FREQUENCY=1000 "$oracle" --read-only --threads 3 --forks 1
tap_run "six threads collect, stops are abandoned" \
	env GC_PAUSE_TIME_TARGET=1 GC_FULL_FREQUENCY=1000 "$oracle" --threads 6 --writes 100000
tap_run "the permission for dirty bits by hand is withdrawn before GC_INIT" "$oracle" --withdraw
tap_run "... and the statistics say that libpml gives no dirty pages" \
	stats_have "enabled 0" "$oracle" --withdraw
tap_run "descriptors are lost, and the statistics say that it goes on" \
	stats_have "enabled 1" "$oracle" --need --close-all
tap_run "collections leave errno as it was" "$oracle" --keep-errno --close-all
if [ "$("$oracle" --direct --chains 10 --writes 10 >/dev/null; echo $?)" -eq 77 ]; then
	tap_skip "no file can be opened for direct I/O here" "direct I/O is in the statistics"
else
	tap_run "direct I/O is in the statistics" direct_io
fi
tap_run "without it there is nothing of it" stats_have "doubted 0" "$oracle" --need
if can_be_setuid >/dev/null 2>&1; then
	tap_run "a setuid program writes no statistics where its caller says" setuid_writes_nothing
else
	tap_skip "it takes root, setpriv and a file system with setuid" \
		"a setuid program writes no statistics where its caller says"
fi
tap_run "the environment is lost before GC_INIT, and libgc asked after it" "$oracle" --late
tap_run "marking overflows its stack" long_chains
tap_run "the same after stops that were abandoned" abandoned long_chains
tap_run "no back-end of that name: refused in words" \
	refused env PML_BACKEND=nonsense "$oracle" --chains 10 --writes 10
tap_run "... and the program runs with libgc alone" env PML_BACKEND=nonsense "$oracle"
if can_be_forbidden; then
	tap_run "no permission for the back-end: refused in words" refused \
		env PML_BACKEND=uffd-sync "${without[@]}" "$oracle" --chains 10 --writes 10
	tap_run "... and the program runs with libgc alone" \
		env PML_BACKEND=uffd-sync "${without[@]}" "$oracle"
else
	tap_skip "it takes root, setpriv and vm.unprivileged_userfaultfd=0" \
		"no permission for the back-end: refused in words"
fi
tap_run "no descriptor to be had: refused in words" \
	refused few_descriptors
tap_run "descriptors run out later: no object is lost" "$oracle" --forks 1 --no-descriptors
tap_run "they run out for a hundred collections, and tracking goes on when they are back" \
	"$oracle" --need --run-out --chains 1000
tap_run "GC_DISABLE_INCREMENTAL is respected" env GC_DISABLE_INCREMENTAL=1 "$oracle"
tap_run "the environment is as it was" environment_is_clean
tap_done
