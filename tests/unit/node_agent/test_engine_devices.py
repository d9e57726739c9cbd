from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from node_agent.domain.errors import EngineNotFound
from node_agent.domain.inventory import Accelerator, DeviceHealth, Engine, EngineDevice, Inventory
from node_agent.runtimes.engine_devices import EngineSight
from node_agent.runtimes.kinds.llama_cpp import LlamaCpp
from tests.fakes.leaky_hardware import WELL, LeakyHardware

CUDA = EngineDevice("CUDA0", "gpu_cuda", "NVIDIA H100")
NATIVE = Engine("llama.cpp", ("/opt/llama-server",), (("/opt/llama-server", "ab"),))
IMAGE = Engine("llama.cpp", ("/app/llama-server",), (("llama:1", "cd"),), image="llama:1")


class Seeing(LlamaCpp):
    """Says what it is told to see; nothing: it cannot be asked."""

    def __init__(self, *answers: tuple[EngineDevice, ...] | None) -> None:
        super().__init__()
        self.answers = list(answers)
        self.asked: list[Engine] = []
        self.was_asked = asyncio.Event()

    async def devices(self, engine: Engine) -> tuple[EngineDevice, ...] | None:
        self.asked.append(engine)
        self.was_asked.set()
        answer = self.answers.pop(0)
        if answer is None:
            raise EngineNotFound("It does not answer.", "Run it by hand.")
        return answer


@dataclass
class Machine(LeakyHardware):
    engines: tuple[Engine, ...] = (NATIVE,)

    @property
    def machine(self) -> Inventory:
        return replace(super().machine, engines=self.engines)


@dataclass
class Heard:
    """What the sight tells, one after another."""

    told: asyncio.Queue[tuple[Engine, ...]] = field(default_factory=asyncio.Queue)

    def take(self, inventory: Inventory) -> None:
        self.told.put_nowait(inventory.engines)


@asynccontextmanager
async def watching(machine: Machine, adapter: Seeing) -> AsyncIterator[tuple[EngineSight, Heard]]:
    sight, heard = EngineSight(machine, {"llama.cpp": adapter}), Heard()
    await sight.inventory()
    sight.on_change(heard.take)
    task = asyncio.create_task(sight.run())
    try:
        yield sight, heard
    finally:
        task.cancel()
        await asyncio.wait([task])


async def next_sight(heard: Heard, wanted: tuple[EngineDevice, ...] | None) -> tuple[Engine, ...]:
    async with asyncio.timeout(5):
        while True:
            engines = await heard.told.get()
            if engines[0].devices == wanted:
                return engines


async def test_an_engine_is_shown_with_what_it_can_use() -> None:
    machine = Machine(engines=(NATIVE, IMAGE))
    adapter = Seeing((CUDA,))
    async with watching(machine, adapter) as (sight, heard):
        machine.becomes(WELL)
        native, image = await next_sight(heard, (CUDA,))
        assert image.devices is None
        assert (await sight.inventory()).engines == (native, image)
    assert adapter.asked == [NATIVE]


async def test_it_is_asked_again_when_a_device_changed_and_only_then() -> None:
    machine, adapter = Machine(), Seeing((CUDA,), ())
    async with watching(machine, adapter) as (_, heard):
        machine.becomes(WELL)
        await next_sight(heard, (CUDA,))
        machine.becomes(WELL)
        machine.becomes(replace(WELL, health=DeviceHealth.UNUSABLE))
        await next_sight(heard, ())
    assert len(adapter.asked) == 2


@pytest.mark.parametrize(
    "only", [Accelerator("cpu", "cpu"), replace(WELL, simulated=True)], ids=["the processor", "a simulated device"]
)
async def test_where_nothing_but_this_is_no_engine_is_asked(only: Accelerator) -> None:
    machine, adapter = Machine(), Seeing()
    async with watching(machine, adapter) as (_, heard):
        machine.becomes(only)
        await next_sight(heard, None)
    assert adapter.asked == []


async def test_one_that_cannot_be_asked_is_shown_as_silent() -> None:
    machine, adapter = Machine(), Seeing(None)
    async with watching(machine, adapter) as (sight, _), asyncio.timeout(5):
        machine.becomes(WELL)
        await adapter.was_asked.wait()
        assert (await sight.inventory()).engines == (NATIVE,)
    assert adapter.asked == [NATIVE]
