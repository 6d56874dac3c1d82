# SPDX-License-Identifier: MIT
"""The keeper and clients that do not behave, and several keepers at once.  Run by CTest
with the paths of pml-criu and of stop_at_unlink.
"""
import contextlib
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..",
                                "tests", "lib"))
import tap  # noqa: E402  # pylint: disable=wrong-import-position

KEEPER, STOP_AT_UNLINK = sys.argv[1:]
# Longer than the keeper waits for anybody.
PATIENCE = 150
# keeper.h
MESSAGE = struct.Struct("=IIiiQQ16s200s")
MAGIC = 0x314b4d50
HELLO, RESET, COMMIT, STATUS = 1, 4, 5, 6
# System calls, as /proc tells them.
POLL, FLOCK = "7", "73"


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


def answers(path):
    result = status(path)
    assert result.returncode == 0, result


@contextlib.contextmanager
def begin(path, **environment):
    with subprocess.Popen(command("run", path), stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True,
                          env={**os.environ, **environment}) as process:
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


def message(number, spans=0):
    return MESSAGE.pack(MAGIC, number, 0, 0, 0, spans, bytes(16), bytes(200))


def answer(connection, number):
    try:
        data = connection.recv(MESSAGE.size, socket.MSG_WAITALL)
    except OSError as error:
        raise AssertionError(f"it does not answer: {error!r}") from error
    assert len(data) == MESSAGE.size, f"it has hung up after {len(data)} bytes"
    assert MESSAGE.unpack(data)[1] == number, data


def ask(connection, number):
    connection.sendall(message(number))
    answer(connection, number)


def cut_off(connection):
    poll = select.poll()
    poll.register(connection, 0)
    return bool(poll.poll(0))


def test_half_a_message():
    """Others are answered while one is in the middle of a message."""
    for half in (message(HELLO)[:7], message(RESET, 5), message(RESET, 5) + bytes(40)):
        with keeper() as (_, path), dial(path) as silent:
            silent.sendall(half)
            answers(path)
            assert not cut_off(silent), "only when that one was cut off"


def test_whole_at_last():
    """A message that comes piece by piece is answered like any other."""
    with keeper() as (_, path), dial(path) as slow:
        for byte in message(HELLO):
            slow.sendall(bytes((byte,)))
        answer(slow, HELLO)
        slow.sendall(message(RESET, 2)[:100])
        answers(path)
        slow.sendall((message(RESET, 2) + bytes(20))[100:])
        answers(path)
        slow.sendall(bytes(12))
        answer(slow, RESET)
        ask(slow, COMMIT)


def test_deaf():
    """Others are answered while one takes none of its answers."""
    with keeper() as (_, path), dial(path) as deaf:
        deaf.setblocking(False)
        refused = asked = 0
        while refused < 20:
            try:
                deaf.send(message(STATUS))
                refused = 0
                asked += 1
            except BlockingIOError:
                refused += 1
                time.sleep(0.01)
        answers(path)
        assert not cut_off(deaf), "only when that one was cut off"
        deaf.settimeout(PATIENCE)
        # the message that did not go as a whole is left out
        for _ in range(asked - 1):
            data = deaf.recv(MESSAGE.size, socket.MSG_WAITALL)
            assert len(data) == MESSAGE.size, len(data)
            deaf.recv(16 * MESSAGE.unpack(data)[5], socket.MSG_WAITALL)


def test_silent_crowd():
    """Others are answered while ever so many say nothing, and a round among them goes on."""
    with keeper() as (_, path), dial(path) as one, contextlib.ExitStack() as crowd:
        ask(one, HELLO)
        for _ in range(100):
            crowd.enter_context(dial(path))
        answers(path)
        ask(one, COMMIT)


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


def in_call(process, *calls):
    return read(f"/proc/{process.pid}/syscall").split()[:1] in [[call] for call in calls]


def stopped(process):
    return "State:\tT" in read(f"/proc/{process.pid}/status")


def test_two_at_once():
    """Of two that are started at once where a keeper was killed, one runs, and answers."""
    with tempfile.TemporaryDirectory() as folder:
        path = folder + "/socket"
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(path)
        with contextlib.ExitStack() as stack:
            one = stack.enter_context(begin(path, LD_PRELOAD=STOP_AT_UNLINK,
                                            ASAN_OPTIONS="verify_asan_link_order=0"))
            wait_until(lambda: stopped(one), "the first one's look")
            other = stack.enter_context(begin(path))
            wait_until(lambda: in_call(other, FLOCK, POLL), "the other one's look, or more")
            os.kill(one.pid, signal.SIGCONT)
            both = one, other
            wait_until(lambda: any(p.poll() is not None for p in both), "one to end: both run")
            ended = [p for p in both if p.poll() is not None]
            assert len(ended) == 1, "none runs"
            assert "runs there already" in ended[0].stderr.read()
            answers(path)


if os.geteuid():
    print("1..0 # SKIP the keeper needs the right to ptrace any process: be root")
    sys.exit(77)
sys.exit(tap.main(globals()))
