# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Debian root file systems of any suite, from the mirror that this machine's
# own apt configuration names.  Used by guest-root.sh and kernel-root.sh.
# Sourced by guests.sh.

# need_host_packages COMMAND:PACKAGE...: what is missing is installed by apt
# when we are root, and is a skip with words otherwise.
need_host_packages()
{
	local pair missing=()

	for pair; do
		[[ -n $(type -P "${pair%%:*}") ]] || missing+=("${pair#*:}")
	done
	((${#missing[@]})) || return 0
	[[ -n $(type -P dpkg-query) ]] || skip "this machine lacks the tools of ${missing[*]}"
	# A subshell: pml_install ends it with words of its own.
	(pml_install "${missing[@]}") >&2 || skip "this machine lacks ${missing[*]}"
}

# The first security archive that apt itself would ask; none is no error.
security_mirror()
{
	# $(REPO_URI) is apt's own placeholder.
	# shellcheck disable=SC2016
	apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
		awk '$1 ~ /^[a-z]+-security$/ && $2 ~ /debian/ && !found++ { print $2 }'
}

# debian_sources SUITE: apt source lines for a suite.
debian_sources()
{
	local suite=$1 keyring=/usr/share/keyrings/debian-archive-keyring.gpg uri security

	uri=${PML_DEBIAN_MIRROR:-$(pml_debian_mirror)}
	[[ -n $uri ]] ||
		skip "apt names no Debian mirror; set PML_DEBIAN_MIRROR to the URI of one"
	[[ -r $keyring ]] || skip "no $keyring; install debian-archive-keyring"
	printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$uri" "$suite"
	[[ $suite != sid ]] || return 0
	security=${PML_DEBIAN_SECURITY_MIRROR:-$(security_mirror)}
	[[ -z $security ]] ||
		printf 'deb [signed-by=%s] %s %s-security main\n' "$keyring" "$security" "$suite"
}

# A mirror that cannot be reached is a machine's lack, not a failed test.
need_mirror()
{
	local suite=$1 uri tmp

	uri=$(debian_sources "$suite" | awk 'NR == 1 { print $3 }')
	[[ -n $uri ]] || exit "$EXIT_SKIP"
	tmp=$(mktemp)
	if ! /usr/lib/apt/apt-helper download-file "${uri%/}/dists/$suite/InRelease" "$tmp" \
		>/dev/null 2>&1; then
		rm -f "$tmp"
		skip "the Debian mirror that apt names has no $suite or cannot be reached"
	fi
	rm -f "$tmp"
}

# need_builder SUITE: everything debian_root needs on this machine.
need_builder()
{
	((EUID == 0)) || skip "root file systems are built by root only; run once as root"
	need_host_packages mmdebstrap:mmdebstrap mke2fs:e2fsprogs unshare:util-linux xz:xz-utils
	need_mirror "$1"
}

# debian_root DIR SUITE VARIANT PACKAGES(comma-separated) [MMDEBSTRAP-ARG...]
debian_root()
{
	local dir=$1 suite=$2 variant=$3 packages=$4 line args=()

	shift 4
	# This machine's own way to its mirror: proxies, retries, a clock that
	# makes dated indexes look too old or too new.
	while read -r line; do
		args+=(--aptopt="${line%;}")
	done < <(apt-config dump | grep -E '^Acquire::(Check-|Retries|ForceIPv|https?::)[^ ]* ".+"')
	# A mount namespace of its own: whatever is mounted in the root during
	# the build is gone with it, also after a kill.
	debian_sources "$suite" |
		unshare --mount mmdebstrap --mode=root --format=directory --variant="$variant" \
			--skip=check/empty \
			--aptopt='APT::Sandbox::User "root"' \
			--aptopt='APT::Install-Recommends "false"' \
			--aptopt='Acquire::Check-Valid-Until "false"' "${args[@]}" \
			--dpkgopt='path-exclude=/usr/share/doc/*' \
			--dpkgopt='path-exclude=/usr/share/man/*' \
			--dpkgopt='path-exclude=/usr/share/info/*' \
			--dpkgopt='path-exclude=/usr/share/locale/*' \
			--include="$packages" "$@" "$suite" "$dir" -
}
