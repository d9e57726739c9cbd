"""What a node learns from its launches."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from control_plane.domain import footprint as at_the_control_plane
from control_plane.domain.runtime import EngineSettings as DeclaredSettings
from node_agent.disk.database import Database
from node_agent.disk.footprints import KEPT, SqliteFootprints
from node_agent.domain.footprint import Footprint, FootprintKey, given, grown, is_news
from node_agent.domain.spec import EngineSettings
from node_agent.runtimes.footprints import family, memory_of
from wire.engine_options import options_digest

KEY = FootprintKey("model", "engine", "options", "cpu")


def after(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteFootprints]:
    database = Database(tmp_path / "agent.db")
    yield SqliteFootprints(database)
    database.close()


def test_the_most_of_all_launches_is_kept() -> None:
    first = Footprint(KEY, 100, after(5), None, 1)
    assert grown(None, first) == first
    assert grown(first, Footprint(KEY, 90, after(7), 40, 1)) == Footprint(KEY, 100, after(7), 40, 2)
    assert not is_news(first, replace(first, memory_bytes=104))
    assert is_news(first, replace(first, memory_bytes=106))
    assert is_news(first, replace(first, launches=2))


def test_a_footprint_outlives_the_agent_by_its_whole_key(store: SqliteFootprints) -> None:
    store.keep(Footprint(KEY, 100, after(5.5), None, 1))
    store.keep(Footprint(KEY, 200, after(6), 40, 2))
    assert store.of(KEY) == Footprint(KEY, 200, after(6), 40, 2)
    assert store.of(replace(KEY, accelerator="gpu_cuda")) is None
    assert store.slowest_load(replace(KEY, accelerator="")) == after(6)
    assert store.slowest_load(replace(KEY, options="others")) is None


def test_only_the_ones_used_last_are_kept(store: SqliteFootprints) -> None:
    for number in range(KEPT + 1):
        store.keep(Footprint(replace(KEY, options=str(number)), 1))
    assert store.of(replace(KEY, options="0")) is None
    assert store.of(replace(KEY, options=str(KEPT))) is not None


def test_node_and_control_plane_call_the_same_options_by_one_name() -> None:
    ours = EngineSettings(context_length=4096, slots=2, warm_up=False, pooling="cls")
    theirs = DeclaredSettings(context_length=4096, slots=2, warm_up=False, pooling="cls")
    assert options_digest(given(ours)) == at_the_control_plane.options_of(theirs)
    assert options_digest(given(EngineSettings())) != options_digest(given(ours))


def test_memory_of_a_process_is_what_it_really_holds() -> None:
    assert memory_of([os.getpid()]) > 1 << 20
    assert memory_of([2**22 + 1]) == 0


def test_children_of_every_thread_are_of_the_family() -> None:
    script = "import subprocess, threading; threading.Thread(target=subprocess.run, args=(['sleep', '60'],)).start()"
    with subprocess.Popen([sys.executable, "-c", script]) as parent:
        try:
            until(lambda: len(family(parent.pid)) == 1)
            assert parent.pid in family(os.getpid())
            assert family(parent.pid) < family(os.getpid())
        finally:
            for pid in (*family(parent.pid), parent.pid):
                os.kill(pid, signal.SIGKILL)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)
