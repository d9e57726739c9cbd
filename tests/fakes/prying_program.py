"""Tries what an engine should not be able to do, and tells how each try ended.

Arguments: tries as ACTION=OBJECT. Prints one JSON object {"ACTION=OBJECT": "done" or the name of the errno, ...}.
With serve=PORT at the end it then answers HTTP there until it is ended.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = "127.0.0.1"


def bind(port: str) -> None:
    with socket.socket() as listener:
        listener.bind((HERE, int(port)))


def connect(port: str) -> None:
    with socket.create_connection((HERE, int(port)), timeout=5):
        pass


def send_signal(pid: str) -> None:
    os.kill(int(pid), signal.SIGCONT)


def fork(count: str) -> None:
    """As many children at once, ended again."""
    children: list[int] = []
    try:
        for _ in range(int(count)):
            child = os.fork()
            if not child:
                time.sleep(60)
                os._exit(0)
            children.append(child)
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def allocate(mebibytes: str) -> None:
    blocks = [b"\1" * (1 << 20) for _ in range(int(mebibytes))]
    assert len(blocks) == int(mebibytes)


def run(path: str) -> None:
    pid = os.posix_spawn(path, [path], {})
    os.waitpid(pid, 0)


def environment(_: str) -> None:
    raise_with(" ".join(sorted(os.environ)))


def user(_: str) -> None:
    raise_with(f"{os.getuid()} {os.getgid()}")


def raise_with(words: str) -> None:
    raise WordsError(words)


class WordsError(Exception):
    """What a try found."""


TRIES: dict[str, Callable[[str], object]] = {
    "write": lambda path: Path(path).write_text("mine"),
    "read": lambda path: Path(path).read_bytes(),
    "list": os.listdir,
    "run": run,
    "bind": bind,
    "connect": connect,
    "abstract": lambda name: socket.socket(socket.AF_UNIX).connect(f"\0{name}"),
    "signal": send_signal,
    "fork": fork,
    "allocate": allocate,
    "environment": environment,
    "user": user,
}


def tried(action: str, thing: str) -> str:
    try:
        TRIES[action](thing)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    except WordsError as words:
        return str(words)
    return "done"


def main() -> None:
    tries = [each for each in sys.argv[1:] if not each.startswith("serve=")]
    sys.stdout.write(json.dumps({each: tried(*each.split("=", 1)) for each in tries}) + "\n")
    sys.stdout.flush()
    if len(tries) < len(sys.argv[1:]):
        port = int(sys.argv[-1].removeprefix("serve="))
        ThreadingHTTPServer((HERE, port), SimpleHTTPRequestHandler).serve_forever()


if __name__ == "__main__":
    main()
