"""The way into a container that has no network but its own loopback. Run by path: passage.py PORT PID TICKS.

It has 127.0.0.1:PORT here, enters the network of process PID and carries each connection to 127.0.0.1:PORT there. It
listens for as long as the engine there does: whoever connects has met the engine. It prints "ok" once it is within, and
ends with its standard input. Standard library only.
"""

# pathlib and typing would cost every container a megabyte of memory.
# ruff: noqa: PTH123

from __future__ import annotations

import ctypes
import os
import socket
import sys
import threading
import time

HOST = "127.0.0.1"
BACKLOG = 128
PIECE = 1 << 16
NOBODY = 65534
STACK = 1 << 17
LOOK_AGAIN_S = 0.02


def main(port: int, pid: int, ticks: int) -> int:
    threading.stack_size(STACK)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((HOST, port))
    enter(pid, ticks)
    print("ok", flush=True)  # noqa: T201 - the answer itself
    threading.Thread(target=serve, args=(listener, port), daemon=True).start()
    while os.read(0, 1):
        pass
    return 0


def enter(pid: int, ticks: int) -> None:
    """Its namespaces are held before its start time is compared, so they are those of the process that was meant."""
    libc = ctypes.CDLL(None, use_errno=True)
    # Who made a user namespace may do as root in it.
    names = ["net"] if os.geteuid() == 0 else ["user", "net"]
    spaces = [os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in names]
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        seen = int(file.read().rpartition(")")[2].split()[19])
    if seen != ticks:
        raise ProcessLookupError(f"process {pid} is another one now")
    for space in spaces:
        if libc.setns(space, 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        os.close(space)
    if os.getuid() == 0:
        # From here on nothing can be imported where the interpreter lies in a folder of root's alone.
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


def serve(listener: socket.socket, port: int) -> None:
    while True:
        while (engine := reached(port)) is None:
            time.sleep(LOOK_AGAIN_S)
        engine.close()
        listener.listen(BACKLOG)
        accept(listener, port)


def accept(listener: socket.socket, port: int) -> None:
    """Until the engine is not met any more, when the listener is shut down."""
    while True:
        try:
            caller, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=carry, args=(listener, caller, port), daemon=True).start()


def reached(port: int) -> socket.socket | None:
    engine = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        engine.connect((HOST, port))
    except OSError:
        engine.close()
        return None
    return engine


def carry(listener: socket.socket, caller: socket.socket, port: int) -> None:
    """Both ways, until both have ended."""
    engine = reached(port)
    if engine is None:
        caller.close()
        closed(listener, socket.SHUT_RD)
        return
    with caller, engine:
        for each in (caller, engine):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        back = threading.Thread(target=pump, args=(engine, caller), daemon=True)
        back.start()
        pump(caller, engine)
        back.join()


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Until the source ends, which the sink is told. A break on either side ends both directions."""
    try:
        while piece := source.recv(PIECE):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        closed(source, socket.SHUT_RDWR)
        closed(sink, socket.SHUT_RDWR)


def closed(end: socket.socket, how: int) -> None:
    try:
        end.shutdown(how)
    except OSError:
        return


if __name__ == "__main__":
    sys.exit(main(*(int(word) for word in sys.argv[1:4])))
