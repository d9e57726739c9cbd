"""A command that we run for a person: it has our terminal and hears our signals, and its end is ours."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
OF_KEYS = {signal.SIGINT, signal.SIGQUIT}
"""A terminal sends them to all of its foreground group when a key is pressed."""
TERMINAL = Path("/dev/tty")
BY_SIGNAL = 128
"""And its number: the status that shells give to a command which a signal ended."""

Take = Callable[[signal.Signals], None]


class Errand:
    """One run of a command."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def begin(cls, command: Sequence[str], more: Mapping[str, str]) -> Errand:
        """`more`: added to our environment."""
        return cls(await asyncio.create_subprocess_exec(*command, env={**os.environ, **more}))

    def hear(self, number: signal.Signals) -> None:
        """Hand a signal on, unless the command got it as we did."""
        if not (number in OF_KEYS and _in_foreground()):
            self.send(number)

    def send(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            self._process.send_signal(number)

    async def status(self) -> int:
        """Its exit status, once it has ended."""
        code = await self._process.wait()
        return code if code >= 0 else BY_SIGNAL - code


@contextmanager
def heard_by(take: Take) -> Iterator[None]:
    """What is sent to us in the block goes to `take`."""
    loop = asyncio.get_running_loop()
    for number in HEARD:
        loop.add_signal_handler(number, take, number)
    try:
        yield
    finally:
        for number in HEARD:
            loop.remove_signal_handler(number)


def _in_foreground() -> bool:
    """Whether our group, and so the command's, is the one that hears the keys of our terminal."""
    try:
        with TERMINAL.open("rb", buffering=0) as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False
