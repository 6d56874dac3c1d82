# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # the variables are chain.sh's
# A program on the Boehm collector (examples/boehm), of which every round is taken in the
# middle of a collection: its world is stopped, and marking has begun.  It verifies all of
# its objects later, and its exit status says whether they were there.  Sourced by chain.sh.

# boehm_up [ARG | NAME=VALUE]...: its exit status will be in $answers/ended.
boehm_up()
{
	begin
	: >"$answers/stay"
	# shellcheck disable=SC2016 # expanded inside
	bare sh -c '"$@"; echo "$?" >"$0"' "$answers/ended" env "$@" --threads 2 --chains 2000 \
		--body 100 --writes 500000 --stay "$answers/stay" &
	root=$!
}

in_mid_collection()
{
	[ -s "$answers/stay" ] || [ -s "$answers/ended" ]
}

# mid_collection_round N PARENT KIND
mid_collection_round()
{
	wait_for "a collection" in_mid_collection || return
	[ ! -s "$answers/ended" ] || complain "it ended: $(cat "$answers/ended")" || return
	one_round "$@" || return
	[ "$1" = 1 ] || says_not "$1" "all of it is written" || return
	[ "$1" = 1 ] || [ "$(left "$1")" -gt 0 ] || complain "nothing was left to the parent"
}

mid_collection_chain()
{
	local n

	boehm_up "$@" || return
	for n in 1 2 3; do
		mid_collection_round "$n" $((n - 1)) pre-dump || return
		: >"$answers/stay"
	done
	mid_collection_round 4 3 dump || return
	restore 4 --libdir "$plugin" || return
	rm "$answers/stay"
	wait_for "its end" test -s "$answers/ended" || return
	[ "$(cat "$answers/ended")" = 0 ] ||
		complain "it ended with status $(cat "$answers/ended")" || return
	subject_down
}

# libgc as it is
boehm_chain()
{
	mid_collection_chain PML_GC=0 "$oracle"
}

# boehm_pml_chain BACKEND: its dirty pages from libpml too.
boehm_pml_chain()
{
	mid_collection_chain "PML_BACKEND=$1" "$oracle" --need
}

# boehm BACKEND [KIND]...: else both.
plan_boehm()
{
	local backend=$1 kind

	shift
	[ $# -gt 0 ] || set -- boehm_chain boehm_pml_chain
	for kind; do
		if [ -x "$oracle" ]; then
			with_keeper "$backend" "$backend: in mid-collection, $kind: no object is lost" \
				"$kind" "$backend"
		else
			tap_skip "examples/boehm is not built" "$backend: in mid-collection, $kind"
		fi
	done
}
