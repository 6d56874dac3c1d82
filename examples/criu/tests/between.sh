# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # the variables are chain.sh's
# Chains between whose rounds something happens to the processes, or that are given the
# wrong parent.  What is restored is right, and the log says why a round was a full one.
# Sourced by chain.sh.

# The chain from this round on, which has parent images and is not a full one.
on_from()
{
	signal_all USR2 || return
	one_round "$(($1 + 1))" "$1" pre-dump || return
	says_not "$(($1 + 1))" "all of it is written" || return
	[ "$(left "$(($1 + 1))")" -gt 0 ] || complain "nothing was left to the parent" || return
	signal_all USR2 || return
	one_round "$(($1 + 2))" "$(($1 + 1))" dump || return
	restore "$(($1 + 2))" || return
	subject_good || return
	subject_down
}

# full N WORDS: that round left nothing to its parent, and said why.
full()
{
	says "$1" "$2" || return
	[ "$(left "$1")" = 0 ] || complain "round $1 left pages to its parent"
}

# The same process, and other memory.  CRIU leaves the vdso to any parent, and after exec
# that lies elsewhere: then the parent is refused, and the chain begins anew.
exec_between()
{
	subject_up 1 2 1000 || return
	one_round 1 0 pre-dump || return
	rm "$answers"/*
	signals=0
	kill -HUP "$root" || return
	wait_for "the subject after its exec" enough 1 'up.*' || return
	if one_round 2 1 pre-dump >/dev/null; then
		full 2 "it has called exec since" || return
		on_from 2
		return
	fi
	says 2 "it has called exec since" || return
	says 2 "not found in parent" || return
	one_round 3 0 pre-dump || return
	on_from 3
}

is_zombie()
{
	grep -q '^State:.Z' "/proc/$1/status"
}

# One of three processes ends, and stays as a zombie of the tree.
exit_between()
{
	local child

	subject_up 3 1 1000 || return
	one_round 1 0 pre-dump || return
	one_round 2 1 pre-dump || return
	child=$(pgrep -n -P "$root") || return
	kill -KILL "$child" || return
	wait_for "its end" is_zombie "$child" || return
	workers=2
	on_from 2
}

# Images of a process that ended since; of one that still lives the like.
parent_of_another()
{
	local other

	subject_up 1 1 1000 || return
	one_round 1 0 pre-dump || return
	one_round 2 1 pre-dump || return
	other=$root
	mv "$images" "$work/another"
	subject_up 1 1 1000 || return
	mv "$work/another"/[12] "$images"
	rmdir "$work/another"
	one_round 3 2 pre-dump || return
	full 3 "it was not watched in the parent's round" || return
	kill -KILL "$other" || return
	one_round 4 1 pre-dump || return
	full 4 "the parent directory is not of a round that the keeper holds" || return
	on_from 4
}

# The first images are another process's by now, though two rounds have left pages to them.
older_reused()
{
	local chain

	subject_up 1 1 1000 || return
	one_round 1 0 pre-dump || return
	one_round 2 1 pre-dump || return
	one_round 3 2 pre-dump || return
	chain=$root
	mv "$images" "$work/another"
	subject_up 1 1 1000 || return
	rm -r "$work/another/1"
	mv "$work/another"/[23] "$images"
	rmdir "$work/another"
	one_round 1 0 pre-dump || return
	kill -KILL "$root" || return
	root=$chain signals=0
	rm "$answers"/*
	one_round 4 3 pre-dump || return
	full 4 "older images, in which pages of the parent lie, are not as they were" || return
	on_from 4
}

# A directory that is named as the parent and is not there: CRIU refuses it, and the
# chain goes on from the right one.
parent_missing()
{
	subject_up 1 1 1000 || return
	one_round 1 0 pre-dump || return
	one_round 2 nowhere pre-dump >/dev/null 2>&1 && { complain "it was taken"; return; }
	on_from 1
}
