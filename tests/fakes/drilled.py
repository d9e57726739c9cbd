"""A World whose processes are killed, stopped, starved and copied."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from arw_client import ArwError, Context, Prompt, connect
from arwctl import tiny_model
from arwctl.local.leftovers import left
from arwctl.local.process import Child, running, spawn
from node_agent.runtimes.directory import InstanceDirectory
from tests.fakes import fake_runtime, owner_file
from tests.fakes.world import World, gone, kill_hard, kill_left, send

AGENT = Path(sys.executable).with_name("arw-node-agent")
CONTROL_PLANE = Path(sys.executable).with_name("arw-control-plane")
MODEL = '[[models]]\nid = "tiny-chat"\npath = "tiny-chat.gguf"\n'
RUNTIME = """
[[runtimes]]
id = "{id}"
adapter = "llama.cpp"
model = "tiny-chat"
auto_start = {auto_start}
modalities = ["text"]
accelerator = "cpu"

[runtimes.settings]
context_length = {context_length}
slots = 1
"""
FAKE = """\
#!/bin/sh
before=
name=plain
for word in "$@"; do
    [ "$before" = --alias ] && name=$word
    before=$word
done
exec {python} {fake} --behaviour {folder}/$name.json "$@"
"""


def manifest(*ids: str, auto_start: bool = True, context_length: int = 512, model: str = MODEL) -> str:
    """`model` is empty for a model that is recorded already."""
    values = {"auto_start": str(auto_start).lower(), "context_length": context_length}
    return f"version = 1\n\n{model}" + "".join(RUNTIME.format(id=id_, **values) for id_ in ids)


@dataclass(frozen=True, slots=True)
class Engine:
    """A launch that lives."""

    pid: int
    shim: int
    incarnation: int


class Drilled(World):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._children: list[Child] = []

    @property
    def agent_state(self) -> Path:
        return self.state / "node_agent"

    @property
    def control_plane_state(self) -> Path:
        return self.state / "control_plane"

    @property
    def agent_pid(self) -> int:
        return _serving(self.agent_state)

    @property
    def control_plane_pid(self) -> int:
        return _serving(self.control_plane_state)

    def begin(self, *ids: str, engine: Path | None = None) -> None:
        """Up, with these runtimes ready."""
        trusted = ["--engine", str(engine)] if engine else []
        if engine:
            owner_file.write(self.state, folders=[engine.parent])
        self.done(*self.up_words(), "--detach", *trusted)
        self.apply(manifest(*ids))

    def declare(self, text: str, *words: str) -> Any:
        """Apply without waiting; what the command said."""
        model = self.folder / "tiny-chat.gguf"
        if not model.exists():
            tiny_model.write(model)
        file = self.folder / "drill.toml"
        file.write_text(text)
        return self.arwctl("runtime", "apply", "-f", file, *words)

    # The processes.

    def start_agent(self, state: Path | None = None, **environment: str) -> Child:
        folder = state or self.state
        return self._start(AGENT, folder, folder / "node_agent" / "node-agent.log", environment)

    def start_control_plane(self) -> Child:
        """Returns once it serves."""
        log = self.control_plane_state / "control-plane.log"
        child = self._start(CONTROL_PLANE, self.state, log, {})
        self.until(lambda: self.control_plane_pid == child.pid, "the control plane serving", 20)
        return child

    def stop_control_plane(self) -> None:
        """Returns once it has ended: its record goes long before its lock and its hold on the database."""
        pid = self.control_plane_pid
        send(pid, signal.SIGTERM)
        self.until(lambda: gone(pid), "the end of the control plane", 20)

    def _start(self, program: Path, state: Path, log: Path, environment: dict[str, str]) -> Child:
        words = ["/usr/bin/env", *(f"{name}={value}" for name, value in environment.items())]
        # env replaces itself, so that the child's pid is the program's.
        child = spawn([*words, "ARW_TIMERS=test", str(program), "run", "--state-dir", str(state)], log)
        self._children.append(child)
        return child

    def engines(self) -> dict[str, Engine]:
        """Those that live, by runtime."""
        return {name: engine for name, engine in self._recorded() if not gone(engine.pid)}

    def _recorded(self) -> Iterator[tuple[str, Engine]]:
        for home in map(InstanceDirectory, self.agent_state.glob("instances/*")):
            if record := _read(home.current().path / "run.json"):
                yield home.path.name, Engine(record["engine_pid"], record["shim_pid"], record["incarnation"])

    def kill_all_but_engines(self) -> None:
        pids = (self.agent_pid, self.control_plane_pid)
        for pid in pids:
            send(pid, signal.SIGKILL)
        self.until(lambda: all(map(gone, pids)), "the end of both", 10)

    # What is seen.

    def link(self) -> dict[str, Any]:
        """What the agent shows of its connection."""
        return _read(self.agent_state / "link.json") or {"state": "none", "session_epoch": 0}

    def agent_says(self) -> dict[str, Any]:
        """`arw-node-agent status`, which asks nobody."""
        said = self.command(AGENT, "status", "--state-dir", self.state, "--output", "json")
        assert said.code == 0, said.err
        found: dict[str, Any] = json.loads(said.out)
        return found

    def until_in_sync(self, after: int, seconds: float = 10) -> float:
        """Seconds until the agent is in sync in a session later than `after`."""
        began = time.monotonic()
        self.until(
            lambda: self.link()["state"] == "in_sync" and self.link()["session_epoch"] > after,
            f"a session after {after} in sync",
            seconds,
        )
        return time.monotonic() - began

    def runtimes(self) -> dict[str, dict[str, Any]]:
        """Status by runtime."""
        found = self.status()["supervisor"]["runtimes"]
        return {each["descriptor"]["id"]: each["status"] for each in found}

    def states(self) -> dict[str, str]:
        return {name: status["state"] for name, status in self.runtimes().items()}

    def node_problems(self) -> list[str]:
        """Reasons that its only node gives, as the contract names them."""
        (node,) = json.loads(self.done("nodes", "list", "-o", "json"))
        return [problem["reason"].upper() for problem in node.get("problems", [])]

    def declared(self) -> dict[str, Any]:
        return {each["id"]: each for each in json.loads(self.done("runtime", "list", "-o", "json"))}

    def ask(self, model: str, patience_s: float = 0) -> str:
        """One prompt; ArwError when it is refused and patience ends."""
        return asyncio.run(self.reply(model, patience_s))

    async def reply(self, model: str, patience_s: float) -> str:
        async with connect(self.context) as client:
            prompt = Prompt(model, [{"role": "user", "content": "hello"}])
            answer = await client.chat(patience_s, patience_s).reply(prompt, lambda *_: None)
            text: str = answer["choices"][0]["message"]["content"]
            return text.strip()

    @cached_property
    def context(self) -> Context:
        return Context.load(self.state / "context.json")

    def no_orphans(self) -> None:
        """What runs for the state directory is what is known to run."""
        self.until(lambda: left(self.state).keys() <= self._known(), f"no orphan: {left(self.state)}", 5)

    def _known(self) -> set[int]:
        launches = [pid for _, engine in self._recorded() for pid in (engine.pid, engine.shim)]
        return {self.agent_pid, self.control_plane_pid, *launches}

    def end(self) -> None:
        super().end()
        for child in self._children:
            child.poll()


def _serving(folder: Path) -> int:
    """0: nobody."""
    found = running(folder / "run.json")
    return found.pid if found else 0


def _read(record: Path) -> dict[str, Any]:
    """Empty: there is none, or no more."""
    try:
        found: dict[str, Any] = json.loads(record.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return found


def refused(world: Drilled, model: str) -> ArwError:
    """How a prompt is refused."""
    try:
        world.ask(model)
    except ArwError as error:
        return error
    raise AssertionError(f"{model} answered")


def freeze(pid: int) -> None:
    send(pid, signal.SIGSTOP)


def thaw(pid: int) -> None:
    send(pid, signal.SIGCONT)


class Behaviours:
    """A fake engine for a whole node: each runtime behaves as its file says."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.binary = folder / "llama-server"
        fake = Path(fake_runtime.__file__)
        self.binary.write_text(FAKE.format(python=sys.executable, fake=fake, folder=folder))
        self.binary.chmod(0o700)
        self.of("plain")

    def of(self, runtime: str, **behaviour: Any) -> None:
        (self._folder / f"{runtime}.json").write_text(json.dumps(behaviour))

    def starts(self, runtime: str) -> list[int]:
        """Pids of every start so far."""
        file = self._folder / f"{runtime}.starts"
        return [int(line) for line in file.read_text().split()] if file.exists() else []


@contextmanager
def drilled() -> Iterator[Drilled]:
    """Nothing is left of it, whatever happened in it."""
    with tempfile.TemporaryDirectory(prefix="arw-drill-", ignore_cleanup_errors=True) as folder:
        made = Drilled(Path(folder))
        try:
            yield made
        finally:
            made.end()


__all__ = [
    "Behaviours",
    "Drilled",
    "Engine",
    "drilled",
    "freeze",
    "gone",
    "kill_hard",
    "kill_left",
    "manifest",
    "refused",
    "thaw",
]
