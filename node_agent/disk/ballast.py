"""Room that is kept back, so that a full disk still takes the agent's own records."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import structlog

from node_agent.domain.disk_room import BALLAST

_log = structlog.get_logger()


class Ballast:
    """A file of that size; its blocks are its own. Every call may block."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._possible = True

    def is_there(self) -> bool:
        return self._path.exists()

    def make(self) -> None:
        """All of it, or nothing. Where blocks cannot be set aside it is not tried again."""
        if not self._possible:
            return
        try:
            self._fill()
        except OSError as error:
            self._possible = False
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
            _log.warning("ballast_not_made", path=str(self._path), error=str(error))

    def free(self) -> None:
        """The disk is full: its room is for the agent's records now."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("ballast_not_freed", path=str(self._path), error=str(error))
        else:
            _log.warning("ballast_freed", path=str(self._path))

    def _fill(self) -> None:
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.posix_fallocate(handle, 0, BALLAST)
        finally:
            os.close(handle)
