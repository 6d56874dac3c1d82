# SPDX-License-Identifier: MIT
"""What pml-qemu gives to QEMU, which is played here: the device has all of the machine's
memory and as many vectors as there may be virtual CPUs, in whatever form QEMU takes them.
Run by CTest with the path of pml-qemu.
"""
import os
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap  # noqa: E402  # pylint: disable=wrong-import-position

LAUNCHER = sys.argv[1]
MIB = 1 << 20
QEMU = """#!/bin/sh
[ "$*" = --version ] && { echo "QEMU emulator version 9.2.0"; exit; }
printf '%s\\n' "$@"
"""


def run(*args):
    with tempfile.TemporaryDirectory() as folder:
        qemu = os.path.join(folder, "qemu")
        with open(qemu, "w", encoding="ascii") as file:
            file.write(QEMU)
        os.chmod(qemu, 0o755)
        return subprocess.run([LAUNCHER, *args], capture_output=True, text=True, check=False,
                              timeout=60, env={**os.environ, "PML_QEMU": qemu})


def given(*args):
    """Bytes of RAM and virtual CPUs that the device is made for."""
    result = run(*args)
    assert result.returncode == 0, (args, result)
    assert result.stdout.startswith("".join(a + "\n" for a in args)), result.stdout
    return (int(re.search(r",ram=(\d+)", result.stdout)[1]),
            int(re.search(r",vectors=(\d+)", result.stdout)[1]))


def test_memory():
    """Memory, whole or not, in any unit."""
    for text, size in (("512", 512 * MIB), ("512M", 512 * MIB), ("2G", 2048 * MIB),
                       ("1.5G", 1536 * MIB), ("0.5g", 512 * MIB), ("524288k", 512 * MIB),
                       ("536870912b", 512 * MIB), ("010", 10 * MIB), ("0x40", 64 * MIB),
                       ("size=1G,slots=2,maxmem=2G", 1024 * MIB),
                       ("slots=2,maxmem=2G,size=1.25G", 1280 * MIB)):
        for option in ("-m", "--m"):
            assert given(option, text) == (size, 1), (option, text, given(option, text))
    assert given("-nographic") == (128 * MIB, 1)


def test_vcpus():
    """Virtual CPUs, by their number or by what they are made of."""
    for text, vcpus in (("3", 3), ("cpus=3", 3), ("2,maxcpus=4", 4), ("maxcpus=4,cpus=2", 4),
                        ("maxcpus=4", 4), ("cores=4", 4), ("sockets=2,cores=3,threads=2", 12),
                        ("4,sockets=2,cores=2", 4), ("sockets=2,cpus=4", 4)):
        for option in ("-smp", "--smp"):
            assert given(option, text) == (128 * MIB, vcpus), (option, text, given(option, text))


def test_refused():
    """What the device cannot follow is refused."""
    for args in (("-m", "4G"), ("-m", "3.5G"), ("-m", "0"), ("-m", "nan"), ("-m", "16777216T"),
                 ("-smp", "65"), ("-smp", "0"), ("-smp", "4294967297"),
                 ("-smp", "sockets=8,cores=16"), ("-smp", "sockets=65536,cores=65536"),
                 ("--smp", "65"), ("-m", "1Q")):
        result = run(*args)
        assert result.returncode == 1 and not result.stdout, (args, result)
        assert f"pml: -{args[0].strip('-')}: " in result.stderr, (args, result)


sys.exit(tap.main(globals()))
