"""Reads the logs of engines: the last lines, and what follows, over rotations and restarts."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from node_agent.domain.spec import InstanceName
from node_agent.runtimes.directory import InstanceDirectory
from node_agent.use_cases.ports import LogChunk

CHUNK_BYTES = 1 << 16
LINE_BYTES = 1 << 12
"""A line is taken to be no longer than this when the last ones are looked for."""
POLL_S = 0.25
NAME = re.compile(r"engine\.(\d+)(?:\.(\d+))?\.log")
CURRENT = sys.maxsize
"""Piece number of the file that is still written to."""


@dataclass(frozen=True, slots=True, order=True)
class Piece:
    """One file of a launch's log. Pieces put aside count from 1."""

    incarnation: int
    number: int

    @property
    def file_name(self) -> str:
        return f"engine.{self.incarnation}.log" if self.number == CURRENT else self._aside

    @property
    def _aside(self) -> str:
        return f"engine.{self.incarnation}.{self.number}.log"


def log_name(incarnation: int) -> str:
    return Piece(incarnation, CURRENT).file_name


def pieces(folder: Path) -> list[Piece]:
    """Oldest first."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 - names are all that is needed
    except FileNotFoundError:
        return []
    matches = [match for name in names if (match := NAME.fullmatch(name))]
    return sorted(Piece(int(match[1]), int(match[2] or CURRENT)) for match in matches)


def tail(folder: Path, lines: int, incarnation: int | None = None) -> list[LogChunk]:
    """The last lines of all launches, or of one."""
    chunks: list[LogChunk] = []
    for piece in reversed(pieces(folder)):
        if lines <= 0:
            break
        if incarnation in (None, piece.incarnation):
            data = _last_lines(_path(folder, piece), lines)
            lines -= data.count(b"\n")
            chunks[:0] = _chunks(piece.incarnation, data)
    return chunks


def tail_lines(folder: Path, lines: int, incarnation: int) -> tuple[str, ...]:
    data = b"".join(chunk.data for chunk in tail(folder, lines, incarnation))
    return tuple(data.decode("utf-8", errors="replace").splitlines()[-lines:])


def _path(folder: Path, piece: Piece) -> Path:
    return folder / piece.file_name


def _last_lines(path: Path, lines: int) -> bytes:
    data = _read(path, max(0, _size(path) - lines * LINE_BYTES), lines * LINE_BYTES)
    return b"".join(data.splitlines(keepends=True)[-lines:])


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _read(path: Path, offset: int, limit: int = CHUNK_BYTES) -> bytes:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return b""
    with os.fdopen(handle, "rb") as file:
        file.seek(offset)
        return file.read(limit)


def _chunks(incarnation: int, data: bytes) -> list[LogChunk]:
    return [LogChunk(incarnation, data[at : at + CHUNK_BYTES]) for at in range(0, len(data), CHUNK_BYTES)]


class Follower:
    """A place in the log of an instance. Copies keep their bytes when they are put aside, so an offset stays true."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        here = pieces(folder)
        self._incarnation = here[-1].incarnation if here else 0
        self._number = self._next_number(here)
        self._offset = _size(_path(folder, here[-1])) if here else 0

    @classmethod
    def from_start(cls, folder: Path) -> Self:
        made = cls(folder)
        made._incarnation, made._number, made._offset = 0, 1, 0
        return made

    def _next_number(self, here: list[Piece]) -> int:
        """Under which number the file that is written to now will be put aside."""
        return max((one.number for one in here if self._is_aside(one)), default=0) + 1

    def _is_aside(self, piece: Piece) -> bool:
        return piece.incarnation == self._incarnation and piece.number != CURRENT

    def news(self) -> Iterator[LogChunk]:
        """What was written since the last call, oldest first."""
        for piece in pieces(self._folder):
            if self._lies_ahead(piece):
                self._move_to(piece)
                yield from self._rest_of(piece)

    def _lies_ahead(self, piece: Piece) -> bool:
        return (piece.incarnation, piece.number) >= (self._incarnation, self._number)

    def _move_to(self, piece: Piece) -> None:
        """A new launch starts at its first byte."""
        if piece.incarnation != self._incarnation:
            self._incarnation, self._number, self._offset = piece.incarnation, 1, 0

    def _rest_of(self, piece: Piece) -> Iterator[LogChunk]:
        while data := _read(_path(self._folder, piece), self._offset):
            self._offset += len(data)
            yield LogChunk(piece.incarnation, data)
        if piece.number != CURRENT:
            self._number, self._offset = piece.number + 1, 0


def everything(folder: Path) -> Iterator[LogChunk]:
    """Oldest first. The second pass finds what was put aside while the first one read it."""
    follower = Follower.from_start(folder)
    for _ in range(2):
        yield from follower.news()


class EngineLogs:
    """Logs of the instances under one directory."""

    def __init__(self, instances: Path) -> None:
        self._instances = instances

    async def read(self, instance: InstanceName, tail_lines: int, follow: bool) -> AsyncIterator[LogChunk]:
        folder = InstanceDirectory.of(self._instances, instance).path
        follower = Follower(folder)
        for chunk in await asyncio.to_thread(tail, folder, tail_lines):
            yield chunk
        while follow:
            for chunk in await asyncio.to_thread(lambda: list(follower.news())):
                yield chunk
            await asyncio.sleep(POLL_S)

    async def whole(self, instance: InstanceName) -> AsyncIterator[LogChunk]:
        chunks = everything(InstanceDirectory.of(self._instances, instance).path)
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            yield chunk
