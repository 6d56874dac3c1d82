#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# criu itself with the plugin: chains of pre-dumps, a dump and a restore, judged by
# those that were restored.  In a guest, by tests/kmod/guest; prints TAP.
#
#   chain.sh BUILD fast                    each once, and what is refused
#   chain.sh BUILD hooked                  the same with a criu that has hooks, PML_CRIU
#   chain.sh BUILD chains BACKEND N FOLDER  N chains of several kinds; what has passed
#                                          is noted in FOLDER
#   chain.sh BUILD kills BACKEND N FOLDER   the keeper is killed somewhere in a round
#   chain.sh BUILD criu_kills BACKEND N pre-dump|dump [ARG]...
#                                          criu is; with "none", criu without the plugin
#   chain.sh BUILD between BACKEND         what happens between rounds
#   chain.sh BUILD zdtm BACKEND            CRIU's own memory tests
#   chain.sh BUILD itself BACKEND...       a process that itself uses libpml
#   chain.sh BUILD boehm BACKEND           a program on the Boehm collector, in mid-collection
#   chain.sh BUILD negative BACKEND...     one page in some is kept back, or a single one:
#                                          it is caught
#   chain.sh BUILD pages BACKEND           pages written, beside those that were
#
# The tests are called by name.
# shellcheck disable=SC2317
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lib/tap.sh
. "$here/../../../tests/lib/tap.sh"
# shellcheck source=examples/criu/tests/kills.sh
. "$here/kills.sh"
# shellcheck source=examples/criu/tests/between.sh
. "$here/between.sh"
# shellcheck source=examples/criu/tests/zdtm.sh
. "$here/zdtm.sh"
# shellcheck source=examples/criu/tests/itself.sh
. "$here/itself.sh"
# shellcheck source=examples/criu/tests/boehm.sh
. "$here/boehm.sh"

build=$1 plan=$2
shift 2
# another criu than the installed one, such as patches/get makes
criu=${PML_CRIU:-criu}
keeper=$build/examples/criu/pml-criu
plugin=$build/examples/criu/plugin
subject=$build/examples/criu/tests/criu-subject
oracle=$build/examples/boehm/programs/boehm-oracle
work=$(mktemp -d)
images=$work/images
answers=$work/answers
track=(--track-mem)
keys=20000
export PML_CRIU_SOCKET=$work/socket
trap 'end_all' EXIT
root=''

end_all()
{
	[ -z "$root" ] || kill -KILL -- "-$root" 2>/dev/null
	"$keeper" stop >/dev/null 2>&1
	rm -rf "$work"
}

complain()
{
	printf '%s\n' "$*"
	return 1
}

# wait_for WHAT CMD...: as long as it takes; the guest has a time limit.
wait_for()
{
	local what=$1 i

	shift
	for ((i = 0; i < 3000; i++)); do
		"$@" && return 0
		sleep 0.1
	done
	complain "waited in vain for $what"
}

# count PATTERN: files in the folder of answers.
count()
{
	find "$answers" -name "$1" ! -name '*.new' | wc -l
}

enough()
{
	[ "$(count "$2")" -ge "$1" ]
}

begin()
{
	rm -rf "$images" "$answers"
	mkdir -p "$images" "$answers"
}

# bare CMD...: becomes that command, in a session of its own and with nothing open but
# /dev/null: criu restores what it has open, and cannot find what came from elsewhere.
bare()
{
	local fd

	for fd in /proc/self/fd/*; do
		fd=${fd##*/}
		((fd < 3)) || eval "exec $fd>&-"
	done
	exec setsid "$@" </dev/null >/dev/null 2>&1
}

# subject PROCESSES THREADS PAGES [quiet]: up and running; its group is $root.
subject_up()
{
	workers=$(($1 * $2))
	signals=0
	begin
	bare "$subject" "$answers" "$@" &
	root=$!
	wait_for "the subject" enough "$1" 'up.*'
}

# One signal to all; returns when all have obeyed.
signal_all()
{
	signals=$((signals + 1))
	kill "-$1" -- "-$root" && wait_for "an answer" obeyed
}

obeyed()
{
	[ "$(cat "$answers"/done.* 2>/dev/null | grep -cx "$signals")" -ge "$workers" ]
}

subject_good()
{
	signal_all USR1 || return
	enough "$workers" '[0-9]*.[0-9]*' || return
	! grep -vx good "$answers"/[0-9]*.[0-9]*
}

