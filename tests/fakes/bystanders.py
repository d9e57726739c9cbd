"""Innocent processes with the very pids that others had a moment ago. They note each signal that reaches them.

Run as a program it takes a line a request and answers with a line:

    take PID FILE     a bystander with this pid that reads FILE, as a backup does: "taken", "busy" or "impossible: WHY"
    end               ends all: JSON of what happened to them, by pid
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO

CLONE3 = 435
"""The same number on every architecture."""
CLONE_ARGUMENTS = (
    *("flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size"),
    *("tls", "set_tid", "set_tid_size", "cgroup"),
)
SET_PDEATHSIG = 1
MOST = 40
"""The oldest of more than this many ends."""
BEYOND_NOTING = {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}
FAREWELL = signal.SIGRTMAX
"""The last in the order in which signals that wait are handled."""


class CloneArguments(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in CLONE_ARGUMENTS]


class Bystanders:
    """The other process: one thread and nothing loaded, so that it can be cloned."""

    def __init__(self, folder: Path) -> None:
        notes = folder / "bystanders.notes"
        command = [sys.executable, "-I", "-S", __file__, str(notes)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.taken = 0

    def refusal(self) -> str:
        """Why pids cannot be chosen here; empty when they can."""
        with subprocess.Popen(["/bin/true"]) as ended:
            ended.wait()
        answer = self.take(ended.pid, Path("/dev/null"))
        return "" if answer in ("taken", "busy") else answer

    def take(self, pid: int, file: Path) -> str:
        """What became of it."""
        answer = self._ask(f"take {pid} {file}")
        self.taken += answer == "taken"
        return answer

    def end(self) -> Mapping[str, str]:
        """What happened to whom."""
        found: dict[str, str] = json.loads(self._ask("end"))
        self._process.communicate()
        return found

    def _ask(self, request: str) -> str:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{request}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


class Nursery:
    def __init__(self, notes: int) -> None:
        self.notes = notes
        self.alive: list[int] = []
        self.died: dict[str, str] = {}

    def take(self, pid: int, file: str) -> str:
        ready, tell = os.pipe()
        try:
            child = clone(pid)
            if child == 0:
                stand_by(pid, file, self.notes, tell)
            os.read(ready, 1)
        except OSError as error:
            return "busy" if error.errno == errno.EEXIST else f"impossible: {error.strerror}"
        finally:
            os.close(ready)
            os.close(tell)
        self.alive.append(child)
        self.look()
        if len(self.alive) > MOST:
            self.retire(self.alive[0])
        return "taken"

    def look(self) -> None:
        """Nobody but us may end them."""
        for pid in list(self.alive):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                self.died[str(pid)] = f"ended, status {os.waitpid(pid, 0)[1]}"
                self.alive.remove(pid)

    def retire(self, pid: int) -> None:
        self.alive.remove(pid)
        os.kill(pid, FAREWELL)
        status = os.waitpid(pid, 0)[1]
        if status:
            self.died[str(pid)] = f"ended, status {status}"

    def end(self) -> dict[str, str]:
        self.look()
        for pid in list(self.alive):
            self.retire(pid)
        os.lseek(self.notes, 0, os.SEEK_SET)
        noted = [line.partition(" ")[::2] for line in os.read(self.notes, 1 << 20).decode().splitlines()]
        return self.died | {pid: f"got signal {number}" for pid, number in noted}


def clone(pid: int) -> int:
    """As fork, with a pid of our choice. OSError."""
    chosen = (ctypes.c_int32 * 1)(pid)
    wanted = CloneArguments(exit_signal=signal.SIGCHLD, set_tid=ctypes.addressof(chosen), set_tid_size=1)
    # PyDLL keeps the interpreter's lock, which the child could not take again from anybody.
    libc = ctypes.PyDLL(None, use_errno=True)
    child: int = libc.syscall(CLONE3, ctypes.byref(wanted), ctypes.sizeof(wanted))
    if child < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return child


def stand_by(pid: int, file: str, notes: int, tell: int) -> None:
    ctypes.PyDLL(None).prctl(SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    for number in signal.valid_signals() - BEYOND_NOTING:
        signal.signal(number, lambda got, _: os.write(notes, f"{pid} {got}\n".encode()) and None)
    signal.signal(FAREWELL, lambda *_: os._exit(0))
    if os.path.exists(file):  # noqa: PTH110 - the fewer modules the better
        os.open(file, os.O_RDONLY)
    os.write(tell, b"r")
    while True:
        signal.pause()


def main(requests: IO[str], notes: str) -> None:
    nursery = Nursery(os.open(notes, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600))
    for line in requests:
        what, *words = line.split()
        print(nursery.take(int(words[0]), words[1]) if what == "take" else json.dumps(nursery.end()), flush=True)
        if what == "end":
            return


if __name__ == "__main__":
    main(sys.stdin, sys.argv[1])
