"""A node whose agent is killed at any moment, while engines answer, start, stop, are restored and crash."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from arwctl import tiny_model
from node_agent.domain.spec import DesiredState, EngineSettings, InstanceName, InstanceSpec, RestartPolicy, RestoreOrder
from node_agent.runtimes.process import Process
from tests.fakes.bystanders import Bystanders
from tests.fakes.drilled import Behaviours
from tests.fakes.forked_agents import ForkedAgents
from tests.fakes.instance_specs import model_at, spec
from tests.fakes.storm_watch import NAMES, OK, STEADY, Watch, asked, berth, leaves, ours

OTHERS = NAMES[1:]
"""Something happens to these."""
LIFE_S = 0.6
"""The longest that an agent lives: long enough for a start and a stop."""
DEAD_AT_START = 0.4
"""The share of agents that find an engine which died while there was none."""
SETTLE_EVERY = 25
SETTLED_S = 20
KEPT = 60
"""Last lines of what happened, shown when something is wrong."""


class KillStorm:
    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder = folder
        self.chance = chance
        self.behaviours = Behaviours(folder)
        self.agents = ForkedAgents(folder)
        self.bystanders = Bystanders(folder)
        self.watch = Watch(folder, self.behaviours)
        self.crashes: Counter[str] = Counter()
        self.happened: list[str] = []
        self._seen: dict[int, str] = {}
        self._reused: set[int] = set()
        model = model_at(tiny_model.write(folder / "tiny.gguf"))
        self.wanted = {name: _spec(name, model) for name in NAMES}
        self.absent: set[str] = set()

    def begin(self) -> None:
        for name in NAMES:
            self.behaviours.of(name, words=3, escape=name == "forker")
        self.agents.trust(self.behaviours.binary)
        self.desire()
        self.settle()

    def endure(self, kills: int) -> None:
        """AssertionError with what happened last when an instance has not one engine, or not its own."""
        self.begin()
        steady = self.record(STEADY)
        with self.watch.on():
            for number in range(1, kills + 1):
                self.round()
                if number % SETTLE_EVERY == 0:
                    self.settle()
        self.settle()
        now = self.record(STEADY)
        wrong = [*self.watch.doubles, *self.end()]
        assert (now, wrong) == (steady, []), self.told()

    # What goes on.

    def round(self) -> None:
        """One agent's life, and what happens before the next."""
        self.agents.start()
        life = self.chance.uniform(0, LIFE_S)
        time.sleep(life / 3)
        self.act(self.chance.choice(OTHERS))
        time.sleep(life * 2 / 3)
        self.agents.kill()
        self.note("agent killed")
        if self.chance.random() < DEAD_AT_START:
            self.crash(self.chance.choice(OTHERS))
        self.reuse_pids()

    def act(self, name: str) -> None:
        match name:
            case "crasher" | "forker":
                self.crash(name)
            case "stopper":
                flipped = self.wanted[name].desired_state is DesiredState.RUNNING
                self.want(name, desired_state=DesiredState.STOPPED if flipped else DesiredState.RUNNING)
            case "restored":
                order = self.wanted[name].restore
                self.want(name, restore=RestoreOrder(order.serial + 1, restart=True))
            case "changed":
                settings = self.wanted[name].settings
                self.want(name, settings=replace(settings, context_length=(settings.context_length or 512) + 1))
            case _:
                self.absent ^= {name}
                self.desire()
        self.note(f"{name}: asked for its next thing")

    def want(self, name: str, **changes: Any) -> None:
        before = self.wanted[name]
        self.wanted[name] = replace(before, generation=before.generation + 1, **changes)
        self.desire()

    def desire(self) -> None:
        self.agents.desire([one for name, one in self.wanted.items() if name not in self.absent])

    def crash(self, name: str) -> None:
        """kill -9, now and then of its shim too."""
        found = self.record(name)
        engine = Process.hold(found.get("engine_pid", 0), found.get("engine_start_ticks", 0))
        if engine is None:
            return
        shim = Process.hold(found["shim_pid"], found["shim_start_ticks"]) if self.chance.choice((True, False)) else None
        for process in filter(None, (shim, engine)):
            process.send(signal.SIGKILL)
            process.release()
        self.crashes[name] += 1
        self.note(f"{name}: killed engine {found['engine_pid']}{' and shim' if shim else ''}")

    def reuse_pids(self) -> None:
        """Where pids can be chosen, whoever ended gives its own to somebody innocent."""
        for name in NAMES:
            found = self.record(name)
            pids = {*self.behaviours.starts(name), found.get("engine_pid", 0), found.get("shim_pid", 0)}
            self._seen |= dict.fromkeys(pids - {0} - self._reused, name)
        for pid, name in [each for each in self._seen.items() if not Path(f"/proc/{each[0]}").exists()]:
            answer = self.bystanders.take(pid, self.home(name) / "lock")
            self.note(f"{name}: its former pid {pid} {answer}")
            self._reused.add(pid)
            del self._seen[pid]

    def note(self, line: str) -> None:
        self.happened.append(f"{time.monotonic():.2f} {line}")
        del self.happened[:-KEPT]

    # What is seen.

    def settle(self) -> None:
        """An agent that is let live makes it all so; then it is killed as well."""
        self.agents.start()
        end = time.monotonic() + SETTLED_S
        while wrong := self.wrong():
            assert time.monotonic() < end, f"{wrong} after {SETTLED_S} s; {self.told()}"
            time.sleep(0.05)
        self.agents.kill()

    def wrong(self) -> list[str]:
        """What is not as it is wanted."""
        alive = self.watch.engines()
        running = {name for name in NAMES if self.runs(name)}
        return [
            *(f"{name} has the engines {pids}" for name, pids in alive.items() if len(pids) != (name in running)),
            *(f"{name} does not answer" for name in running if not self.answers(name)),
            *(f"{name} used {used} restarts" for name, used in self.used().items() if used > self.crashes[name]),
        ]

    def launches(self) -> int:
        return sum(len(self.behaviours.starts(name)) for name in NAMES)

    def runs(self, name: str) -> bool:
        return name not in self.absent and self.wanted[name].desired_state is DesiredState.RUNNING

    def used(self) -> Mapping[str, int]:
        return {name: len(self._read(name, "state.json").get("restarts", ())) for name in NAMES}

    def answers(self, name: str) -> bool:
        return asked(self.home(name)) == OK

    def record(self, name: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((berth(self.home(name)) / "run.json").read_bytes())
        except FileNotFoundError:
            return {}
        return found

    def home(self, name: str) -> Path:
        return self.folder / "state" / "instances" / name

    def _read(self, name: str, file: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.home(name) / file).read_bytes())
        except FileNotFoundError:
            return {}
        return found

    def told(self) -> str:
        return "\n".join([f"{self.crashes=}", *self.happened, self.agents.log()])

    def end(self) -> list[str]:
        """Once everything was stopped: who is left, and what happened to bystanders."""
        self.agents.desire(())
        self.agents.start()
        end = time.monotonic() + SETTLED_S
        while (left := ours(self.folder)) and time.monotonic() < end:
            time.sleep(0.05)
        self.agents.kill()
        hurt = self.bystanders.end()
        orphans = [f"orphan {pid}: {words}" for pid, words in left.items()]
        groups = [f"group {leaf}" for name in NAMES for leaf in leaves(self.home(name))]
        return [*orphans, *groups, *(f"bystander {pid} {what}" for pid, what in hurt.items())]

    def clear(self) -> None:
        self.agents.end()
        for pid in ours(self.folder):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _spec(name: str, model: Any) -> InstanceSpec:
    return spec(
        name=InstanceName(f"nodes/n/instances/{name}"),
        runtime_id=name,
        model=model,
        settings=EngineSettings(context_length=512, slots=1),
        restart=RestartPolicy(max_restarts=10_000),
    )


@contextmanager
def kill_storm(seed: int) -> Iterator[KillStorm]:
    """Nothing is left of it, whatever happened in it."""
    with TemporaryDirectory(prefix="arw-storm-", ignore_cleanup_errors=True) as folder:
        storm = KillStorm(Path(folder), random.Random(seed))  # noqa: S311 - repeatable, not secret
        try:
            yield storm
        finally:
            storm.clear()