subject_down()
{
	local was=$root

	kill -KILL -- "-$was" 2>/dev/null
	root=''
	wait_for "the subject's end" gone "$was"
}

gone()
{
	! kill -0 -- "-$1" 2>/dev/null
}

# criu_line N PARENT pre-dump|dump [ARG]...: sets `line` to criu's command line; PARENT 0
# is none.
criu_line()
{
	local n=$1 parent=$2 kind=$3

	shift 3
	mkdir -p "$images/$n"
	line=("$criu" "$kind" --tree "$root" --images-dir "$images/$n" --log-file log -v3
		"${track[@]}" --timeout 300 --libdir "$plugin")
	[ "$parent" = 0 ] || line+=(--prev-images-dir "../$parent")
	line+=("$@")
}

# one_round N PARENT pre-dump|dump [ARG]...
one_round()
{
	local line

	criu_line "$@"
	"${line[@]}" ||
		complain "criu $3: $(grep -E 'Error|pml:' "$images/$1/log" | tail -n 5)"
}

# says N WORDS: in the log of that round.
says()
{
	grep -qF "$2" "$images/$1/log" || complain "not said: $2: $(grep pml: "$images/$1/log")"
}

says_not()
{
	! grep -F "$2" "$images/$1/log"
}

# Pages that this round left to its parent, and pages that it wrote.  The vdso's, which
# criu leaves to every parent, are not counted: mappings of which all is left and which
# are no larger.
left()
{
	awk '/Pagemap generated: 0 .* [12] holes/ { next }
		/Pagemap generated:/ { n += $(NF - 1) } END { print n + 0 }' "$images/$1/log"
}

written()
{
	awk '/Pagemap generated:/ { sub(/.*generated: /, ""); n += $1 } END { print n + 0 }' \
		"$images/$1/log"
}

# restore N [ARG]...
restore()
{
	"$criu" restore --images-dir "$images/$1" --log-file restore.log -v3 --restore-detached \
		"${@:2}" ||
		complain "criu restore: $(grep Error "$images/$1/restore.log" | tail -n 5)"
}

# Three pre-dumps, a dump, a restore.  Of the upper half of the memory, a quarter was
# written before each round, and the rest is in the parent; in the first thread of each
# process at least, for the other's pages may be huge.
tree_chain()
{
	local n pages=3000 processes=2 least

	subject_up "$processes" 2 "$pages" || return
	least=$((processes * pages * 3 / 8))
	one_round 1 0 pre-dump || return
	for n in 2 3; do
		signal_all USR2 || return
		one_round "$n" $((n - 1)) pre-dump || return
		says_not "$n" "all of it is written" || return
		[ "$(left "$n")" -ge "$least" ] ||
			complain "round $n left $(left "$n") pages to its parent: fewer than $least" ||
			return
	done
	signal_all USR2 || return
	one_round 4 3 dump || return
	restore 4 || return
	subject_good || return
	subject_down
}

redis()
{
	redis-cli -p 6399 "$@"
}

redis_up()
{
	begin
	(cd "$work" && bare redis-server --port 6399 --save '' --appendonly no \
		--enable-debug-command local --logfile "$work/redis.log") &
	wait_for Redis redis_answers || return
	root=$(redis info server | tr -d '\r' | sed -n 's/^process_id://p')
}

redis_answers()
{
	[ "$(redis ping 2>/dev/null)" = PONG ]
}

# redis_write FROM TO ROUND: known values.
redis_write()
{
	seq "$1" "$2" | sed "s/.*/SET key:& &:$3:xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx/" |
		redis --pipe >/dev/null
}

# Every key, as Redis itself sums them up.
redis_digest()
{
	redis debug digest
}

redis_chain()
{
	local before

	redis_up || return
	redis_write 1 "$keys" 1 || return
	one_round 1 0 pre-dump || return
	redis_write 1 $((keys / 20)) 2 || return
	one_round 2 1 pre-dump || return
	redis_write $((keys / 3)) $((keys / 2)) 3 || return
	one_round 3 2 pre-dump || return
	redis_write $((keys - keys / 20)) $((keys + keys / 20)) 4 || return
	before=$(redis_digest)
	[ "$(redis dbsize)" = $((keys + keys / 20)) ] || complain "keys are missing" || return
	one_round 4 3 dump || return
	[ "$(left 4)" -gt 0 ] || complain "nothing was left to the parent" || return
	restore 4 || return
	wait_for Redis redis_answers || return
	[ "$(redis_digest)" = "$before" ] || complain "the keys are not what they were" || return
	[ "$(redis get key:1)" = "1:2:xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" ] || return
	subject_down
}

