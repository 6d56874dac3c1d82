# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# shellcheck disable=SC2154 # the variables are chain.sh's
# Chains in which the keeper, or criu, is killed at a random moment of a round.  What is
# restored in the end is right.  Sourced by chain.sh.

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

# It answers, or it does not: 30 s are enough for one that lives.
answers()
{
	local i

	signals=$((signals + 1))
	kill -USR2 -- "-$root" 2>/dev/null || return
	for ((i = 0; i < 300; i++)); do
		obeyed && return
		sleep 0.1
	done
	return 1
}

# Where criu was, by the last line of its log.
last_words()
{
	tail -n 1 "$images/2/log" 2>/dev/null |
		sed 's/^([0-9.]*) *//; s/0x[0-9a-f]*/N/g; s/[0-9][0-9]*/N/g'
}

# The process that does not answer: dead, and of which signal, or mute.
how_it_is()
{
	local status=0

	if [ -e "/proc/$root" ] && ! grep -q '^State:.Z' "/proc/$root/status"; then
		echo "mute"
		return
	fi
	wait "$root" 2>/dev/null || status=$?
	echo "dead of SIG$(kill -l "$status")"
}

# criu is killed in a round.  It has the process's registers and code in its hands at
# times, and who is left so dies: that is counted, and not an error of ours (docs/criu.md).
# If the process lives, the chain goes on with the parent it had.
killed_criu()
{
	local line took pid status=0

	subject_up 1 2 2000 || return
	time_of_a_round 1 0 "$@" || return
	signal_all USR2 || return
	criu_line 2 "$parent" "$@"
	"${line[@]}" &
	pid=$!
	sleep_somewhere
	kill -KILL "$pid"
	wait "$pid" 2>/dev/null || status=$?
	if ! answers; then
		echo "$(how_it_is), the last words: $(last_words)" >>"$work/dead"
		subject_down
		return
	fi
	[ "$status" -ne 137 ] || killed=$((killed + 1))
	[ "$parent" = 0 ] || to_the_end || return
	[ -z "$root" ] || subject_down
}

plan_criu_kills()
{
	local backend=$1 n=$2 parent=1 killed=0 failed=0 i why

	shift 2
	mkdir "$work/none"
	: >"$work/dead"
	# soft-dirty is not what is tried here, and this kernel may have none
	# shellcheck disable=SC2034 # chain.sh's
	[ "$backend" != none ] || { plugin=$work/none parent=0 track=(); }
	for ((i = 1; i <= n; i++)); do
		if [ "$backend" != none ] && ! why=$(keeper_up "$backend"); then
			tap_skip "$why" "$backend: criu is killed"
			return
		fi
		killed_criu "$@" >"$work/why" 2>&1 && continue
		failed=$((failed + 1))
		tap_note "$(cat "$work/why")"
		[ -z "$root" ] || subject_down
	done
	tap_ok "$failed" "$backend, $1: criu is killed, $n times: what lives on is restored right"
	tap_note "$backend, $*: killed before its end, the process living on: $killed;" \
		"dead or mute: $(wc -l <"$work/dead"), criu's last words:"
	tap_note "$(sort "$work/dead" | uniq -c)"
}
