# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# The guests' kernels: per Debian suite one root that holds the kernel, its
# modules, its headers and the compiler it was built with, so that a module
# is built where its headers expect it.  Versions are never written here:
# the suite's own metapackages name them.  This file is the recipe: a change
# here builds new roots.  Used by tests/vm/run and tests/vm/kmod-build.
# Sourced by guests.sh.
#
# An entry holds root/, and beside it: version, vmlinuz (a link into root),
# modules (likewise) and initrd.cpio (busybox and the modules needed to
# mount the guest's root; no init: tests/vm/run adds that).

declare -A kernel_suite=([6.1]=bookworm [6.12]=trixie [sid]=sid)
# perl and sparse: for W=1 and C=1, which modules must pass.
kernel_packages=linux-image-amd64,linux-headers-amd64,make,kmod,busybox-static,tiny-initramfs,\
perl,sparse
# To find the root, the checkout and the command's output; an optional one
# (in parentheses) is built in, or gone, in some of the kernels.
kernel_boot_modules='virtio_pci virtio_blk virtio_console (virtio_rng) (crc32c_generic)
(crc32c) ext4 9p 9pnet_virtio overlay'
# Most of a kernel package by size, and nothing that a virtual machine has.
kernel_unused='drivers/gpu drivers/media drivers/net/ethernet drivers/net/wireless
drivers/infiniband drivers/scsi drivers/staging drivers/iio drivers/hwmon drivers/usb
drivers/mtd drivers/hid drivers/input drivers/ata drivers/mmc drivers/isdn drivers/edac
drivers/bluetooth drivers/platform drivers/md drivers/target drivers/firewire sound'

kernel_root_key()
{
	cache_key "${BASH_SOURCE[0]}"
}

kernel_root_build()
{
	local suite=$1 out=$2 unused exclude=() version

	for unused in $kernel_unused; do
		exclude+=(--dpkgopt="path-exclude=/lib/modules/*/kernel/$unused/*"
			--dpkgopt="path-exclude=/usr/lib/modules/*/kernel/$unused/*")
	done
	INITRD=No debian_root "$out/root" "$suite" minbase "$kernel_packages" "${exclude[@]}"
	rm -rf "$out"/root/var/cache/apt/* "$out"/root/var/lib/apt/lists/*

	# shellcheck disable=SC2012 # names of modules directories have no blanks
	version=$(ls "$out/root/usr/lib/modules" | sort -V | tail -n 1)
	echo "$version" >"$out/version"
	ln -s "root/usr/lib/modules/$version" "$out/modules"
	kernel_image "$out" "$version"
	kernel_initrd "$out" "$version"
}

# The packages keep the kernel in /boot or beside its modules.
kernel_image()
{
	local out=$1 version=$2 file

	for file in "boot/vmlinuz-$version" "usr/lib/modules/$version/vmlinuz"; do
		if [[ -f $out/root/$file ]]; then
			ln -s "root/$file" "$out/vmlinuz"
			return
		fi
	done
	echo "no kernel image of $version in its package"
	return 1
}

# The modules named and all they need, in loading order, uncompressed.
kernel_boot_files()
{
	local out=$1 version=$2 name optional word file

	for name in $kernel_boot_modules; do
		optional=${name//[^(]/}
		name=${name//[()]/}
		chroot "$out/root" modprobe -S "$version" --show-depends "$name" ||
			[[ -n $optional ]]
	done | while read -r word file; do
		[[ $word != insmod ]] || echo "$file"
	done | awk '!seen[$1]++'
}

kernel_initrd()
{
	local out=$1 version=$2 dir=$1/initrd file base

	mkdir -p "$dir"/{bin,modules}
	cp "$out/root/bin/busybox" "$dir/bin/busybox"
	kernel_boot_files "$out" "$version" >"$out/boot-files"
	while read -r file; do
		base=$(basename "${file%.xz}")
		base=${base%.zst}
		case $file in
		*.xz) xz -dc "$out/root$file" ;;
		*.zst) zstd -dc "$out/root$file" ;;
		*) cat "$out/root$file" ;;
		esac >"$dir/modules/$base"
		echo "$base" >>"$dir/modules/order"
	done <"$out/boot-files"
	(cd "$dir" && find . | ./bin/busybox cpio -o -H newc) >"$out/initrd.cpio"
	cp "$dir/bin/busybox" "$out/busybox"
	rm -rf "$dir" "$out/boot-files"
}

# kernel_root KERNEL: set KERNEL_ROOT to the entry's path, building it when
# missing.
kernel_root()
{
	local kernel=$1 suite=${kernel_suite[$1]:-} key version

	[[ -n $suite ]] || usage_error "unknown kernel '$kernel'; use 6.1, 6.12 or sid"
	key=$(kernel_root_key)
	[[ -d $(cache_path "kernel-$kernel" "$key") ]] || need_builder "$suite"
	cache_get "kernel-$kernel" "$key" kernel_root_build "$suite"
	KERNEL_ROOT=$CACHE_ENTRY
	version=$(<"$KERNEL_ROOT/version")
	[[ $kernel == sid || $version == "$kernel".* ]] ||
		die 96 "the suite $suite has kernel $version, not $kernel"
}
