# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# The guests' root file system: a small Debian trixie as an ext4 image, with
# the programs that tests and measurements track.  This file is its recipe:
# a change here builds a new image.  Used by tests/vm/run.
# Sourced by guests.sh.

guest_root_suite=trixie
# busybox is the first process's tool box; the libraries are what this
# project's own programs link; udev has pml.ko's rule; the rest is what they track.
guest_root_packages=busybox-static,kmod,udev,procps,iproute2,psmisc,strace,\
libjansson4,libnuma1,libxxhash0,libcriterion3,liburing2,\
criu,redis-server,redis-tools,guile-3.0,ecl,tkrzw-utils,stress-ng,libgc1

guest_root_key()
{
	cache_key "${BASH_SOURCE[0]}"
}

guest_root_build()
{
	local out=$1 dir=$1/root

	debian_root "$dir" "$guest_root_suite" minbase "$guest_root_packages" \
		--dpkgopt='path-exclude=/usr/include/*' \
		--dpkgopt='path-exclude=/usr/lib/x86_64-linux-gnu/libLLVM*' \
		--dpkgopt='path-exclude=/usr/lib/gcc/*'
	echo guest >"$dir/etc/hostname"
	printf '127.0.0.1 localhost guest\n' >"$dir/etc/hosts"
	rm -rf "$dir"/var/cache/apt/* "$dir"/var/lib/apt/lists/*
	mkdir -p "$dir/lib/modules"
	# Sparse, with room for what tests write; each guest writes to a
	# snapshot of its own.
	mke2fs -q -t ext4 -O '^has_journal' -L pml-guest -d "$dir" "$out/root.img" 4g
	rm -rf --one-file-system "$dir"
}

# Set GUEST_ROOT to the image's path, building it when missing.
guest_root()
{
	local key

	key=$(guest_root_key)
	[[ -d $(cache_path guest-root "$key") ]] || need_builder "$guest_root_suite"
	cache_get guest-root "$key" guest_root_build
	# shellcheck disable=SC2034 # the caller's
	GUEST_ROOT=$CACHE_ENTRY/root.img
}
