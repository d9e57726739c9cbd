"""How far one process knows its history to have come, by what was committed. A database may come back with less."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from control_plane.store.listeners import Position

NOTED_EVERY_S = 1.0

_log = structlog.get_logger()

MARK = "SELECT history_id, revision, last_event_id FROM meta"


class Mark(NamedTuple):
    history_id: str
    position: Position

    @classmethod
    def of(cls, record: Sequence[Any]) -> Mark:
        """A row that `MARK` selects."""
        history_id, revision, last_event_id = record
        return cls(history_id, Position(revision, last_event_id))

    def is_ahead_of(self, found: Mark) -> bool:
        """True when `found`, which was read later, lacks something: commits were lost."""
        gone_back = any(there < known for there, known in zip(found.position, self.position, strict=True))
        return gone_back and found.history_id == self.history_id


class KnownHistory:
    """For any thread."""

    def __init__(self, mark: Mark) -> None:
        self._mark = mark
        self._lock = threading.Lock()

    @property
    def mark(self) -> Mark:
        return self._mark

    def committed(self, mark: Mark) -> None:
        """It was read, or written, in a writer's turn."""
        with self._lock:
            if not self._mark.is_ahead_of(mark):
                self._mark = mark

    def seen(self, before: Mark, found: Mark) -> bool:
        """False when only a writer's turn can tell what `found` means; `before` was known before it was read."""
        if found.history_id != before.history_id or before.is_ahead_of(found):
            return False
        with self._lock:
            if found.is_ahead_of(self._mark):
                self._mark = found
        return True


class Notebook:
    """A file for the next process on this machine. The last second may be missing in it, and a crash may cost it."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._noted: Mark | None = None
        self._next = 0.0

    def read(self) -> Mark | None:
        try:
            if self._file is None:
                return None
            history_id, revision, last_event_id = json.loads(self._file.read_bytes())
            return Mark(str(history_id), Position(int(revision), int(last_event_id)))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            _log.warning("known_history_unreadable", file=str(self._file), cause=str(error))
            return None

    def write(self, mark: Mark, *, at_once: bool = False) -> None:
        now = time.monotonic()
        if self._file is None or mark == self._noted or (now < self._next and not at_once):
            return
        self._noted, self._next = mark, now + NOTED_EVERY_S
        scratch = self._file.with_suffix(".new")
        try:
            scratch.write_text(json.dumps([mark.history_id, *mark.position]))
            scratch.replace(self._file)
        except OSError as error:
            _log.warning("known_history_not_noted", file=str(self._file), cause=str(error))
