# SPDX-License-Identifier: MIT
"""Where `pml-host` writes to, and what it is told by a front-end that is played here: that a
script can trust its exit status.  Run by CTest with the path of pml-host.
"""
import os
import socket
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import front_end  # noqa: E402  # pylint: disable=wrong-import-position
import tap  # noqa: E402  # pylint: disable=wrong-import-position

HOST = sys.argv[1]
ROOM = 1 << 20
WSS = ("wss", "-i", "0.01", "-n", "2")
COMMANDS = (("status",), ("enable",), ("collect",), ("clean",), WSS, (*WSS, "-w", "2"))


def run(*args, words=b"", **kwargs):
    """pml-host, and a front-end that answers a collect with these words, or as it should."""
    full = front_end.bitmap(range(100), ROOM) * 2

    def serve(listener):
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        front_end.talk(connection, ROOM, lambda: (full, 0), words)

    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(folder + "/s")
        listener.listen()
        server = threading.Thread(target=serve, args=(listener,), daemon=True)
        server.start()
        kwargs.setdefault("stdout", subprocess.PIPE)
        result = subprocess.run([HOST, "-s", folder + "/s", *args], check=False, text=True,
                                stderr=subprocess.PIPE, timeout=60, **kwargs)
        listener.shutdown(socket.SHUT_RDWR)
        server.join()
        return result


def test_full_disk():
    """What cannot be written is told, and is no success."""
    for command in (*COMMANDS, ("-h",)):
        for options in ((), ("-j",)):
            with open("/dev/full", "w", encoding="ascii") as full:
                result = run(*options, *command, stdout=full)
            assert result.returncode == 1, (command, options, result)
            assert "standard output" in result.stderr, (command, options, result)
            result = run(*options, *command)
            assert result.returncode == 0 and result.stdout, (command, options, result)


def test_closed():
    """With standard output closed it says so: what is printed goes nowhere else."""
    for command in COMMANDS:
        for numbers in ((1,), (0, 1), (0, 1, 2)):
            result = run(*command, preexec_fn=lambda these=numbers: [os.close(n) for n in these])
            assert result.returncode == 1, (command, numbers, result)
            if 2 not in numbers:
                assert "standard output" in result.stderr, (command, numbers, result)


def test_short_answers():
    """A front-end that sends other words than were asked for is no such front-end."""
    bitmap, counts = front_end.bitmap(range(3), ROOM), bytes(2 * ROOM)
    for options, right in ((("-f",), bitmap), (("-c",), counts), (("-f", "-c"), bitmap + counts)):
        result = run("collect", *options, words=right)
        assert result.returncode == 0, (options, result)
        for wrong in (b"", right[:8], right[:-8], right + bytes(8)):
            for form in ((), ("-j",)):
                result = run(*form, "collect", *options, words=wrong)
                assert result.returncode == 1 and not result.stdout, (options, result)
                assert "does not answer" in result.stderr, (options, result)


def test_numbers():
    """A number that is none, or beyond what can be, is refused, not taken in part."""
    for option, wrong in (("-n", ("1e3", "5x", "0x10", " 5", "-1", "0", "", "9" * 30)),
                          ("-i", ("1,5", "1s", "0x1", "nan", "inf", " 1", "-1", "0", "")),
                          ("-w", ("8x", "0", "65", "0x8", "")),
                          ("--floor", ("12q", "1e3", "0", str(1 << 44), ""))):
        for text in wrong:
            more = ("-w", "4", "--apply", "/nonexistent/m", "--active")
            result = run("-n", "1", "-i", "0.01", *(more if option == "--floor" else ()),
                         option, text, "wss")
            assert result.returncode == 2 and "usage" in result.stderr, (option, text, result)
    result = run("-n", "1", "-i", "1e-2", "-w", "64", "wss")
    assert result.returncode == 0, result


sys.exit(tap.main(globals()))