# What makes a round a full one; the chain goes on and is right.
broken_chains()
{
	subject_up 1 2 1000 || return
	one_round 1 0 pre-dump && says 1 "there is no parent directory" || return
	one_round 2 1 pre-dump && says_not 2 "full one" || return
	# the keeper is killed
	kill -KILL "$(pgrep -x pml-criu)"
	wait_for "the keeper's end" no_keeper || return
	one_round 3 2 pre-dump && says 3 "no keeper" && says 3 "this round is a full one" || return
	[ "$(left 3)" = 0 ] || complain "pages were left to the parent without a keeper" || return
	"$keeper" start --backend "$1" || return
	one_round 4 3 pre-dump && says 4 "no round of this plugin that ended well" || return
	one_round 5 4 pre-dump && says_not 5 "all of it is written" || return
	# an older parent than the last
	one_round 6 4 pre-dump && says_not 6 "all of it is written" || return
	[ "$(left 6)" -gt 0 ] || complain "nothing left to a parent that is still held" || return
	one_round 7 5 pre-dump && says 7 "not of a round that the keeper holds" || return
	[ "$(left 7)" = 0 ] || complain "pages were left to a parent of which nothing is known" ||
		return
	# an image that was cut short
	one_round 8 7 pre-dump || return
	truncate -s -4096 "$(find "$images/8" -name 'pages-*.img' -size +8k | head -n 1)"
	one_round 9 8 pre-dump && says 9 "the parent is incomplete" || return
	[ "$(left 9)" = 0 ] || complain "pages were left to a damaged parent" || return
	one_round 10 9 dump || return
	rm -rf "$images/8"
	restore 10 || return
	subject_good || return
	subject_down
}

no_keeper()
{
	! pgrep -x pml-criu >/dev/null
}

# A round that fails, by a full disk, loses nothing.
failed_rounds()
{
	subject_up 1 1 2000 || return
	one_round 1 0 pre-dump || return
	signal_all USR2 || return
	mkdir -p "$images/small"
	mount -t tmpfs -o size=64k none "$images/small" || return
	ln -s ../1 "$images/small/parent"
	one_round small 1 pre-dump >/dev/null && { complain "the disk was not full"; return; }
	[ ! -f "$images/small/pml-criu.note" ] || complain "a failed round has a note" || return
	umount "$images/small"
	signal_all USR2 || return
	one_round 2 1 pre-dump && says_not 2 "all of it is written" || return
	[ "$(left 2)" -ge $((2000 / 2 / 2)) ] || complain "only $(left 2) pages left" || return
	one_round 3 2 dump || return
	restore 3 || return
	subject_good || return
	subject_down
}

# Restored, it is another process: all is dirty, whatever the number.
after_restore()
{
	subject_up 1 1 1000 || return
	one_round 1 0 pre-dump || return
	one_round 2 1 dump || return
	restore 2 || return
	# of the same number and, for criu, after the parent: it takes all of it
	one_round 3 2 pre-dump || return
	[ "$(left 3)" = 0 ] || complain "a restored process left pages to its parent" || return
	signal_all USR2 || return
	one_round 4 3 dump && says_not 4 "all of it is written" || return
	restore 4 || return
	subject_good || return
	subject_down
}

# CRIU copies the pages after the process runs on, and by another call that pins them.
read_chain()
{
	subject_up 1 2 2000 || return
	one_round 1 0 pre-dump --pre-dump-mode read || return
	signal_all USR2 || return
	one_round 2 1 pre-dump --pre-dump-mode read || return
	signal_all USR2 || return
	one_round 3 2 dump || return
	restore 3 || return
	subject_good || return
	subject_down
}

# Whole dumps after which the process runs on, each the parent of the next.
running_chain()
{
	local n

	subject_up 1 2 2000 || return
	one_round 1 0 dump --leave-running || return
	for n in 2 3; do
		signal_all USR2 || return
		one_round "$n" $((n - 1)) dump --leave-running || return
		says_not "$n" "all of it is written" || return
		[ "$(left "$n")" -gt 0 ] || complain "nothing was left to the parent" || return
	done
	signal_all USR2 || return
	one_round 4 3 dump || return
	restore 4 || return
	subject_good || return
	subject_down
}

