"""Why a binary does not say what it is asked, and what helps against that."""

from __future__ import annotations

import errno
import platform
import re
import signal
from dataclasses import dataclass
from pathlib import Path

MAX_LINE = 200
_LIBRARY = re.compile(r"error while loading shared libraries: (\S+?):|Library not loaded: (\S+)")
_SYMBOL = re.compile(r"version `(\S+)' not found|symbol lookup error")
_MODULE = re.compile(r"No module named '(\S+)'")


@dataclass(frozen=True, slots=True)
class Cause:
    why: str
    remedy: str


def not_started(program: Path, error: OSError) -> Cause:
    why = error.strerror or str(error)
    match error.errno:
        case errno.ENOENT if program.exists():
            return Cause(
                f"{why}, though {program} is there",
                "What its first line or its loader names is missing: install that, or use a build for this system.",
            )
        case errno.ENOENT:
            return Cause(f"{why}: {program}", "Put the file back, or trust the one that took its place.")
        case errno.EACCES | errno.EPERM:
            remedy = "Make it executable for the agent's user (chmod +x), on a file system mounted without noexec."
            return Cause(why, remedy)
        case errno.ENOEXEC:
            return Cause(why, f"It is no program for this machine ({platform.machine()}): get a build for it.")
        case errno.EMFILE | errno.ENFILE | errno.ENOMEM | errno.EAGAIN:
            return Cause(why, "This machine is short of it now: raise the agent's limits, or try again later.")
        case _:
            return Cause(why, "Run it by hand to see what is missing.")


def too_late(seconds: float) -> Cause:
    remedy = "Run it by hand: it waits for something, or its first start is slow and the next one will do."
    return Cause(f"no answer within {seconds:g} s", remedy)


def ended(status: int, said: str) -> Cause:
    """`said`: all that it printed."""
    line = _last_line(said)
    if status < 0:
        return _killed(-status)
    if found := _LIBRARY.search(said):
        library = found.group(1) or found.group(2)
        return Cause(line, f"Install the library {library}, or name its folder in LD_LIBRARY_PATH of the agent.")
    if _SYMBOL.search(said):
        return Cause(line, "It was built for newer libraries than this machine has: use a build for this system.")
    if found := _MODULE.search(said):
        return Cause(line, f"Install {found.group(1)} for the Python that runs it.")
    why = f"exit status {status}"
    return Cause(f"{why}: {line}" if line else why, "Run it by hand with the same words to see what is missing.")


def _killed(number: int) -> Cause:
    known = number in set(signal.Signals)
    remedies: dict[int, str] = {
        signal.SIGILL: "It uses instructions that this processor lacks: use a build for older processors.",
        signal.SIGKILL: "Somebody killed it, most likely the kernel for want of memory: look at its log.",
        signal.SIGSYS: "The kernel forbids a call that it makes: look at what confines the agent.",
    }
    why = f"it was ended by {signal.Signals(number).name if known else f'signal {number}'}"
    return Cause(why, remedies.get(number, "Look at the kernel's log, or use another build."))


def _last_line(said: str) -> str:
    """What a program ends with is mostly why."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1][:MAX_LINE] if lines else ""
