#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Inside a guest, with a pml.ko that was built with the ways to break it: whoever
# relies on what is broken must notice.  Called by tests/ptscan/CMakeLists.txt by
# way of tests/kmod/guest.
#
#   broken.sh BUILD
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/lib/tap.sh
. "$here/../lib/tap.sh"

build=$1
break=/sys/module/pml/parameters/test_break
[[ -w $break ]] || tap_skip_all "this pml.ko cannot be broken on purpose"

# broken HOW SUITE-ARG...: numbers as in guest-kmod/track.h.
broken()
{
	echo "$1" >"$break"
	tap_add "$build/tests/backends/suite" --backend ptscan --negative "${@:2}"
	echo 0 >"$break"
}

# Without the flush a processor goes on writing by what it remembers: the library
# finds out by trying, or, where that is too early, the suite does.
echo 1 >"$break"
"$build/tools/pml/pml" info >/tmp/info
echo 0 >"$break"
tap_ok "$(grep -q 'ptscan.*misses a page' /tmp/info && echo 0 || echo 1)" \
	"broken on purpose, no flush: pml info says that it was tried, and misses pages"
broken 8 --group exact --name "anon, 1 thread"
broken 8 --outside --group exact --name "anon, 4 threads"
echo 8 >"$break"
"$build/tests/ptscan/test-references" 40 >/tmp/tap
echo 0 >"$break"
tap_ok "$(grep -q '^not ok .* [1-9][0-9]* missed' /tmp/tap && echo 0 || echo 1)" \
	"broken on purpose, no flush: what was read is missed, too"
# Without the notifier a page that was dropped is not missed.
broken 2 --group rules --name "MADV_DONTNEED, private file"
# What is taken away while the tables are read: the mark of it overlooked.
broken 4096 --group race --name "written back" --collects 600
# ... or used up before the kernel has done what was announced; writeback lingers.
echo $((8192 + 16384)) >"$break"
"$build/tests/ptscan/test-writeback" >/tmp/tap
echo 16384 >"$break"
tap_ok "$(grep -q '^not ok' /tmp/tap && echo 0 || echo 1)" \
	"broken on purpose, a mark that is used up early: a write is missed"
tap_add "$build/tests/ptscan/test-writeback"
echo 0 >"$break"
# Without the fan-out the one steals from the other.
echo 4 >"$break"
"$build/tests/ptscan/test-ptscan" 8 >/tmp/tap
echo 0 >"$break"
tap_ok "$(grep -q '^not ok .*do not steal' /tmp/tap && echo 0 || echo 1)" \
	"broken on purpose, no fan-out: two trackers steal from one another"
# And whole again, all is well.
tap_add "$build/tests/ptscan/test-ptscan" 8
tap_add "$build/tests/ptscan/test-references" 8
tap_add "$build/tests/backends/suite" --backend ptscan --group exact --name "anon, 1 thread"
# A processor that has not heard of it yet writes to a page that was swapped out.
"$here/../kmod/pressure.sh"
echo $((16384 + 32768)) >"$break"
"$build/tests/ptscan/test-pageout" ptscan 6 >/tmp/tap
echo 16384 >"$break"
tap_ok "$(grep -q '^not ok' /tmp/tap && echo 0 || echo 1)" \
	"broken on purpose, no flush where a mark is used up: a write is missed"
tap_add "$build/tests/ptscan/test-pageout" ptscan 6
echo 0 >"$break"
tap_done
