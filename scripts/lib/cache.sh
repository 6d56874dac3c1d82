# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# What takes long to build (root file systems, kernels) and is kept outside
# the tree, in pml_cache_dir (common.sh).  Used by tests/vm.
#
# An entry is a directory NAME-KEY whose KEY is a digest of its recipe, so a
# changed recipe is a new entry and two checkouts with different recipes do
# not fight.  It is built under a lock into NAME-KEY.tmp and renamed when
# complete: what is there under its own name is whole, also after a kill.

cache_dir=$(pml_cache_dir) || exit

# cache_key FILE... -> a digest of the recipe
cache_key()
{
	cat -- "$@" | sha256sum | cut -c1-12
}

# cache_path NAME KEY -> where the entry is, or would be
cache_path()
{
	printf '%s/%s-%s\n' "$cache_dir" "$1" "$2"
}

# cache_get NAME KEY BUILDER [ARG...]: set CACHE_ENTRY to the entry's path,
# after running `BUILDER ARG... TMPDIR` if it is missing.  The builder's
# output goes to NAME-KEY.log, which is shown when it fails.  The builder runs
# under set -e, which bash ignores in a condition: call this as a plain command,
# without `||`, `&&` or `if`.
cache_get()
{
	local name=$1 key=$2 start=$SECONDS entry tmp log lock

	shift 2
	entry=$(cache_path "$name" "$key")
	# shellcheck disable=SC2034 # the caller's
	CACHE_ENTRY=$entry
	if [[ -d $entry ]]; then
		touch -c "$entry" 2>/dev/null
		return
	fi

	tmp=$entry.tmp
	log=$entry.log
	exec {lock}>"$entry.lock"
	if ! flock -n "$lock"; then
		say "waiting for another process to build $name"
		flock "$lock"
	fi
	if [[ ! -d $entry ]]; then
		say "building $name, once (log: $log)"
		# A killed build may have left mounts: never cross into them.
		rm -rf --one-file-system "$tmp"
		mkdir "$tmp"
		# A subshell, so that the builder may use set -e and exit.  It has
		# the lock too: should we be killed, nobody else begins before it
		# is done.
		( set -e; "$@" "$tmp" ) >"$log" 2>&1 &
		if ! wait $!; then
			tail -n 20 "$log" >&2
			rm -rf --one-file-system "$tmp"
			die 96 "building $name failed; the lines above are the end of $log"
		fi
		mv -T "$tmp" "$entry"
		# Entries of older recipes that nobody used for a fortnight.
		find "$cache_dir" -maxdepth 1 -name "$name-????????????" -mtime +14 \
			-exec rm -rf --one-file-system {} +
		say "built $name in $((SECONDS - start)) s"
	fi
	exec {lock}>&-
}
