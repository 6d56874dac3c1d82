# SPDX-License-Identifier: MIT
# Reads the output of `ctest --extra-verbose` and counts single TAP tests.
# Called by scripts/test.sh, which sets `suite`.  Prints one line per fact:
#   pass N
#   fail SUITE: TEST: what (why, from the remarks beside it)
#   skip SUITE: TEST: what # reason
# A test that printed no TAP counts once, by its exit code.  A test whose exit
# code says failure though all of its TAP lines are good is a failure too (it
# crashed, or ran out of time), and so is a plan that was not fulfilled, and what the
# kernel of a guest has logged, whatever failed beside it.

BEGIN { NEXT_LINE = "next line" }

function note_fail(what) { printf "fail %s: %s\n", suite, what; fails++ }

# Remarks belong to a failure that stand right before it, as the behaviour suite
# prints them, or right after it, as others do.
function remark(id, text)
{
	sub(/^# */, "", text)
	if (nbads[id] && after[id] && !why[id, nbads[id]])
		why[id, nbads[id]] = end_of(text)
	before[id] = end_of(before[id] (before[id] ? "; " : "") text)
}

# There may be thousands of remarks.
function end_of(text)
{
	return length(text) > 400 ? "..." substr(text, length(text) - 396) : text
}

function because(text) { return text ? " (" text ")" : "" }

function note_skip(what) { printf "skip %s: %s\n", suite, what }

# "12: text": output of test 12.
/^[0-9]+: / {
	id = $1; sub(/:$/, "", id)
	line = $0; sub(/^[0-9]+: /, "", line)
	if (line ~ /^1\.\.[0-9]+/) {
		plan = line; sub(/^1\.\./, "", plan)
		planned[id] += plan + 0; has_plan[id] = 1
		if (plan + 0 == 0 && line ~ /[Ss][Kk][Ii][Pp]/) {
			sub(/^[^#]*# */, "", line)
			whole_skip[id] = line
		}
	} else if (line ~ /^ok( |$)/) {
		seen[id]++
		before[id] = ""; after[id] = 0
		if (line ~ /# *[Ss][Kk][Ii][Pp]/) {
			sub(/^ok[ 0-9]*-? */, "", line)
			skips[id, ++nskips[id]] = line
		} else {
			good[id]++
		}
	} else if (line ~ /^not ok( |$)/) {
		seen[id]++
		sub(/^not ok[ 0-9]*-? */, "", line)
		bads[id, ++nbads[id]] = line
		why[id, nbads[id]] = before[id]
		before[id] = ""; after[id] = 1
	} else if (line ~ /^#/) {
		remark(id, line)
	} else if (line ~ /^[Ss]kip/) {
		said[id] = line
	} else if (kernel_log[id] == NEXT_LINE) {
		kernel_log[id] = line
	} else if (line ~ /^vm: the kernel's log has:/ && !kernel_log[id]) {
		kernel_log[id] = NEXT_LINE
	}
	next
}

# " 3/12 Test  #4: name .......   Passed    0.01 sec"
/^ *[0-9]+\/[0-9]+ Test +#[0-9]+: / {
	match($0, /#[0-9]+: /)
	id = substr($0, RSTART + 1, RLENGTH - 3)
	rest = substr($0, RSTART + RLENGTH)
	name = rest; sub(/ .*/, "", name)
	if (rest ~ /\*\*\*Skipped/) state = "skip"
	else if (rest ~ /[ .]Passed /) state = "pass"
	else if (rest ~ /\*\*\*Timeout/) state = "timeout"
	else if (rest ~ /Not Run/) state = "not run"
	else state = "fail"
	finish(id, name, state)
}

function finish(id, name, state,   i) {
	passes += good[id]
	for (i = 1; i <= nskips[id]; i++)
		note_skip(name ": " skips[id, i])
	for (i = 1; i <= nbads[id]; i++)
		note_fail(name ": " bads[id, i] because(why[id, i]))
	if (has_plan[id] && seen[id] != planned[id])
		note_fail(name ": planned " planned[id] " tests, ran " (seen[id] + 0))
	if (state != "pass" && kernel_log[id])
		note_fail(name ": the guest's kernel: " kernel_log[id])
	if (state == "timeout" || state == "not run")
		note_fail(name ": " state because(before[id]))
	else if (state == "fail" && !nbads[id] && !kernel_log[id])
		note_fail(name ": exit code says failure" because(before[id]))
	else if (state == "skip" && !seen[id])
		note_skip(name ": " (whole_skip[id] ? whole_skip[id] : said[id] ? said[id] : "no reason given"))
	else if (state == "pass" && !seen[id])
		passes++
}

END { printf "pass %d\n", passes }
