"""How far desired state had come when the instances beside this note were last told what is wanted.

The database may be put back to an earlier day while engines run on. Then it is older than this note, and what it
says is not acted on: it would stop what was declared since. Nobody needs the note after a boot, when nothing runs, so
it need not survive one.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import structlog

_log = structlog.get_logger()


class Position(msgspec.Struct, frozen=True):
    history_id: str
    revision: int


class HighWater:
    def __init__(self, path: Path) -> None:
        self._path = path

    def above(self, history_id: str, revision: int) -> bool:
        """Whether more was acted on than this position says. Without a note that can be read: no."""
        noted = self._noted()
        return noted is not None and (noted.history_id != history_id or noted.revision > revision)

    def rise(self, history_id: str, revision: int) -> None:
        """Call it once the position is stored. Unwritten, it only fails to notice what an older database says."""
        text = msgspec.json.encode(Position(history_id, revision))
        scratch = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            scratch.write_bytes(text)
            scratch.replace(self._path)
        except OSError as error:
            _log.warning("high_water_not_noted", path=str(self._path), error=str(error))

    def _noted(self) -> Position | None:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Position)
        except (OSError, msgspec.DecodeError):
            return None
