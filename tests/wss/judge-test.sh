#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# bench/wss/judge.py itself: it passes what is true, and catches what is not.
# Run by CTest.
# The tests are called by name.
# shellcheck disable=SC2317
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lib/tap.sh
. "$here/../lib/tap.sh"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# make_run PERCENT: two sizes, ten passes a second, and estimates of so many percent of
# what was touched; the epoch in which the size changes has half of each.
make_run()
{
	rm -rf "$scratch/run"
	mkdir -p "$scratch/run/stairs.read"
	echo test >"$scratch/run/kernel"
	touch "$scratch/run/stairs.read/go"
	awk 'BEGIN {
		for (i = 0; i < 100; i++)
			printf "%.6f %.6f %d 0\n", 10 + i / 10, 10 + i / 10 + 0.08, i < 55 ? 81920 : 40960
	}' >"$scratch/run/stairs.read/truth"
	awk -v percent="$1" 'BEGIN {
		for (i = 0; i < 10; i++)
			printf "{\"t\":%.3f,\"interval\":1.0,\"cost\":{\"collect_s\":0.0},\"wss_bytes\":%d," \
				"\"last_bytes\":0,\"forecast_bytes\":0,\"period\":0}\n", 11 + i,
				(i < 6 ? 81920 : 40960) * 4096 * percent / 100
	}' >"$scratch/run/stairs.read/pml"
	cp "$scratch/run/stairs.read/pml" "$scratch/run/stairs.read/committed"
}

judge()
{
	python3 "$here/../../bench/wss/judge.py" "$scratch/run"
}

passes_what_is_true()
{
	make_run 100 && grep -q "pml .* 10 epochs, *0 off" <<<"$(judge)"
}

allows_one_percent()
{
	make_run 100.9 && judge && make_run 99.1 && judge
}

# The negative control.
catches_what_is_off()
{
	make_run 101.5
	! judge || return 1
	make_run 98.5
	! judge
}

tap_run "estimates that are the truth pass" passes_what_is_true
tap_run "those within a percent of it too" allows_one_percent
tap_run "those further off do not" catches_what_is_off
tap_done
