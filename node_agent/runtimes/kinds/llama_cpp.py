"""llama-server, the binary or the wheel's front: both take the same options and give the same answers."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import msgspec

from node_agent.domain.errors import AcceleratorMissing
from node_agent.domain.inventory import Engine, EngineDevice
from node_agent.domain.spec import InstanceSpec
from node_agent.runtimes.engines import LLAMA_CPP, Candidate, candidate, find_engines
from node_agent.runtimes.gguf import check_projector, read_head
from node_agent.runtimes.kinds import llama_log, llama_slots
from node_agent.runtimes.kinds.adapter import Capabilities, Command, Endpoint, Feature, InUse, Traits
from node_agent.runtimes.kinds.asking import ask, environment
from node_agent.runtimes.kinds.flags import rendered
from node_agent.runtimes.kinds.http_engine import OK, HttpEngine, bearer
from node_agent.runtimes.kinds.llama_help import devices_of
from node_agent.runtimes.kinds.llama_options import SLOT_SAVE, options, placement
from node_agent.runtimes.kinds.model_list import prove_by_key
from node_agent.runtimes.probe import HOST, NoAnswer, get

DEVICES = "--list-devices"


class _Slot(msgspec.Struct):
    n_ctx: int | None = None


class _Props(msgspec.Struct):
    total_slots: int | None = None
    default_generation_settings: _Slot = msgspec.field(default_factory=_Slot)


class LlamaCpp(HttpEngine):
    id = LLAMA_CPP
    traits = Traits(
        frozenset(
            {
                Feature.CHAT,
                Feature.EMBEDDINGS,
                Feature.VISION,
                Feature.METRICS,
                Feature.KEY,
                Feature.PROMPT_CACHE,
                Feature.SLOT_SAVE,
            }
        )
    )
    counts: ClassVar = {
        "requests_running": ("llamacpp:requests_processing",),
        "requests_waiting": ("llamacpp:requests_deferred",),
        "prompt_tokens_total": ("llamacpp:prompt_tokens_total",),
        "generated_tokens_total": ("llamacpp:tokens_predicted_total",),
        "cache_used_ratio": ("llamacpp:kv_cache_usage_ratio",),
        "prompt_tokens_cached_total": ("llamacpp:prompt_tokens_cached_total",),
        "prompt_seconds_total": ("llamacpp:prompt_seconds_total",),
        "generated_seconds_total": ("llamacpp:tokens_predicted_seconds_total",),
        "steps_total": ("llamacpp:n_decode_total",),
        "busy_per_step": ("llamacpp:n_busy_slots_per_decode",),
    }

    def found(self) -> Sequence[Candidate]:
        return find_engines()

    def candidate(self, path: Path) -> Candidate:
        return candidate(path)

    async def _asked(self, engine: Engine) -> Capabilities:
        able, listing = await asyncio.gather(super()._asked(engine), ask(engine, DEVICES))
        return replace(able, devices=devices_of(listing))

    async def devices(self, engine: Engine) -> tuple[EngineDevice, ...] | None:
        found = devices_of(await ask(engine, DEVICES))
        self._renew(engine, found)
        return found

    def check(self, spec: InstanceSpec) -> None:
        read_head(Path(spec.model.path))
        if spec.projector is not None:
            check_projector(Path(spec.projector.path))

    def render(self, spec: InstanceSpec, engine: Engine, able: Capabilities, at: Endpoint, scratch: Path) -> Command:
        device, missing = _device(spec, able)
        trained = read_head(Path(spec.model.path)).context_length
        wanted = options(spec, at, HOST, trained, placement(spec.settings, device))
        argv = (*engine.command, *rendered(wanted, able))
        return Command(argv, environment(scratch), missing, keeps_slots=SLOT_SAVE in argv)

    async def prove(self, spec: InstanceSpec, port: int, key: str, patience: timedelta) -> None:
        await prove_by_key(spec.runtime_id, port, key, patience)

    async def in_use(self, spec: InstanceSpec, port: int, key: str, patience: timedelta, log: Sequence[str]) -> InUse:
        kind, label = llama_log.offloaded(log) or ("cpu", "CPU")
        try:
            answer = await get(port, "/props", patience, bearer(key))
            props = msgspec.json.decode(answer.body, type=_Props)
        except (NoAnswer, msgspec.DecodeError):
            return InUse(accelerator=kind, accelerator_label=label)
        return InUse(props.total_slots, props.default_generation_settings.n_ctx, kind, label)

    async def word(self, spec: InstanceSpec, port: int, key: str, patience: timedelta) -> str | None:
        """/slots counts each token, also within a prompt. It wakes an engine that sleeps: ask only one that is busy."""
        try:
            answer = await get(port, "/slots", patience, bearer(key))
        except NoAnswer:
            return None
        return hashlib.sha256(answer.body).hexdigest() if answer.status == OK else None

    warm_up = staticmethod(llama_slots.warm_up)
    save_slot = staticmethod(llama_slots.save)
    restore_slot = staticmethod(llama_slots.restore)


def _device(spec: InstanceSpec, able: Capabilities) -> tuple[EngineDevice | None, str]:
    """The device to use, and the accelerator that was asked for in vain."""
    wanted = spec.accelerator
    if wanted == "cpu":
        return None, ""
    fitting = [device for device in able.devices if wanted in ("", device.kind)]
    if fitting or not wanted:
        return (fitting[0] if fitting else None), ""
    if not spec.degrade_on_missing_accelerator:
        raise AcceleratorMissing(
            f"The engine on this node finds no accelerator of kind {wanted}.",
            "Choose a node that has one, or set on_missing_accelerator to degrade.",
            accelerator=wanted,
        )
    return None, wanted
