# SPDX-License-Identifier: MIT
# Shell helpers shared by the scripts and the tests: where things are, how to
# install what is missing, where a package mirror is.  Sourced, never run;
# works from any current folder.
# shellcheck shell=bash

PML_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# For whoever sources this file.
# shellcheck disable=SC2034
readonly PML_ROOT

# pml_die WHAT WHY WHAT-TO-DO: the one form of every message, then exit 1.
pml_die()
{
	printf 'pml: %s: %s; %s\n' "$1" "$2" "$3" >&2
	exit 1
}

# pml_cache_dir: a folder outside the tree that survives a clean clone.
pml_cache_dir()
{
	local dir=${PML_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/libpml}

	mkdir -p "$dir"
	printf '%s\n' "$dir"
}

# pml_debian_mirror: the first Debian archive that apt itself would ask.  The
# tree names no host: whoever set the machine up has already chosen one.
pml_debian_mirror()
{
	# $(REPO_URI) is apt's own placeholder.
	# shellcheck disable=SC2016
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
		awk '/\/debian\/?$/ && !found++'
}

# pml_packages GROUP...: the packages of these groups in scripts/lib/packages.
pml_packages()
{
	local group

	for group in "$@"; do
		sed -n "s/^$group:[[:space:]]*//p" "$PML_ROOT/scripts/lib/packages"
	done | tr -s ' \t' '\n' | sort -u
}

# pml_missing PACKAGE...: those that are not installed.
pml_missing()
{
	local package

	for package in "$@"; do
		dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null |
			grep -qx installed || printf '%s\n' "$package"
	done
}

# pml_install PACKAGE...: installs what is missing and nothing else.
pml_install()
{
	local missing

	mapfile -t missing < <(pml_missing "$@")
	[ "${#missing[@]}" -gt 0 ] || return 0
	[ "$(id -u)" -eq 0 ] ||
		pml_die "installing ${missing[*]}" "only root can" "run this as root, or install them"
	export DEBIAN_FRONTEND=noninteractive
	# Package lists may be absent (a fresh machine) or stale.
	apt-get install -y --no-install-recommends "${missing[@]}" ||
		{ apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; } ||
		pml_die "installing ${missing[*]}" "apt-get failed" "see its output above"
}

# pml_build PRESET [TARGET...]: configures if need be, and builds.
pml_build()
{
	local preset=$1 target args=()

	shift
	for target in "$@"; do
		args+=(--target "$target")
	done
	(cd "$PML_ROOT" && cmake --preset "$preset" && cmake --build --preset "$preset" "${args[@]}")
}
