#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# `pml wss` in a guest of two memory nodes: what a program keeps on one node is told
# of that node, and of no other.
#   nodes-test.sh BUILD-DIR
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lib/tap.sh
. "$here/../lib/tap.sh"
readonly build=$1 pages=4096

# told NODE: the JSON lines of a program that writes on that node.
told()
{
	"$here/../vm/run" --kernel 6.12 --append numa=fake=2 --build "$build" -- \
		timeout -s INT 60 pml wss --json --backend wp-async -i 1 -n 4 -- \
		timeout 12 "$build/tests/wss/bound" "$1" "$pages"
}

lines=$(told 1) || true
# The first epochs hold the program's own start, and an epoch of a busy machine may
# end before the program has been round: the one with the most is looked at.
last=$(jq -sc '[.[] | select(.type == "wss")] | max_by(.nodes["1"] // 0)' <<<"$lines")
tap_note "$last"
jq -e '.nodes | keys == ["0", "1"]' <<<"$last" >/dev/null
tap_ok $? "both nodes are named"
jq -e --argjson bytes $((pages * 4096)) '.nodes["1"] >= $bytes' <<<"$last" >/dev/null
tap_ok $? "what is kept on node 1 is told of node 1"
jq -e --argjson bytes $((pages * 4096)) '.nodes["0"] < $bytes / 4' <<<"$last" >/dev/null
tap_ok $? "and not of node 0"
jq -e '.nodes["0"] + .nodes["1"] <= .wss_bytes' <<<"$last" >/dev/null
tap_ok $? "no page is told of twice"
tap_done
