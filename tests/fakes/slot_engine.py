"""An engine whose slots hold texts, and which is as slow or as unwilling as a test wants."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from node_agent.domain.spec import InstanceSpec
from node_agent.runtimes.kinds.adapter import Capabilities, Command, Endpoint, Feature, Gauges, Line, Traits
from node_agent.runtimes.kinds.http_engine import HttpEngine
from node_agent.runtimes.probe import NoAnswer


@dataclass
class SlotEngine(HttpEngine):
    folder: Path
    slots: dict[int, str] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)
    """Prompts that had to be read."""
    mute_after: int | None = None
    """It answers so many questions, and then none."""
    unwilling: frozenset[str] = frozenset()
    """Prompts that it refuses."""
    has_read: bool | None = False

    id = "slots"
    traits = Traits(frozenset({Feature.PROMPT_CACHE, Feature.SLOT_SAVE}))

    def check(self, spec: InstanceSpec) -> None:
        """All is well."""

    def render(self, spec: InstanceSpec, engine: object, able: Capabilities, at: Endpoint, scratch: Path) -> Command:
        return Command(("slots",), {}, keeps_slots=True)

    async def gauges(self, *_: object) -> Gauges:
        return Gauges() if self.has_read is None else Gauges(prompt_tokens_total=float(self.has_read))

    async def warm_up(self, spec: InstanceSpec, line: Line, prompt: str, slot: int | None) -> None:
        await self._answers(line)
        if prompt in self.unwilling:
            raise NoAnswer("it is too long")
        self.read.append(prompt)
        if slot is not None:
            self.slots[slot] = prompt

    async def save_slot(self, line: Line, slot: int, file: str) -> int:
        await self._answers(line)
        held = self.slots.get(slot, "")
        (self.folder / file).write_text(held)
        return len(held)

    async def restore_slot(self, line: Line, slot: int, file: str) -> int:
        await self._answers(line)
        try:
            self.slots[slot] = (self.folder / file).read_text()
        except FileNotFoundError:
            raise NoAnswer("there is no such file") from None
        return len(self.slots[slot])

    async def _answers(self, line: Line) -> None:
        if self.mute_after is None:
            return
        self.mute_after -= 1
        if self.mute_after < 0:
            try:
                await asyncio.wait_for(asyncio.Event().wait(), line.patience.total_seconds())
            except TimeoutError:
                raise NoAnswer("it took too long") from None
