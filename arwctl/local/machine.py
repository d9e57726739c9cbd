"""The two processes of a state directory: what runs, what is joined, how each is started and stopped."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from arw_client import ArwError, TimedOutError
from arwctl.local.process import Child, Running, completed, program, running, spawn, tail, until

START_S = 30.0
STOP_S = 20.0
AGENT_STOP_S = 90.0


@dataclass(frozen=True, slots=True)
class Part:
    """One of the two: its program and its folder."""

    program: str
    folder: Path
    log: Path
    title: str

    @property
    def running(self) -> Running | None:
        return running(self.folder / "run.json")

    async def start(self, state_dir: Path, *options: str) -> Running:
        """Spawn it and wait until it serves; ArwError with the end of its log when it ends instead."""
        return await self.begin(state_dir, "run", *options).serving()

    def begin(self, state_dir: Path, verb: str, *options: str, given: str | None = "") -> Starting:
        """Spawn it; `given` as `spawn` takes it."""
        before = self.log.stat().st_size if self.log.exists() else 0
        command = [program(self.program), verb, "--state-dir", str(state_dir), *options]
        return Starting(self, spawn(command, self.log, given), before)

    async def stop(self) -> int | None:
        """SIGTERM, then SIGKILL when it does not end; the pid that ended."""
        found = self.running
        if found is None:
            return None
        found.send(signal.SIGTERM)
        if not await until(lambda: not found.alive, STOP_S):
            found.send(signal.SIGKILL)
            await until(lambda: not found.alive, STOP_S)
        return found.pid


@dataclass(frozen=True, slots=True)
class Starting:
    """A part that was spawned and may not serve yet."""

    part: Part
    process: Child
    before: int
    """Length of its log when it was spawned."""

    async def serving(self) -> Running:
        """Once it serves; ArwError with the end of its log when it ends instead."""
        await until(lambda: self.process.poll() is not None or self._serves(), START_S)
        found = self.part.running
        if found and found.pid == self.process.pid:
            return found
        raise self._failed()

    async def abandon(self) -> None:
        """End it, unless it came to serve."""
        if not self._serves() and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGTERM)
            await until(lambda: self.process.poll() is not None, STOP_S)

    def _serves(self) -> bool:
        found = self.part.running
        return found is not None and found.pid == self.process.pid

    def _failed(self) -> ArwError:
        title, lines = self.part.title, tail(self.part.log, self.before)
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGTERM)
            error: ArwError = TimedOutError(f"The {title} did not serve within {START_S:g} s.", self._remedy())
        else:
            reason, remedy = spoken(lines)
            text = f"The {title} ended at once with status {self.process.poll()}{reason and ': ' + reason}"
            error = ArwError("LOCAL_STEP_FAILED", text, remedy or self._remedy())
        for line in lines:
            error.add_note(line)
        return error

    def _remedy(self) -> str:
        return f"Read {self.part.log}, mend what it names, then run `arwctl up` again."


def spoken(lines: list[str]) -> tuple[str, str]:
    """Reason and remedy in what a program said: the last that are marked so, else its last line that is no log line."""
    words = [line.strip() for line in lines if line.strip() and not line.startswith("{")]
    told = dict(line.split(":", 1) for line in words if line.startswith(("error:", "next:")))
    last = words[-1] if words else ""
    return told.get("error", last).strip(), told.get("next", "").strip()


def invitation(server: str, token: str) -> str:
    """What an agent that waits to join reads."""
    return f"{server}\n{token}\n"


@dataclass(frozen=True, slots=True)
class Newcomer:
    """What a node wishes when it joins."""

    name: str = ""
    """Empty: the host's name."""
    engines: tuple[Path, ...] = ()
    """Trusted besides those that are found."""

    def options(self) -> list[str]:
        engines = [word for path in self.engines for word in ("--engine", str(path.expanduser().absolute()))]
        return [*(["--name", self.name] if self.name else []), *engines]


class Machine:
    """The control plane and the node agent that share a state directory on this machine."""

    def __init__(self, state_dir: Path, context_file: Path) -> None:
        self.state_dir = state_dir
        self.context_file = context_file
        control_plane, node_agent = state_dir / "control_plane", state_dir / "node_agent"
        self.control_plane = Part(
            "arw-control-plane", control_plane, control_plane / "control-plane.log", "control plane"
        )
        self.agent = Part("arw-node-agent", node_agent, node_agent / "node-agent.log", "node agent")

    @property
    def joined(self) -> bool:
        return (self.agent.folder / "identity.json").exists()

    def begin_control_plane(self, ports: Mapping[str, int | str]) -> Starting:
        """Make what it needs, once, and serve: one process, because each costs a second to start."""
        self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.control_plane.begin(self.state_dir, "run", *self._made_with(ports))

    async def renew_context(self, ports: Mapping[str, int | str]) -> None:
        """Make the context file again beside a control plane that runs."""
        await self._run("arw-control-plane", "init", *self._made_with(ports))

    def _made_with(self, ports: Mapping[str, int | str]) -> list[str]:
        options = [word for name, value in ports.items() for word in (f"--{name}", str(value))]
        return ["--context-file", str(self.context_file), *options]

    def begin_joining(self, node: Newcomer) -> Starting:
        """An agent that prepares itself and waits to be told, by `invitation`, where to join; then it serves.

        The token goes by standard input: command lines can be read by others.
        """
        options = ["--server", "-", "--run", *node.options()]
        return self.agent.begin(self.state_dir, "join", *options, given=None)

    async def stop_agent(self) -> None:
        """End the agent and every runtime of this state directory, whether or not the agent still runs."""
        if self.agent.folder.exists():
            await self._run("arw-node-agent", "stop", timeout_s=AGENT_STOP_S)

    async def _run(self, name: str, verb: str, *options: str, given: str = "", timeout_s: float = START_S) -> None:
        command = [program(name), verb, "--state-dir", str(self.state_dir), *options]
        status, said = await completed(command, given, timeout_s)
        if status:
            reason, remedy = spoken(said.splitlines())
            again = f"Mend what it names, then run `arwctl {'down' if verb == 'stop' else 'up'}`."
            text = f"`{name} {verb}` failed: {reason or f'it ended with status {status}'}"
            raise ArwError("LOCAL_STEP_FAILED", text, remedy or again)
