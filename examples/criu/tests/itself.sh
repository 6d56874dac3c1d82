# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # the variables are chain.sh's
# A process that itself tracks by libpml is dumped and restored.  CRIU does not know its
# descriptors, and the plugin does; afterwards it is told to start anew.
# Sourced by chain.sh.

has_line()
{
	grep -q "^$1" "$answers/log"
}

# more_good N: so many good epochs since the line that was the last one.
more_good()
{
	[ "$(tail -n +"$2" "$answers/log" 2>/dev/null | grep -c '^good')" -ge "$1" ]
}

# tracks_itself BACKEND
tracks_itself()
{
	local line from

	begin
	bare "$build/examples/criu/tests/criu-self" "$1" "$answers/log" &
	root=$!
	wait_for "the first epochs" more_good 5 1 || return
	# criu by itself refuses, and the process goes on
	criu_line 1 0 dump
	line=("${line[@]/$plugin/$work/none}")
	! "${line[@]}" 2>/dev/null || complain "criu dumped it without the plugin" || return
	from=$(wc -l <"$answers/log")
	wait_for "epochs after criu refused" more_good 3 "$from" || return
	one_round 2 0 dump || return
	says 2 "it will have to start anew" || return
	from=$(($(wc -l <"$answers/log") + 1))
	# as does a restore without the plugin
	! restore 2 >/dev/null || complain "criu restored it without the plugin" || return
	restore 2 --libdir "$plugin" || return
	wait_for "epochs after the restore" more_good 5 "$from" || return
	has_line stale || complain "it was not told" || return
	has_line lost || complain "it was not told that something is lost" || return
	! has_line missed || complain "$(grep missed "$answers/log")" || return
	! has_line error || complain "$(grep error "$answers/log")" || return
	subject_down
}

# A userfaultfd that is not libpml's would be missed: criu refuses, as without the plugin.
foreign_userfaultfd()
{
	begin
	bare "$build/examples/criu/tests/criu-self" foreign "$answers/log" &
	root=$!
	wait_for "it" has_line good || return
	! one_round 1 0 dump >/dev/null || complain "criu dumped it" || return
	kill -0 "$root" || complain "it has ended" || return
	[ ! -e "$(echo "$images"/1/pml-tracker-*)" ] || complain "it was taken for libpml's" || return
	subject_down
}

# itself BACKEND...
plan_itself()
{
	local backend why

	with_keeper wp-async "another's userfaultfd is not taken for libpml's" foreign_userfaultfd
	for backend; do
		if ! why=$("$build/tools/pml/pml" dirty --backend "$backend" -n 1 -- true 2>&1 >/dev/null)
		then
			tap_skip "${why%%$'\n'*}" "$backend: a process that tracks itself"
			continue
		fi
		tap_run "$backend: a process that tracks itself: dump, restore, told to start anew" \
			tracks_itself "$backend"
	done
}
