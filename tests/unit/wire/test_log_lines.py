from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from wire.log_lines import LogLines, LogLinesFactory


@contextmanager
def opened(path: Path | str) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def test_lines_arrive_whole_and_in_order(tmp_path: Path) -> None:
    with opened(tmp_path / "log") as descriptor:
        lines = LogLines(descriptor)
        lines.info("one")
        lines.error("two")
    assert (tmp_path / "log").read_text() == "one\ntwo\n"


def test_a_full_disk_costs_lines_and_says_how_many(tmp_path: Path) -> None:
    with opened(tmp_path / "log") as descriptor, opened("/dev/full") as full:
        lines = LogLines(descriptor)
        lines.info("before")
        room = os.dup(descriptor)
        os.dup2(full, descriptor)
        lines.info("lost")
        lines.info("lost too")
        os.dup2(room, descriptor)
        os.close(room)
        lines.info("after")
    assert (tmp_path / "log").read_text() == 'before\n{"event": "log_lines_lost", "lines": 2}\nafter\n'


def test_a_line_that_was_torn_stays_on_its_own_line() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    lines = LogLines(write)
    lines.info("x" * 100_000)
    taken = os.read(read, 100_000)
    assert len(taken) < 100_000
    lines.info("after")
    assert os.read(read, 1000) == b'\n{"event": "log_lines_lost", "lines": 1}\nafter\n'
    os.close(read)
    os.close(write)


def test_every_level_of_a_logger_reaches_it(tmp_path: Path) -> None:
    with opened(tmp_path / "log") as descriptor:
        factory = LogLinesFactory(descriptor)
        logger = structlog.wrap_logger(factory(), processors=[structlog.processors.JSONRenderer()])
        for level in ("debug", "info", "warning", "error", "critical", "exception"):
            getattr(logger, level)("said", level=level)
    assert (tmp_path / "log").read_text().count("said") == 6
    assert factory() is factory("a name")
