"""What engines that serve HTTP have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from node_agent.domain.errors import EngineNotFound
from node_agent.domain.inventory import Engine, EngineDevice
from node_agent.domain.spec import InstanceSpec
from node_agent.runtimes.engines import Candidate, program
from node_agent.runtimes.kinds import exits, prometheus
from node_agent.runtimes.kinds.adapter import Capabilities, Finding, Gauges, InUse, Line, Readiness, Traits
from node_agent.runtimes.kinds.asking import PATIENCE_S, ask
from node_agent.runtimes.kinds.flags import flags_of, version_of
from node_agent.runtimes.probe import NoAnswer, get

OK, UNAVAILABLE = 200, 503


class HttpEngine:
    """An adapter but for `check` and `render`. The class says what its engine is, its instances remember answers."""

    id: str
    traits: Traits
    health_path: ClassVar[str] = "/health"
    help_question: ClassVar[Sequence[str]] = ("--help",)
    version_question: ClassVar[Sequence[str]] = ("--version",)
    """Empty: it does not say its version."""
    patience_s: ClassVar[float] = PATIENCE_S
    counts: ClassVar[prometheus.Names] = {}
    marks: ClassVar[exits.Marks] = exits.MARKS

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], Capabilities] = {}

    def found(self) -> Sequence[Candidate]:
        return ()

    def candidate(self, path: Path) -> Candidate:
        return program(self.id, path)

    async def probe(self, engine: Engine) -> Capabilities:
        """Cached by the digests of the engine's files."""
        key = _key(engine)
        if key not in self._known:
            self._known[key] = await self._asked(engine)
        return self._known[key]

    def _renew(self, engine: Engine, devices: tuple[EngineDevice, ...]) -> None:
        """A driver came or went: what is launched next goes by what the engine sees now."""
        key = _key(engine)
        if key in self._known:
            self._known[key] = replace(self._known[key], devices=devices)

    async def devices(self, engine: Engine) -> tuple[EngineDevice, ...] | None:
        return None

    async def _asked(self, engine: Engine) -> Capabilities:
        said = ask(engine, *self.help_question, patience_s=self.patience_s)
        help_text, version = await asyncio.gather(said, self._version(engine))
        return Capabilities(version, flags_of(help_text))

    async def _version(self, engine: Engine) -> str:
        """Only words for people: one that keeps it to itself runs all the same."""
        if not self.version_question:
            return ""
        try:
            return version_of(await ask(engine, *self.version_question, patience_s=self.patience_s))
        except EngineNotFound:
            return ""

    async def readiness(self, spec: InstanceSpec, port: int, key: str, patience: timedelta) -> Readiness:
        try:
            answer = await get(port, self.health_path, patience, bearer(key))
        except NoAnswer:
            return Readiness.SILENT
        return {OK: Readiness.READY, UNAVAILABLE: Readiness.LOADING}.get(answer.status, Readiness.SILENT)

    async def prove(self, spec: InstanceSpec, port: int, key: str, patience: timedelta) -> None:
        """Nothing tells one such engine from another."""

    async def in_use(self, spec: InstanceSpec, port: int, key: str, patience: timedelta, log: Sequence[str]) -> InUse:
        return InUse()

    async def gauges(self, spec: InstanceSpec, port: int, key: str, patience: timedelta) -> Gauges:
        return await prometheus.scraped(port, self.counts, patience, bearer(key)) if self.counts else Gauges()

    async def word(self, spec: InstanceSpec, port: int, key: str, patience: timedelta) -> str | None:
        """Totals that only rise once a whole prompt is read are none."""
        return None

    async def warm_up(self, spec: InstanceSpec, line: Line, prompt: str, slot: int | None) -> None:
        raise NoAnswer(f"{self.id} cannot be warmed up")

    async def save_slot(self, line: Line, slot: int, file: str) -> int:
        raise NoAnswer(f"{self.id} cannot keep what its slots hold")

    async def restore_slot(self, line: Line, slot: int, file: str) -> int:
        raise NoAnswer(f"{self.id} cannot read back what its slots held")

    def classify(self, log: Sequence[str]) -> Finding | None:
        return exits.classify(log, self.marks)

    def port_was_taken(self, log: Sequence[str]) -> bool:
        return exits.port_was_taken(log)


def _key(engine: Engine) -> tuple[str, ...]:
    return (*engine.command, *(digest for _, digest in engine.digests))


def bearer(key: str) -> Mapping[str, str]:
    return {"authorization": f"Bearer {key}"} if key else {}
