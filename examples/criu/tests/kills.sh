# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# shellcheck disable=SC2154 # the variables are chain.sh's
# Chains in which the keeper is killed at a random moment of a round.  The process
# lives, and what is restored in the end is right.  Sourced by chain.sh.

# How long a round takes here, in us: a first one, with all of the memory.
time_of_a_round()
{
	local began=${EPOCHREALTIME/[.,]/}

	one_round "$@" || return
	took=$((${EPOCHREALTIME/[.,]/} - began))
}

# Somewhere in a round, its end included.
sleep_somewhere()
{
	local us=$((took * RANDOM / 30000))

	sleep "$((us / 1000000)).$(printf %06d $((us % 1000000)))"
}

# The chain goes on to its end, from round 1 and round 2 if that ended well.
to_the_end()
{
	local parent=1

	[ ! -f "$images/2/pml-criu.note" ] || parent=2
	signal_all USR2 || return
	one_round 3 "$parent" pre-dump || return
	signal_all USR2 || return
	one_round 4 3 dump || return
	restore 4 || return
	subject_good || return
	subject_down
}

# Without its keeper the round ends well all the same.
killed_keeper()
{
	local line took pid

	subject_up 1 2 2000 || return
	time_of_a_round 1 0 pre-dump || return
	signal_all USR2 || return
	criu_line 2 1 pre-dump
	"${line[@]}" &
	pid=$!
	sleep_somewhere
	pkill -KILL -x pml-criu
	wait "$pid" || complain "the round failed: $(grep Error "$images/2/log")" || return
	wait_for "the keeper's end" no_keeper || return
	"$keeper" start --backend "$1" || return
	to_the_end
}
