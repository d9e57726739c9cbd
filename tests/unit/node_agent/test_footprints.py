"""What a node learns from its launches."""

from __future__ import annotations

import os
import signal
import sqlite3
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
from node_agent.domain.footprint import Footprint, FootprintKey, Speeds, blended, given, grown, is_news
from node_agent.domain.spec import EngineSettings
from node_agent.runtimes.footprints import family, memory_of
from wire.engine_options import options_digest

KEY = FootprintKey("model", "engine", "options", "cpu")
EARLIER_TABLE = """
CREATE TABLE footprint (id INTEGER PRIMARY KEY, model TEXT NOT NULL, engine TEXT NOT NULL, options TEXT NOT NULL,
    accelerator TEXT NOT NULL, memory_bytes INTEGER NOT NULL, load_ms INTEGER NOT NULL, device_memory_bytes INTEGER,
    launches INTEGER NOT NULL, UNIQUE (model, engine, options, accelerator))
"""


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


def test_speeds_are_those_of_late_and_what_was_not_seen_stays_unknown() -> None:
    first = Footprint(KEY, 100, speeds=Speeds(generated=10.0))
    assert grown(None, first).speeds == Speeds(10.0, None)
    assert grown(first, Footprint(KEY, 90, speeds=Speeds(prompt=200.0))).speeds == Speeds(10.0, 200.0)
    assert blended(Speeds(10.0), Speeds(20.0, 5.0)) == Speeds(12.5, 5.0)
    assert is_news(first, replace(first, speeds=Speeds(10.0, 200.0)))
    assert is_news(first, replace(first, speeds=Speeds(10.6)))
    assert not is_news(first, replace(first, speeds=Speeds(10.4)))


def test_speeds_are_kept_and_a_table_of_an_earlier_agent_takes_them(tmp_path: Path) -> None:
    before = sqlite3.connect(tmp_path / "agent.db")
    before.execute(EARLIER_TABLE)
    before.execute("INSERT INTO footprint VALUES (1, 'model', 'engine', 'options', 'cpu', 100, 5500, NULL, 1)")
    before.commit()
    before.close()
    database = Database(tmp_path / "agent.db")
    store = SqliteFootprints(database)
    assert store.of(KEY) == Footprint(KEY, 100, after(5.5), None, 1)
    store.keep(Footprint(KEY, 100, after(5.5), None, 1, Speeds(9.25, 120.5)))
    database.close()
    again = Database(tmp_path / "agent.db")
    kept = SqliteFootprints(again).of(KEY)
    again.close()
    assert kept is not None
    assert kept.speeds == Speeds(9.25, 120.5)


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


def test_what_a_prompt_cache_holds_is_no_other_launch_to_be_measured() -> None:
    warmed = EngineSettings(slots=2, warm_up_prompts=("You are terse.",), prompt_cache="songs")
    assert options_digest(given(warmed)) == options_digest(given(EngineSettings(slots=2)))
    assert at_the_control_plane.options_of(DeclaredSettings(slots=2, warm_up_prompts=("x",))) == options_digest(
        given(warmed)
    )


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