# A process that has never written to most of its memory, such as its threads' stacks.
# criu alone goes first, for what is watched stays so; and it may not be able to pre-dump.
sparse()
{
	local track=()

	subject_up 1 16 200 quiet || return
	plugin=$work one_round 1 0 dump --leave-running || return
	track=(--track-mem)
	one_round 2 0 pre-dump || return
	(($(written 2) * 100 <= $(written 1) * 102)) ||
		complain "$(written 2) pages written, by criu alone $(written 1)" || return
	one_round 3 2 dump || return
	restore 3 || return
	subject_good || return
	subject_down
}

# All of a tree is frozen at once: attached to are all of it, before that.
frozen_group()
{
	local group=/sys/fs/cgroup/criu-subject n pid

	subject_up 3 1 1000 || return
	mkdir -p "$group" || return
	for pid in $(pgrep -g "$root"); do
		echo "$pid" >"$group/cgroup.procs" || return
	done
	one_round 1 0 pre-dump --freeze-cgroup "$group" && says_not 1 "is not watched" || return
	for n in 2 3; do
		signal_all USR2 || return
		one_round "$n" $((n - 1)) pre-dump --freeze-cgroup "$group" || return
		says_not "$n" "is not watched" || return
		says_not "$n" "all of it is written" || return
		[ "$(left "$n")" -ge 1000 ] || complain "only $(left "$n") pages left" || return
	done
	one_round 4 3 dump --freeze-cgroup "$group" || return
	restore 4 || return
	subject_good || return
	subject_down
}

# keeper_up BACKEND: or why not, in words.
keeper_up()
{
	[ -z "$root" ] || kill -KILL -- "-$root" 2>/dev/null
	"$keeper" stop >/dev/null 2>&1
	"$keeper" start --backend "$1" 2>&1
}

# with_keeper BACKEND NAME CMD...: one test, on a keeper of its own.
with_keeper()
{
	local why

	if why=$(keeper_up "$1"); then
		tap_run "$2" "${@:3}"
	else
		tap_skip "$why" "$2"
	fi
}

# between BACKEND
plan_between()
{
	with_keeper "$1" "$1: exec between rounds: said, and right" exec_between
	with_keeper "$1" "$1: one of the tree ends between rounds" exit_between
	with_keeper "$1" "$1: another process's images as the parent: full, said, right" \
		parent_of_another
	with_keeper "$1" "$1: older images that are another process's by now: full, said, right" \
		older_reused
	with_keeper "$1" "$1: a parent that is not there is refused, and nothing is lost" \
		parent_missing
}

plan_fast()
{
	local backend

	for backend in wp-async ptscan; do
		with_keeper "$backend" "$backend: a tree: pre-dump x3, dump, restore: every word is right" \
			tree_chain
	done
	with_keeper wp-async "Redis: pre-dump x3, dump, restore: every key is right" redis_chain
	with_keeper wp-async "a sparse process: no more than criu writes alone" sparse
	with_keeper wp-async "--freeze-cgroup: a tree that is frozen at once" frozen_group
	with_keeper wp-async "a keeper that was killed, a parent that is none: full, said, right" \
		broken_chains wp-async
	with_keeper wp-async "a round that fails loses nothing" failed_rounds
	with_keeper wp-async "a restored process is another one" after_restore
	plan_between wp-async
	plan_itself wp-async ptscan
	plan_boehm wp-async boehm_pml_chain
	plan_boehm ptscan boehm_chain
}

# The test that comes with the patches, with a plugin of its own.
patches_own()
{
	cp -r "${criu%/criu/criu}" "$work/patched" &&
		timeout 600 "$work/patched/test/others/dirty-track/run.sh"
}

hooked_tree()
{
	tree_chain && says 1 "this criu has hooks for dirty pages"
}

plan_hooked()
{
	with_keeper wp-async "hooks, wp-async: a tree: pre-dump x3, dump, restore: right" \
		hooked_tree
	with_keeper ptscan "hooks, ptscan: the same" hooked_tree
	with_keeper wp-async "hooks: a sparse process: no more than criu writes alone" sparse
	with_keeper wp-async "hooks: a keeper that was killed, a parent that is none" \
		broken_chains wp-async
	tap_run "the test of the patches, with a plugin of its own" patches_own
	with_keeper wp-async "hooks: Redis: every key is right" redis_chain
	with_keeper wp-async "hooks: a round that fails loses nothing" failed_rounds
	plan_between wp-async
	plan_itself wp-async ptscan
	plan_boehm wp-async boehm_pml_chain
}

