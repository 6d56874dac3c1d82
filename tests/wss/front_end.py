# SPDX-License-Identifier: MIT
"""A front-end of the PML device, played: it answers pml-host with what it is told to.
host_window.py, host_apply.py and host_output.py have one each.
"""
import contextlib
import os
import socket
import struct
import threading

MAGIC = 0x314c544f484c4d50
REQUEST = struct.Struct("=QIIII")
REPLY = struct.Struct("=QiI10QII")
COLLECT = 5
FLAGS = 1 | 2 | 4		# begin anew, the dirty frames, the referenced ones


def bitmap(frames, room):
    words = [0] * ((room + 63) // 64)
    for frame in frames:
        words[frame // 64] |= 1 << frame % 64
    return struct.pack(f"={len(words)}Q", *words)


def receive(connection, size):
    data = b""
    while len(data) < size and (part := connection.recv(size - len(data))):
        data += part
    return data


def talk(connection, room, take, always=b""):
    """take() gives the bitmaps of an interval, and whether it was lost, or None; any other
    collect is answered by these words.  Who asks has the right to hang up.
    """
    with connection, contextlib.suppress(ConnectionError):
        while len(data := receive(connection, REQUEST.size)) == REQUEST.size:
            _, command, _, flags, _ = REQUEST.unpack(data)
            words, lost, error = b"", 0, 0
            if command == COLLECT and flags == FLAGS:
                found = take()
                if found:
                    words, lost = found
                else:
                    error = -22
            elif command == COLLECT:
                words = always
            connection.sendall(REPLY.pack(MAGIC, error, 3, room, 0, 0, 0, 0, 0, 0, 0, 0,
                                          len(words) // 8, 0, lost) + words)


def serve_for_ever(folder, frames, room, wait=None):
    """Whoever comes gets these frames, written and referenced, when wait() has returned;
    the socket's path.
    """
    path = os.path.join(folder, "front")
    words = bitmap(frames, room) * 2
    if os.path.exists(path):
        return path

    def take():
        if wait:
            wait()
        return words, 0

    def serve(listener):
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=talk, args=(connection, room, take), daemon=True).start()

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    return path
