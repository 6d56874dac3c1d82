# SPDX-License-Identifier: MIT
"""The keeper, and clients.  Run by CTest with the path of pml-criu.
"""
import contextlib
import os
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..",
                                "tests", "lib"))
import tap  # noqa: E402  # pylint: disable=wrong-import-position

KEEPER = sys.argv[1]
# Longer than the keeper waits for anybody.
PATIENCE = 150
# keeper.h
MESSAGE = struct.Struct("=IIiiQQ16s200s")
MAGIC = 0x314b4d50
HELLO = 1


def wait_until(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.01)


def read(path):
    with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
        return file.read()
    return ""


def command(word, path):
    return [KEEPER, word, "--socket", path]


def status(path):
    return subprocess.run(command("status", path), capture_output=True, text=True, check=False,
                          timeout=PATIENCE)


@contextlib.contextmanager
def begin(path):
    with subprocess.Popen(command("run", path), stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def keeper():
    """One that answers: its process, and its socket."""
    with tempfile.TemporaryDirectory() as folder, begin(folder + "/socket") as process:
        path = folder + "/socket"
        wait_until(lambda: process.poll() is not None or status(path).returncode == 0, "a keeper")
        assert process.poll() is None, process.stderr.read()
        yield process, path


def dial(path):
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE)

    def connects():
        # while too many wait already
        with contextlib.suppress(BlockingIOError):
            connection.connect(path)
            return True
        return False

    wait_until(connects, "a connection")
    return connection


def message(number):
    return MESSAGE.pack(MAGIC, number, 0, 0, 0, 0, bytes(16), bytes(200))


def answer(connection, number):
    try:
        data = connection.recv(MESSAGE.size, socket.MSG_WAITALL)
    except OSError as error:
        raise AssertionError(f"it does not answer: {error!r}") from error
    assert len(data) == MESSAGE.size, f"it has hung up after {len(data)} bytes"
    assert MESSAGE.unpack(data)[1] == number, data


def sleeps(process):
    """How often it has gone to sleep by itself."""
    return int(read(f"/proc/{process.pid}/status").partition("\nvoluntary_ctxt_switches:")[2]
               .split()[0])


def test_no_descriptors():
    """Without a descriptor for a client it sleeps, and serves that one when it has some."""
    with keeper() as (process, path):
        taken = {int(name) for name in os.listdir(f"/proc/{process.pid}/fd")}
        free = next(number for number in range(len(taken) + 1) if number not in taken)
        _, most = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (free, most))
        with dial(path) as client:
            client.sendall(message(HELLO))
            before = sleeps(process)
            wait_until(lambda: sleeps(process) > before + 3, "its sleep")
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (most, most))
            answer(client, HELLO)


if os.geteuid():
    print("1..0 # SKIP the keeper needs the right to ptrace any process: be root")
    sys.exit(77)
sys.exit(tap.main(globals()))
