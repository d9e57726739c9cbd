"""llama-server, the binary or the wheel's front: both take the same options and give the same answers."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import msgspec

from node_agent.domain.errors import AcceleratorMissing, EngineFlagUnknown, EngineIdentityMismatch, EngineNotFound
from node_agent.domain.inventory import Engine
from node_agent.domain.spec import InstanceSpec
from node_agent.runtimes.gguf import read_head
from node_agent.runtimes.kinds import llama_log
from node_agent.runtimes.kinds.adapter import (
    Capabilities,
    Command,
    Device,
    Endpoint,
    Finding,
    InUse,
    Readiness,
)
from node_agent.runtimes.kinds.llama_help import capabilities
from node_agent.runtimes.kinds.llama_options import options
from node_agent.runtimes.probe import HOST, Answer, NoAnswer, get

QUESTIONS = ("--help", "--version", "--list-devices")
PROBE_PATIENCE_S = 20.0
OK, UNAUTHORIZED, UNAVAILABLE = 200, 401, 503
INHERITED = (
    "PATH",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "GGML_VK_VISIBLE_DEVICES",
    "GGML_BACKEND_PATH",
    "TZ",
)
"""What the node's owner may set for engines; all else of the agent's environment stays with the agent."""


class _Slot(msgspec.Struct):
    n_ctx: int | None = None


class _Props(msgspec.Struct):
    total_slots: int | None = None
    default_generation_settings: _Slot = msgspec.field(default_factory=_Slot)


class _Model(msgspec.Struct):
    id: str
    aliases: list[str] = []


class _Models(msgspec.Struct):
    data: list[_Model] = []


@dataclass(slots=True)
class LlamaCpp:
    id: str = "llama.cpp"
    _known: dict[tuple[str, ...], Capabilities] = field(default_factory=dict)

    async def probe(self, engine: Engine) -> Capabilities:
        """Cached by the digests of the engine's files."""
        key = (*engine.command, *(digest for _, digest in engine.digests))
        if key not in self._known:
            said = await asyncio.gather(*(_ask(engine, option) for option in QUESTIONS))
            self._known[key] = capabilities(*said)
        return self._known[key]

    def check_model(self, spec: InstanceSpec) -> None:
        read_head(Path(spec.model.path))

    def render(self, spec: InstanceSpec, engine: Engine, able: Capabilities, at: Endpoint, scratch: Path) -> Command:
        device, missing = _device(spec, able)
        trained = read_head(Path(spec.model.path)).context_length
        wanted = options(spec, at, HOST, device, trained)
        return Command((*engine.command, *_rendered(wanted, able)), _environment(scratch), missing)

    async def readiness(self, port: int, patience: timedelta) -> Readiness:
        try:
            answer = await get(port, "/health", patience)
        except NoAnswer:
            return Readiness.SILENT
        return {OK: Readiness.READY, UNAVAILABLE: Readiness.LOADING}.get(answer.status, Readiness.SILENT)

    async def prove(self, spec: InstanceSpec, port: int, key: str, patience: timedelta) -> None:
        """Our key opens, another does not, and the model goes by our name: a stranger on the port knows neither."""
        ours = await _models(port, key, patience)
        others = await _models(port, secrets.token_urlsafe(32), patience)
        if ours is None or others is None or others.status != UNAUTHORIZED or not _names(ours, spec.runtime_id):
            raise EngineIdentityMismatch(
                f"What answers on port {port} is not the engine that was started.",
                "Look for another program that uses this port; the engine is started again with another one.",
                port=str(port),
            )

    async def in_use(self, port: int, key: str, patience: timedelta, log: Sequence[str]) -> InUse:
        kind, label = llama_log.offloaded(log) or ("cpu", "CPU")
        try:
            answer = await get(port, "/props", patience, _bearer(key))
            props = msgspec.json.decode(answer.body, type=_Props)
        except (NoAnswer, msgspec.DecodeError):
            return InUse(accelerator=kind, accelerator_label=label)
        return InUse(props.total_slots, props.default_generation_settings.n_ctx, kind, label)

    def classify(self, log: Sequence[str]) -> Finding | None:
        return llama_log.classify(log)

    def port_was_taken(self, log: Sequence[str]) -> bool:
        return llama_log.port_was_taken(log)


def _device(spec: InstanceSpec, able: Capabilities) -> tuple[Device | None, str]:
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


def _rendered(wanted: Sequence[tuple[Sequence[str], str | None, bool]], able: Capabilities) -> list[str]:
    """Each option in the first spelling that the binary knows; one that it must know and does not is refused."""
    argv: list[str] = []
    for spellings, value, required in wanted:
        known = next((flag for flag in spellings if flag in able.flags), None)
        if known is None and required:
            raise EngineFlagUnknown(
                f"This engine does not know the option {spellings[0]} (its version: {able.version or 'unknown'}).",
                "Leave the setting out, or use a version of the engine that has it.",
                flag=spellings[0],
                version=able.version,
            )
        if known is not None:
            argv += [known] if value is None else [known, value]
    return argv


def _environment(scratch: Path) -> dict[str, str]:
    """From nothing, with an allow-list: no LLAMA_ARG_*, no tokens, no debug switches that show prompts."""
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    own = {
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "LANG": "C.UTF-8",
        "HF_HUB_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
        "GGML_NO_BACKTRACE": "1",
    }
    return {"PATH": os.defpath, **inherited, **own}


async def _ask(engine: Engine, option: str) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            *engine.command,
            option,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=_environment(Path(os.devnull)),
            start_new_session=True,
        )
    except OSError as error:
        raise _unusable(engine, option, str(error)) from error
    try:
        async with asyncio.timeout(PROBE_PATIENCE_S):
            said, _ = await process.communicate()
    except TimeoutError as error:
        raise _unusable(engine, option, f"no answer within {PROBE_PATIENCE_S:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise _unusable(engine, option, f"exit status {process.returncode}")
    return said.decode(errors="replace")


def _unusable(engine: Engine, option: str, why: str) -> EngineNotFound:
    return EngineNotFound(
        f"The engine {engine.command[0]} does not answer {option}: {why}.",
        "Run it by hand to see what is missing, or trust another engine with `arw-node-agent trust`.",
        path=engine.command[0],
    )


async def _models(port: int, key: str, patience: timedelta) -> Answer | None:
    try:
        return await get(port, "/v1/models", patience, _bearer(key))
    except NoAnswer:
        return None


def _names(answer: Answer, alias: str) -> bool:
    try:
        models = msgspec.json.decode(answer.body, type=_Models)
    except msgspec.DecodeError:
        return False
    return answer.status == OK and any(alias in (model.id, *model.aliases) for model in models.data)


def _bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}
