# SPDX-License-Identifier: MIT
"""The front-end of the PML device, with its plugin in a QEMU that is played: whom it serves,
and what it makes of its options.  Run by CTest with the paths of pml-qemu and of the played
QEMU.
"""
import contextlib
import glob
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib"), os.path.join(HERE, "..", "wss")]
# pylint: disable=wrong-import-position
import tap  # noqa: E402
from front_end import MAGIC, REPLY, REQUEST, receive  # noqa: E402

LAUNCHER, QEMU = sys.argv[1:]
PATIENCE = 60
STATUS = 1
ACCEPT = "288"
MEMORY_CAP = 11		# in a reply: of the guest's tables and of the host's


def command(*options):
    return [LAUNCHER, *[word for option in options for word in ("--pml", option)], "-m", "64"]


ENVIRONMENT = {**os.environ, "PML_QEMU": QEMU}


def wait_until(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.01)


@contextlib.contextmanager
def front_end(*options):
    """One that runs: its process, and the socket for pml-host."""
    with tempfile.TemporaryDirectory() as folder:
        path = folder + "/socket"
        with subprocess.Popen(command("control=" + path, *options), stdin=subprocess.PIPE,
                              env=ENVIRONMENT) as process:
            try:
                dial(path).close()
                yield process, path
            finally:
                process.stdin.close()
                process.wait(timeout=PATIENCE)


def dial(path):
    """A connection, as soon as somebody listens and there is room for it."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE)

    def listens():
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError, BlockingIOError):
            connection.connect(path)
            return True
        return False

    wait_until(listens, "the front-end")
    return connection


def ask(connection):
    connection.sendall(REQUEST.pack(MAGIC, STATUS, 0, 0, 0))


def answer(connection):
    """What comes; an AssertionError if nothing does."""
    try:
        data = receive(connection, REPLY.size)
    except OSError as error:
        raise AssertionError(f"it does not answer: {error!r}") from error
    assert len(data) == REPLY.size, f"it has hung up after {len(data)} bytes"
    return REPLY.unpack(data)


def status(path):
    with dial(path) as connection:
        ask(connection)
        return answer(connection)


def test_memory():
    """The cap is the number of bytes that was given."""
    with front_end("memory=1048576") as (_, path):
        assert status(path)[MEMORY_CAP] == 2 * 1048576, status(path)


def test_no_number():
    """What is no number of bytes is refused in words, not taken by its front."""
    for text in ("1G", "1M", "64k", "1e9", "-1", "all", ""):
        result = subprocess.run(command("memory=" + text), input="", capture_output=True,
                                text=True, check=False, timeout=PATIENCE, env=ENVIRONMENT)
        assert result.returncode == 1, (text, result)
        assert f"pml: option: memory={text}; give a number of bytes" in result.stderr, result


def test_silent():
    """One that says nothing, or half of what it has to, keeps nobody else waiting."""
    with front_end() as (_, path), dial(path), dial(path) as half:
        half.sendall(REQUEST.pack(MAGIC, STATUS, 0, 0, 0)[:7])
        status(path)


def test_silent_crowd():
    """Nor do ever so many."""
    with front_end() as (_, path), contextlib.ExitStack() as crowd:
        for _ in range(100):
            crowd.enter_context(dial(path))
        status(path)


def test_one_asks_again():
    """One that goes on asking stays, whoever comes meanwhile."""
    with front_end() as (_, path), dial(path) as first, contextlib.ExitStack() as crowd:
        for _ in range(100):
            ask(first)
            answer(first)
            crowd.enter_context(dial(path))


def accepts(process):
    """Whether a thread of it waits for clients."""
    for name in glob.glob(f"/proc/{process.pid}/task/*/syscall"):
        with contextlib.suppress(OSError), open(name, encoding="ascii") as file:
            if file.read().split()[0] == ACCEPT:
                return True
    return False


def test_no_descriptors():
    """When it had no descriptor left for a client, it serves on as soon as it has some."""
    with front_end() as (process, path):
        _, most = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        wait_until(lambda: accepts(process), "its wait for a client")
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (0, most))
        # the one for the next client it has already
        status(path)
        with dial(path) as connection:
            ask(connection)
            wait_until(lambda: not accepts(process), "its failure")
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (most, most))
            answer(connection)


sys.exit(tap.main(globals()))
