# SPDX-License-Identifier: MIT
# TAP for test programs in bash; sourced.  End with tap_done.
# shellcheck shell=bash

tap_ran=0
tap_failed=0
tap_skipped=0

# tap_ok STATUS NAME: one test, good if STATUS is 0.
tap_ok()
{
	tap_ran=$((tap_ran + 1))
	if [ "$1" -eq 0 ]; then
		printf 'ok %d - %s\n' "$tap_ran" "$2"
	else
		printf 'not ok %d - %s\n' "$tap_ran" "$2"
		tap_failed=$((tap_failed + 1))
	fi
}

# tap_run NAME CMD ARG...: one test, good if CMD succeeds; its output as remarks
# if it fails.
tap_run()
{
	local name=$1 out status=0

	shift
	out=$("$@" 2>&1) || status=$?
	tap_ok "$status" "$name"
	[ "$status" -eq 0 ] || tap_note "$out"
}

# tap_skip REASON NAME
tap_skip()
{
	tap_ran=$((tap_ran + 1))
	tap_skipped=$((tap_skipped + 1))
	printf 'ok %d - %s # SKIP %s\n' "$tap_ran" "$2" "$1"
}

tap_note()
{
	printf '%s\n' "$*" | sed 's/^/# /'
}

# tap_skip_all REASON: nothing of this program can run here.
tap_skip_all()
{
	printf '1..0 # SKIP %s\n' "$1"
	exit 77
}

# tap_done: the plan; exits 0, 1, or 77 if all was skipped.
tap_done()
{
	printf '1..%d\n' "$tap_ran"
	[ "$tap_failed" -eq 0 ] || exit 1
	[ "$tap_ran" -eq 0 ] || [ "$tap_ran" -ne "$tap_skipped" ] || exit 77
	exit 0
}

# tap_add CMD ARG...: the tests of a program that prints TAP, numbered anew; one
# that failed without a word, or was skipped as a whole, is a test itself.
tap_add()
{
	local out status=0 line bad=0 before=$tap_ran

	out=$(mktemp)
	"$@" >"$out" || status=$?
	while IFS= read -r line; do
		case $line in
		"ok "*"# SKIP "*) tap_skip "${line##*\# SKIP }" "$(tap_name "${line%% \# SKIP *}")" ;;
		"ok "*) tap_ok 0 "$(tap_name "$line")" ;;
		"not ok "*)
			bad=1
			tap_ok 1 "$(tap_name "$line")"
			;;
		"1..0"*) tap_skip "${line##*SKIP }" "${1##*/} ${*:2}" ;;
		"#"*) printf '%s\n' "$line" ;;
		esac
	done <"$out"
	rm -f "$out"
	case $status:$bad in
	77:0) [ "$tap_ran" -gt "$before" ] || tap_skip "status 77" "${1##*/} ${*:2}" ;;
	0:0 | 1:1) ;;
	*) tap_ok 1 "${1##*/} ${*:2} ends with status $status" ;;
	esac
}

tap_name()
{
	local line=${1#not }

	line=${line#ok }
	printf '%s' "${line#* - }"
}
