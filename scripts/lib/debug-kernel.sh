# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# The debug kernel: Debian's source of the 6.12 kernel with every check that
# finds a module's mistakes.  An entry looks like those of kernel-root.sh; its
# root has what modules need to be built for it, and no kernel source.  This
# file and tests/vm/debug.config are its recipe.  Used by
# tests/vm/debug-kernel.  Sourced by guests.sh.

debug_kernel_suite=trixie
debug_kernel_packages=linux-source,gcc,make,flex,bison,bc,libelf-dev,xz-utils,kmod,\
busybox-static,perl,sparse,python3-minimal
debug_kernel_config=$PML_ROOT/tests/vm/debug.config

debug_kernel_key()
{
	cache_key "${BASH_SOURCE[0]}" "$debug_kernel_config"
}

# Inside the root; the working directory is the kernel's source.
debug_kernel_make()
{
	chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C \
		KCONFIG_CONFIG=.config make -C /usr/src/linux "-j$(nproc)" "${@:2}"
}

# tinyconfig plus ours; an option that did not survive is named, and an error.
debug_kernel_configure()
{
	local root=$1 line lost=''

	debug_kernel_make "$root" tinyconfig
	cat "$debug_kernel_config" >>"$root/usr/src/linux/.config"
	debug_kernel_make "$root" olddefconfig
	while read -r line; do
		[[ $line == CONFIG_* || $line == '# CONFIG_'*' is not set' ]] || continue
		grep -qxF -- "$line" "$root/usr/src/linux/.config" && continue
		[[ $line == '# '* ]] && ! grep -q "^${line:2:-11}=" "$root/usr/src/linux/.config" &&
			continue
		lost+=" ${line#CONFIG_}"
	done <"$debug_kernel_config"
	[[ -z $lost ]] || {
		echo "this kernel's configuration does not take:$lost"
		return 1
	}
}

debug_kernel_build()
{
	local out=$1 root=$1/root src=$1/root/usr/src/linux version dest

	debian_root "$root" "$debug_kernel_suite" minbase "$debug_kernel_packages"
	rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
	mkdir "$src"
	tar -C "$src" --strip-components=1 -xf "$root"/usr/src/linux-source-*.tar.xz
	rm "$root"/usr/src/linux-source-*
	# In the mount namespace of tests/vm/debug-kernel: gone with it.
	mount -t proc proc "$root/proc"
	mount --bind /dev "$root/dev"
	debug_kernel_configure "$root"
	debug_kernel_make "$root" bzImage modules
	version=$(<"$src/include/config/kernel.release")
	echo "$version" >"$out/version"
	cp "$src/arch/x86/boot/bzImage" "$out/vmlinuz"
	cp "$src/System.map" "$src/.config" "$out/"
	# Under these checks the ACPI interpreter reaches its own time limit, of
	# 30 s, in each table of interrupt routes; virtual devices use MSI.
	echo pci=noacpi >"$out/append"
	# What the kernel's own packaging hands to people who build modules.
	dest=/usr/lib/modules/$version/build
	mkdir -p "$root$dest"
	# shellcheck disable=SC2016 # the kernel's make expands it
	debug_kernel_make "$root" run-command \
		KBUILD_RUN_COMMAND='$(srctree)/scripts/package/install-extmod-build '"$dest"
	cp "$src"/scripts/{checkpatch.pl,spelling.txt,const_structs.checkpatch} \
		"$root$dest/scripts/"
	# modprobe says yes to what is built in, as it does on other kernels.
	cp "$src"/modules.{order,builtin,builtin.modinfo} "$root/usr/lib/modules/$version/"
	chroot "$root" depmod "$version"
	ln -s "root/usr/lib/modules/$version" "$out/modules"
	umount "$root/dev" "$root/proc"
	rm -rf "$src"
	kernel_boot_modules='' kernel_initrd "$out" "$version"
}

# Set KERNEL_ROOT to the entry's path, building it when missing.
debug_kernel()
{
	local key

	key=$(debug_kernel_key)
	[[ -d $(cache_path kernel-debug "$key") ]] || need_builder "$debug_kernel_suite"
	cache_get kernel-debug "$key" debug_kernel_build
	# shellcheck disable=SC2034 # the caller's
	KERNEL_ROOT=$CACHE_ENTRY
}
