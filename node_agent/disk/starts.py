"""How many starts of the agent in a row died before they had settled."""

from __future__ import annotations

from pathlib import Path

import msgspec
import structlog

from wire.atomic_file import write_atomically

_log = structlog.get_logger()


class _Note(msgspec.Struct, frozen=True):
    unsettled: int


class Starts:
    """A note that cannot be read or written keeps no agent from starting."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def begin(self) -> int:
        """Count this start as one that dies, until it is known better; returns those before it."""
        died = self._noted()
        self._write(died + 1)
        return died

    def forget(self) -> None:
        """This start settled, or ended in good order; or somebody looked into it."""
        self._write(0)

    def _noted(self) -> int:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_Note).unsettled
        except (OSError, msgspec.DecodeError):
            return 0

    def _write(self, unsettled: int) -> None:
        try:
            write_atomically(self._path, msgspec.json.encode(_Note(unsettled)))
        except OSError as error:
            _log.warning("start_not_noted", path=str(self._path), error=str(error))
