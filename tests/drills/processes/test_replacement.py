"""The agent killed at any moment while an engine is replaced by one with other settings."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest

from arwctl import tiny_model
from node_agent.domain.spec import EngineSettings, InstanceName
from tests.fakes.bystanders import Bystanders
from tests.fakes.drilled import Behaviours
from tests.fakes.forked_agents import ForkedAgents
from tests.fakes.instance_specs import model_at, spec
from tests.fakes.storm_watch import OK, arguments, asked, leaves, ours

NAME = "changed"
KILLS = 14
LIFE_S = 0.5
TOO_SHORT = 0.3
"""The share of agents that are killed without regard to what they came to."""
SETTLED_S = 20
pytestmark = pytest.mark.timeout(120)


def settings(context_length: int) -> EngineSettings:
    return EngineSettings(context_length=context_length, slots=1)


class Replaced:
    """One instance whose settings change with every agent's life."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.behaviours = Behaviours(folder)
        self.behaviours.of(NAME, ready_after=0.2)
        self.agents = ForkedAgents(folder)
        self.agents.trust(self.behaviours.binary)
        self.bystanders = Bystanders(folder)
        self.answers: Counter[int] = Counter()
        self.most = 0
        self.over = Event()
        model = model_at(tiny_model.write(folder / "tiny.gguf"))
        name = InstanceName(f"nodes/n/instances/{NAME}")
        self.wanted = spec(name=name, runtime_id=NAME, model=model, settings=settings(512))

    @property
    def home(self) -> Path:
        return self.folder / "state" / "instances" / NAME

    def engines(self) -> list[int]:
        mark = f"{self.folder}/{NAME}.json"
        return [pid for pid in sorted(set(self.behaviours.starts(NAME))) if mark in arguments(pid)]

    def change(self) -> None:
        length = (self.wanted.settings.context_length or 0) + 1
        self.wanted = replace(self.wanted, generation=self.wanted.generation + 1, settings=settings(length))
        self.agents.desire([self.wanted])

    def settle(self) -> None:
        """One engine, with the settings that are wanted, and an agent that knows that it serves."""
        self.agents.start()
        wanted = str(self.wanted.settings.context_length)
        end = time.monotonic() + SETTLED_S
        while [wanted in arguments(pid) for pid in self.engines()] != [True] or not self.is_known_to_serve():
            assert time.monotonic() < end, f"{self.engines()}\n{self.agents.log()}"
            time.sleep(0.05)

    def is_known_to_serve(self) -> bool:
        return asked(self.home) == OK and json.loads((self.home / "state.json").read_bytes())["ready_time"] is not None

    def live(self, chance: random.Random) -> None:
        """Now and then not long enough for a launch; else into the load of the next engine, the switch, or beyond."""
        before, end = len(self.behaviours.starts(NAME)), time.monotonic() + SETTLED_S
        if chance.random() < TOO_SHORT:
            time.sleep(chance.uniform(0, LIFE_S))
            return
        while len(self.behaviours.starts(NAME)) == before and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, LIFE_S))

    def give_pids_away(self) -> None:
        for pid in set(self.behaviours.starts(NAME)) - set(self.engines()):
            self.bystanders.take(pid, self.home / "lock")

    def watch(self) -> None:
        while not self.over.wait(0.02):
            answer = asked(self.home)
            # Between a look at the record and the request, another may have taken its place.
            self.answers[answer if answer == OK else asked(self.home)] += 1
            self.most = max(self.most, len(self.engines()))

    @contextmanager
    def watched(self) -> Iterator[None]:
        thread = Thread(target=self.watch)
        thread.start()
        try:
            yield
        finally:
            self.over.set()
            thread.join()

    def clear(self) -> None:
        self.agents.end()
        for pid in ours(self.folder):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def end(self) -> dict[int, str]:
        """Whatever is left once nothing is wanted."""
        self.agents.desire(())
        end = time.monotonic() + SETTLED_S
        while (left := ours(self.folder)) and time.monotonic() < end:
            time.sleep(0.05)
        return left


def test_an_agent_killed_while_an_engine_is_replaced_leaves_no_gap_no_orphan_and_signals_nobody_else(
    tmp_path: Path,
) -> None:
    chance, one = random.Random(7), Replaced(tmp_path)  # noqa: S311 - repeatable, not secret
    try:
        one.agents.desire([one.wanted])
        one.settle()
        with one.watched():
            for _ in range(KILLS):
                one.agents.kill()
                one.change()
                one.agents.start()
                one.live(chance)
                one.give_pids_away()
            one.agents.kill()
            one.settle()
        assert (set(one.answers), one.most) == ({OK}, 2)
        assert len(one.behaviours.starts(NAME)) > KILLS // 2
        assert (one.end(), leaves(one.home)) == ({}, [])
        one.agents.kill()
        assert one.bystanders.end() == {}
    finally:
        one.clear()
