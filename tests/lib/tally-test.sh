#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The counter of test results, fed with what CTest prints: a failure, a crash, a
# broken plan and a time-out must never be counted as good.  Run by CTest.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lib/tap.sh
. "$here/tap.sh"

# expect NAME FACTS: what the counter makes of the CTest output on stdin.
expect()
{
	local got

	got=$(awk -v suite=s -f "$here/../../scripts/lib/tally.awk")
	if [ "$got" = "$2" ]; then
		tap_ok 0 "$1"
	else
		tap_ok 1 "$1"
		tap_note "got: $got"
	fi
}

expect "single TAP tests are counted, not programs" "pass 2" <<'X'
1: ok 1 - a
1: ok 2 - b
1: 1..2
1/1 Test #1: t ......   Passed    0.01 sec
X
expect "a program without TAP counts once" "pass 1" <<'X'
1: hello
1/1 Test #1: t ......   Passed    0.01 sec
X
expect "a failed TAP test is a failure, and named" "fail s: t: b
pass 1" <<'X'
1: ok 1 - a
1: not ok 2 - b
1: 1..2
1/1 Test #1: t ......***Failed    0.01 sec
X
expect "a failed TAP test counts even if the exit code is 0" "fail s: t: b
pass 0" <<'X'
1: not ok 1 - b
1: 1..1
1/1 Test #1: t ......   Passed    0.01 sec
X
expect "a crash after good TAP lines is a failure" "fail s: t: exit code says failure
pass 1" <<'X'
1: ok 1 - a
1/1 Test #1: t ......***Exception: SegFault  0.01 sec
X
expect "what a guest's kernel logs is told beside what failed there" "fail s: t: b
fail s: t: the guest's kernel: [    9.1] Oops: int3: 0000
pass 0" <<'X'
1: not ok 1 - b
1: 1..1
1: vm: the kernel's log has:
1: [    9.1] Oops: int3: 0000
1: [    9.2] Kernel panic
1/1 Test #1: t ......***Failed    0.01 sec
X
expect "... and alone where nothing else failed, and not where it is a test's own" "fail s: t: the guest's kernel: [    9.1] WARNING: x
pass 2" <<'X'
1: ok 1 - b
1: 1..1
1: vm: the kernel's log has:
1: [    9.1] WARNING: x
1/2 Test #1: t ......***Failed    0.01 sec
2: ok 1 - b
2: 1..1
2: vm: the kernel's log has:
2: [    9.1] WARNING: y
2/2 Test #2: u ......   Passed    0.01 sec
X
expect "a plan that was not fulfilled is a failure" "fail s: t: planned 3 tests, ran 1
pass 1" <<'X'
1: 1..3
1: ok - a
1/1 Test #1: t ......   Passed    0.01 sec
X
expect "a time-out is a failure" "fail s: t: timeout
pass 0" <<'X'
1/1 Test #1: t ......***Timeout   9.01 sec
X
expect "a program that is not there is a failure" "fail s: t: not run
pass 0" <<'X'
1/1 Test #1: t ......***Not Run   0.00 sec
X
expect "a failure is told with the remarks before it" "fail s: t: b (page 7 lost; the second)
pass 1" <<'X'
1: # of another test
1: ok 1 - a
1: # page 7 lost
2: # of another program
1: # the second
1: not ok 2 - b
1: # of what comes next
1: 1..2
1/1 Test #1: t ......***Failed    0.01 sec
X
expect "... or else with the one after it" "fail s: t: b (got: 3)
pass 1" <<'X'
1: ok 1 - a
1: not ok 2 - b
1: # got: 3
1: # and more
1: 1..2
1/1 Test #1: t ......***Failed    0.01 sec
X
expect "a skip keeps its reason" "skip s: t: x # SKIP no swap
pass 1" <<'X'
1: ok 1 - x # SKIP no swap
1: ok 2 - y
1: 1..2
1/1 Test #1: t ......   Passed    0.01 sec
X
expect "a whole program skipped keeps its reason" "skip s: t: SKIP no kernel
pass 0" <<'X'
1: 1..0 # SKIP no kernel
1/1 Test #1: t ......***Skipped   0.01 sec
X
expect "programs that run side by side are kept apart" "fail s: t: y
pass 1" <<'X'
1: not ok 1 - y
2: ok 1 - x
1: 1..1
1/2 Test #1: t ......***Failed    0.01 sec
2: 1..1
2/2 Test #2: u ......   Passed    0.01 sec
X
tap_done
