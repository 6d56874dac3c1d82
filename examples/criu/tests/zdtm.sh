# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# shellcheck disable=SC2154 # the variables are chain.sh's
# CRIU's own memory tests through the plugin: three pre-dumps, a dump, a restore, and the
# test says whether it is what it was.  They are in the folder PML_ZDTM, test/zdtm of what
# patches/get has built, and any criu will do.  Sourced by chain.sh.

# zdtm_up FOLDER NAME: it runs, and its number is $root.
zdtm_up()
{
	local options=() within=() file=$images/$2

	# as CRIU's own suite starts them
	case $2 in
	maps00) options=("--filename=$file.test") ;;
	shm) within=(unshare --ipc) ;;
	esac
	(cd "$images" && bare "${within[@]}" "$1/$2" --pidfile="$file.pid" --outfile="$file.out" \
		"${options[@]}")
	root=$(cat "$file.pid") || complain "it did not start: $(cat "$file.out"*)"
}

zdtm_ended()
{
	! kill -0 "$root" 2>/dev/null
}

# Something of it has to be left to the parent, or nothing was tried.
zdtm_chain()
{
	local n

	begin
	zdtm_up "$@" || return
	one_round 1 0 pre-dump || return
	for n in 2 3; do
		sleep 0.2
		one_round "$n" $((n - 1)) pre-dump || return
		says_not "$n" "all of it is written" || return
	done
	[ "$(left 3)" -gt 0 ] || complain "nothing was left to the parent" || return
	one_round 4 3 dump || return
	restore 4 || return
	kill -TERM "$root" || return
	wait_for "its end" zdtm_ended || return
	root=''
	# who has given up root's rights cannot give the file its last name
	grep -q PASS "$images/$2.out"* || complain "$(cat "$images/$2.out"*)"
}

# Who may not read the limits of another user's process cannot dump it.
may_read_limits()
{
	local rights

	rights=$(sed -n 's/^CapEff:[[:space:]]*/0x/p' /proc/self/status)
	((rights >> 24 & 1))
}

# why_not TEST: the reason, if that test cannot pass here, plugin or not.
why_not()
{
	case $1 in
	mlock_setuid) may_read_limits || echo "CAP_SYS_RESOURCE is missing here" ;;
	maps02)
		! grep -Eq 'Version: ([0-3]\.|4\.[01](\.|$))' <<<"$("$criu" --version)" ||
			echo "criu before 4.2 does not restore MADV_WIPEONFORK"
		;;
	esac
}

# zdtm BACKEND
plan_zdtm()
{
	local folder=${PML_ZDTM:?no folder with the tests of CRIU} file why

	for file in "$folder"/static/* "$folder"/transition/*; do
		why=$(why_not "${file##*/}")
		if [ -n "$why" ]; then
			tap_skip "$why" "$1: CRIU's test ${file##*/zdtm/}"
			continue
		fi
		with_keeper "$1" "$1: CRIU's test ${file##*/zdtm/}, three pre-dumps: as it was" \
			zdtm_chain "${file%/*}" "${file##*/}"
	done
}