# many BACKEND N FOLDER KIND...: these kinds in turns; what has passed is noted.
many()
{
	local backend=$1 n=$2 folder=$3 i why failed kinds

	shift 3
	kinds=("$@")
	for ((i = 1; i <= n; i++)); do
		set -- "${kinds[i % ${#kinds[@]}]}"
		set -- "$1" "$folder/$backend.$1.$i"
		if [ -f "$2" ]; then
			tap_ok 0 "$backend: chain $i, $1"
			continue
		fi
		failed=$tap_failed
		if ! why=$(keeper_up "$backend"); then
			tap_skip "$why" "$backend: $n chains"
			return
		fi
		tap_run "$backend: chain $i, $1" "$1" "$backend"
		[ "$tap_failed" -ne "$failed" ] || touch "$2"
	done
}

plan_chains()
{
	local kinds=(tree_chain running_chain tree_chain read_chain redis_chain)

	keys=300000
	[ ! -x "$oracle" ] || kinds+=(boehm_chain boehm_pml_chain)
	many "$@" "${kinds[@]}"
}

plan_kills()
{
	many "$@" killed_keeper
}

# The dump's first collect keeps one page back, and nobody writes to it any more.
one_page_short()
{
	subject_up 1 1 2000 quiet || return
	one_round 1 0 pre-dump || return
	signal_all USR2 || return
	: >"$PML_TEST_CRIU_DROP_ONE"
	one_round 2 1 dump || return
	[ ! -e "$PML_TEST_CRIU_DROP_ONE" ] || complain "no page was kept back" || return
	restore 2 || return
	subject_good
}

# caught BACKEND NAME CHAIN: it fails, and by what is in a page.
caught()
{
	local why status=0

	if ! why=$(keeper_up "$1"); then
		tap_skip "$why" "$1: $2 is caught"
		return
	fi
	"$3" >"$work/negative" 2>&1 || status=$?
	tap_ok $((status == 0)) "$1: $2 is caught"
	tap_ok "$(grep -q 'not write' "$work/negative" && echo 0 || echo 1)" \
		"$1: and it is caught by its content"
	tap_note "$(cat "$work/negative")"
}

# The checks above are worth something: with pages kept back they fail.
# negative BACKEND...
plan_negative()
{
	local backend

	for backend; do
		PML_TEST_CRIU_DROP=200 caught "$backend" "a page of 200 kept back by the keeper" \
			tree_chain
		PML_TEST_CRIU_DROP_ONE=$work/one caught "$backend" "a single page kept back" \
			one_page_short
	done
}

faults()
{
	awk '{ print $10 }' "/proc/$root/stat"
}

# Pages written by a round, beside those that were, a quarter of the upper half of
# 100,000 pages; and page faults that the process took while it wrote to them.
pages_of()
{
	local dirty=12500 before after

	subject_up 1 1 100000 quiet || return
	# once without tracking, so that everything is there
	for _ in 1 2 3 4; do
		signal_all USR2 || return
	done
	one_round 1 0 pre-dump || return
	one_round 2 1 pre-dump || return
	before=$(faults)
	signal_all USR2 || return
	after=$(faults)
	one_round 3 2 pre-dump || return
	tap_note "$1: $dirty pages dirty, $(written 3) written, $((after - before)) faults;" \
		"without a write $(written 2) written"
	(($(written 3) >= dirty && $(written 3) * 100 <= dirty * 102)) ||
		complain "written $(written 3)" || return
	[ "$1" != ptscan ] || ((after - before < dirty / 100)) ||
		complain "faults: $((after - before))" || return
	subject_down
}

# "stock" is criu without the plugin.
plan_pages()
{
	local why name="$1: no page too few, at most 1.02 times those that were written"

	if [ "$1" = stock ]; then
		plugin=$work
	elif ! why=$(keeper_up "$1"); then
		tap_skip "$why" "$name"
		return
	fi
	pages_of "$1"
	tap_ok $? "$name"
	[ "$1" = stock ] || tap_run "$1: in a first round no more than criu alone" sparse
}

command -v "$criu" >/dev/null || tap_skip_all "there is no criu; see docs/guests.md"
[ "$(id -u)" = 0 ] || tap_skip_all "criu needs root"
"plan_$plan" "$@"
tap_done
