#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The plugin and the keeper without criu: see stand_in.c.  Prints TAP.
#   stand-in.sh BUILD BACKEND [control]
#   stand-in.sh BUILD BACKEND by-itself   on a kernel without wp-async
# The tests are called by name.
# shellcheck disable=SC2317
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lib/tap.sh
. "$here/../../../tests/lib/tap.sh"
build=$1 backend=$2 plan=${3:-rounds}
keeper=$build/examples/criu/pml-criu
plugin=$build/examples/criu/plugin/libpml-criu.so
programs=$build/examples/criu/tests
work=$(mktemp -d)
export PML_CRIU_SOCKET=$work/socket
trap '"$keeper" stop 2>/dev/null; rm -rf "$work"' EXIT

# stand_in PROGRAM PLAN: its tests are ours.
stand_in()
{
	local line

	mkdir -p "$work/images"
	"$programs/$1" "$plugin" "$work/images" "$2" >"$work/tap" 2>"$work/err"
	[ $? -lt 2 ] || tap_ok 1 "$1 $2 ran"
	while read -r line; do
		case $line in
		"ok "*) tap_ok 0 "${line#* - }" ;;
		"not ok "*) tap_ok 1 "${line#* - }" ;;
		"#"*) echo "$line" ;;
		esac
	done <"$work/tap"
	rm -rf "$work/images"
}

# said WORDS: by the last stand-in.
said()
{
	cat "$work/tap" "$work/err" | grep -F "$1"
}

same_socket_twice()
{
	! "$keeper" start --backend "$backend" 2>"$work/err" && grep -q 'runs there already' "$work/err"
}

# A file that happens to be there is left alone.
file_is_no_socket()
{
	echo mine >"$work/file"
	! "$keeper" start --socket "$work/file" --backend "$backend" 2>"$work/err" &&
		grep "in use" "$work/err" && [ "$(cat "$work/file")" = mine ]
}

# A second keeper; its number is $!.
run_other()
{
	local i

	"$keeper" run --socket "$work/other" --backend "$backend" &
	for ((i = 0; i < 100; i++)); do
		"$keeper" status --socket "$work/other" >/dev/null 2>&1 && return
		sleep 0.1
	done
}

kill_other()
{
	kill -KILL $!
	wait $!
}

# The next one takes the place of one that was killed.
killed_leaves_socket()
{
	run_other
	kill_other
	[ -S "$work/other" ] && "$keeper" start --socket "$work/other" --backend "$backend" &&
		"$keeper" stop --socket "$work/other"
}

# The keeper itself goes elsewhere.
relative_socket()
{
	(cd "$work" && "$keeper" start --socket other --backend "$backend" &&
		"$keeper" stop --socket other && [ ! -e other ])
}

# Whose socket was removed, perhaps with all of the folder, leaves the next one's alone.
another_socket()
{
	run_other
	rm "$work/other"
	"$keeper" start --socket "$work/other" --backend "$backend" || return
	kill -TERM $!
	wait $!
	"$keeper" stop --socket "$work/other"
}

# Whoever starts it may have closed its standard files, as other daemons do.
without_standard_files()
{
	"$keeper" start --socket "$work/other" --backend "$backend" <&- >&- 2>&- || return
	"$keeper" stop --socket "$work/other" && return
	# deaf, and at work all the time
	pkill -KILL -f -- "--socket $work/other"
	rm -f "$work/other"
	return 1
}

# As many descriptors as it may have.
limit_is_raised()
{
	local limits

	ulimit -Sn 64
	run_other
	limits=$(cat "/proc/$!/limits")
	kill_other
	rm "$work/other"
	awk '/^Max open files/ { exit $4 != $5 }' <<<"$limits"
}

# A control group of its own, or words.
own_cgroup_or_words()
{
	local own=/sys/fs/cgroup/pml-criu there

	"$keeper" start --socket "$work/other" --backend "$backend" 2>"$work/err" || return
	there=$(grep -c . "$own/cgroup.procs" 2>/dev/null)
	"$keeper" stop --socket "$work/other"
	# with the other keeper
	[ "${there:-0}" -ge 2 ] || grep "^pml-criu: $own: not entered: .*; start the keeper" "$work/err"
}

# Nobody has accepted what the back-end does not see.
strict_by_itself()
{
	"$keeper" start 2>"$work/err" && grep "this may not see what others write" "$work/err" &&
		"$keeper" status | grep ', strict$'
}

without_wp_async()
{
	local why

	tap_run "no back-end is named: strict, said" strict_by_itself
	stand_in criu-stand-in strict
	"$keeper" stop
	if ! why=$("$keeper" start --backend "$backend" 2>&1); then
		tap_skip "$why" "$backend: the keeper"
		return
	fi
	stand_in criu-stand-in entries
}

# soft-dirty is criu's own, and a hash proves nothing of a process that runs.
useless_are_refused()
{
	local name

	for name in soft-dirty hash; do
		! "$keeper" start --socket "$work/other" --backend "$name" 2>"$work/err" || return
		grep "^pml-criu: $name: ." "$work/err" || return
	done
}

status_is_json()
{
	[ "$("$keeper" status --json | jq -r .backend)" = "$backend" ]
}

if [ "$plan" = by-itself ]; then
	without_wp_async
	tap_done
fi
if [ "$plan" = control ]; then
	export PML_TEST_CRIU_DROP=100
else
	stand_in criu-stranger refused
	tap_run "in words" said "cannot be served: criu_get_image_dir is not among"
	stand_in criu-other-way refused
	tap_run "in words" said "cannot be served: its writing to clear_refs"
	stand_in criu-stand-in without-keeper
	PML_CRIU_SOCKET=$work/newer stand_in criu-stand-in newer-keeper
fi
if [ "$(id -u)" != 0 ]; then
	tap_skip "the keeper needs the right to ptrace any process: be root" "$backend: the keeper"
	tap_done
fi
if ! why=$("$keeper" start --backend "$backend" 2>&1); then
	tap_skip "$why" "$backend: the keeper"
	tap_done
fi
stand_in criu-stand-in "$plan"
stand_in criu-hooked "$plan"
if [ "$plan" != control ]; then
	stand_in criu-stand-in exec
	for program in criu-stand-in criu-hooked; do
		stand_in "$program" markers
		stand_in "$program" entries
	done
	stand_in criu-stand-in cut
	stand_in criu-stand-in reused
	stand_in criu-stand-in newer-plugin
	PML_TEST_KEEPER=$keeper stand_in criu-stand-in status
	PML_TEST_KEEPER=$keeper stand_in criu-stand-in untracked
	tap_run "a second keeper at the same socket is refused, in words" same_socket_twice
	tap_run "a file in the socket's place is not removed" file_is_no_socket
	tap_run "the socket of a keeper that was killed is" killed_leaves_socket
	tap_run "a socket by a relative name is gone when the keeper is" relative_socket
	tap_run "a keeper that ends leaves another's socket alone" another_socket
	tap_run "started with its standard files closed it answers" without_standard_files
	tap_run "a soft limit of descriptors is raised" limit_is_raised
	tap_run "a control group of its own, or why not in words" own_cgroup_or_words
	tap_run "back-ends that are of no use are refused, in words" useless_are_refused
	tap_run "status as JSON" status_is_json
	tap_run "stop" "$keeper" stop
	tap_ok "$("$keeper" status 2>/dev/null && echo 1 || echo 0)" "then there is none"
fi
tap_done
