# SPDX-License-Identifier: MIT
"""`pml-host wss --window`, against a front-end that is played here, so that each interval's
frames are known: what it says of a whole machine.  Run by CTest with the path of pml-host.
"""
import json
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
FRAMES = 1000
PAGE = 4096


def serve(listener, intervals, cut):
    """Answers with (dirty, referenced, lost) of each interval in turn."""
    left = list(intervals)

    def take():
        if not left:
            return None
        dirty, referenced, lost = left.pop(0)
        words = front_end.bitmap(dirty, FRAMES) + front_end.bitmap(referenced, FRAMES)
        return words[:-8 if cut else None], lost

    try:
        connection, _ = listener.accept()
    except OSError:
        return  # who refuses its options has never come
    front_end.talk(connection, FRAMES, take)


def run(intervals, *options, cut=False):
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        path = os.path.join(folder, "s")
        listener.bind(path)
        listener.listen()
        server = threading.Thread(target=serve, args=(listener, intervals, cut), daemon=True)
        server.start()
        result = subprocess.run([HOST, "-s", path, "-j", "wss", "-i", "0.01", "-n",
                                 str(len(intervals)), *options], capture_output=True, text=True,
                                timeout=60, check=False)
        # or it would wait on, perhaps for who asks the next one
        listener.shutdown(socket.SHUT_RDWR)
        server.join()
        return result


def lines_of(result):
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_window():
    """Of a window: all that was touched in it, written and only read apart."""
    turns = [(range(i * 10, i * 10 + 10), range(500, 600), 0) for i in range(6)]
    lines = lines_of(run(turns, "-w", "4"))
    assert [line["wss_frames"] for line in lines] == [110, 120, 130, 140, 140, 140], lines
    last = lines[-1]
    assert last["dirty_bytes"] == 40 * PAGE and last["read_bytes"] == 100 * PAGE, last
    assert last["last_bytes"] == 110 * PAGE and last["window"] == 4, last
    assert last["limit_bytes"] >= last["wss_bytes"] == 140 * PAGE, last


def test_fall():
    """A machine that works with less is seen to in the very interval."""
    turns = [(range(999), range(999), 0)] * 6 + [(range(100), range(100), 0)] * 2
    lines = lines_of(run(turns, "-w", "8"))
    assert [line["wss_frames"] for line in lines[5:]] == [999, 100, 100], lines
    assert lines[6]["change"] == "fall", lines[6]


def test_lost():
    """An interval that was lost says so."""
    lines = lines_of(run([(range(10), (), 0), ((), (), 1), (range(10), (), 0)], "-w", "8"))
    assert [line["lost"] for line in lines] == [False, True, False], lines


def test_cut():
    """A front-end that sends less than was asked for is no such front-end."""
    result = run([(range(10), (), 0)], "-w", "8", cut=True)
    assert result.returncode == 1 and "does not answer" in result.stderr, result.stderr


def test_usage():
    """Windows that are none are refused."""
    for window in ("0", "65", "-1", "x"):
        assert run([], "-w", window).returncode == 2, window


sys.exit(tap.main(globals()))
