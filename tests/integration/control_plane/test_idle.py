from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from control_plane.store.sqlite import SqliteStore
from tests.fakes.running_plane import RunningPlane

A_WHILE_S = 3
ABOUT_OPERATORS = 2
"""What is read each two seconds, for a change of operators is in no change log."""


async def test_a_control_plane_of_which_nobody_wants_anything_comes_to_leave_its_database_alone(
    plane: RunningPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Counter[str] = Counter()
    read = SqliteStore._read

    def counted(store: SqliteStore, query: Callable[[Any], Any]) -> Any:
        asked[query.__qualname__] += 1
        return read(store, query)

    monkeypatch.setattr(SqliteStore, "_read", counted)
    await plane.declare("r1")
    while True:
        asked.clear()
        await asyncio.sleep(A_WHILE_S)
        if asked.total() <= ABOUT_OPERATORS:
            break
