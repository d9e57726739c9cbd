"""What this machine has for models: devices, engines, room, and what its owner lets it use."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from node_agent.check.finding import Finding, Level
from node_agent.disk.room import room_of
from node_agent.domain.device_limits import offered
from node_agent.domain.disk_room import Room, beside_ballast, is_short, pressure
from node_agent.domain.inventory import Accelerator, DeviceHealth, Engine, ExecutionOffer
from node_agent.domain.limits import Choice, Limits, closed
from node_agent.domain.sandbox import SandboxLayer
from node_agent.domain.spec import ExecutionMode
from node_agent.domain.status import Problem
from node_agent.runtimes.probe import HOST
from node_agent.settings import StateDirectory
from wire.refusal import Refusal

GIB = 1 << 30
LITTLE_DISK = 64 << 20
"""Less than this, and the agent's own records and logs are in danger."""

NO_ENGINE = Finding(
    "engines",
    Level.WRONG,
    "no engine is trusted that may run, so only what runs already can be attached to",
    "Install one, then: arw-node-agent trust ADAPTER PATH",
)


def of_devices(devices: Sequence[Accelerator], problems: Sequence[Problem], limits: Limits) -> Iterator[Finding]:
    if not devices:
        yield Finding("accelerators", Level.NOTE, "none seen; models run on the processor")
    for device in (offered(limits, each) for each in devices):
        name = f"{device.display_name or device.id} ({device.kind}{', simulated' if device.simulated else ''})"
        if device.problem is not None:
            text = f"{name} is {device.health.value or 'in doubt'}: {device.problem.text}"
            yield Finding("accelerator", Level.NOTE, text, device.problem.remedy)
        else:
            usable = device.health is not DeviceHealth.UNUSABLE
            yield Finding(
                "accelerator", Level.OK if usable else Level.NOTE, f"{name}{'' if usable else ' is unusable'}"
            )
    for problem in problems:
        yield Finding("accelerators", Level.NOTE, problem.text, problem.remedy)


def of_engines(engines: Sequence[Engine], verify: Callable[[Engine], None], limits: Limits) -> Iterator[Finding]:
    """`verify` raises a Refusal when an engine is not what was trusted."""
    good = False
    for engine in engines:
        finding = _of_engine(engine, verify, limits)
        good = good or finding.level is Level.OK
        yield finding
    if not good:
        yield NO_ENGINE


def _of_engine(engine: Engine, verify: Callable[[Engine], None], limits: Limits) -> Finding:
    name = f"{engine.adapter}: {engine.digests[0][0]} ({engine.version or 'version unknown'})"
    try:
        verify(engine)
    except Refusal as refusal:
        return Finding("engine", Level.NOTE, f"{name} is not started: {refusal.text}", refusal.remedy)
    if key := limits.adapters.refusing(engine.adapter):
        return Finding("engine", Level.NOTE, f"{name} is not started: rule adapters.{key} in {limits.file}")
    if (ExecutionMode.CONTAINER if engine.image else ExecutionMode.NATIVE) not in limits.modes:
        return Finding("engine", Level.NOTE, f"{name} is not started: rule modes in {limits.file}")
    return Finding("engine", Level.OK, name)


def of_limits(limits: Limits, name: str, now: datetime) -> Iterator[Finding]:
    """`name` of the node."""
    if limits.unreadable:
        text = f"{limits.file} cannot be followed, so nothing new is started: {limits.unreadable}"
        yield Finding("limits", Level.WRONG, text, "Correct the file; the agent reads it again by itself.")
        return
    if not limits.file:
        yield Finding("limits", Level.OK, "none set: everything that is trusted may run")
        return
    yield Finding("limits", Level.OK, f"from {limits.file}")
    for text in _words(limits):
        yield Finding("limit", Level.OK, text)
    if not limits.modes:
        yield Finding("limits", Level.WRONG, "no mode is allowed, so no engine is started", "Change modes.")
    problem = closed(limits, name, now)
    if problem is not None:
        yield Finding("limits", Level.NOTE, problem.text)


def _words(limits: Limits) -> Iterator[str]:
    for what, choice in (("adapters", limits.adapters), ("devices", limits.devices)):
        yield from _choice_words(what, choice)
    if limits.modes != frozenset(ExecutionMode):
        yield f"modes: {', '.join(sorted(limits.modes)) or 'none'}"
    if limits.max_runtimes is not None:
        yield f"at most {limits.max_runtimes} runtimes at once"
    if limits.memory_bytes is not None:
        yield f"at most {limits.memory_bytes / GIB:.1f} GiB for all runtimes, by estimate"
    if limits.memory_per_runtime_bytes is not None:
        yield f"at most {limits.memory_per_runtime_bytes / GIB:.1f} GiB for a runtime, by estimate and as it runs"
    if limits.hours is not None:
        then = "what runs is stopped" if limits.hours.stops else "what runs may go on"
        yield f"hours in {limits.hours.zone_name}; outside of them {then}"


def _choice_words(what: str, choice: Choice) -> Iterator[str]:
    if choice.allow:
        yield f"only the {what} {', '.join(sorted(choice.allow))}"
    if choice.deny:
        yield f"not the {what} {', '.join(sorted(choice.deny))}"


def of_modes(offers: Sequence[ExecutionOffer]) -> Iterator[Finding]:
    for offer in offers:
        if offer.available:
            yield Finding("mode", Level.OK, f"{offer.mode}: {offer.detail}")
        else:
            yield Finding("mode", Level.NOTE, f"{offer.mode} is not to be had: {offer.detail}")


def of_sandbox(layers: Sequence[SandboxLayer]) -> Iterator[Finding]:
    for layer in layers:
        text = layer.name if layer.in_force else f"{layer.name} is not in force: {layer.reason}"
        yield Finding("sandbox", Level.OK if layer.in_force else Level.NOTE, text)


def of_room(folder: Path, memory_bytes: int) -> Iterator[Finding]:
    """`folder`: of the state, there or not yet."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    room = room_of(there)
    if room is not None:
        yield _of_disk(beside_ballast(room, ballast=StateDirectory(folder).ballast.exists()))
    if memory_bytes:
        yield Finding("memory", Level.OK, f"{memory_bytes / GIB:.1f} GiB for this agent and its engines")


def _of_disk(room: Room) -> Finding:
    text = f"{room.free_bytes / GIB:.1f} GiB free at {room.folder}; new runtimes need {room.least / GIB:.2f} GiB free"
    if is_short(room, was=False):
        problem = pressure(room)
        return Finding("disk", Level.WRONG, f"{problem.reason}: {problem.text}", problem.remedy)
    if room.free_bytes < LITTLE_DISK:
        return Finding("disk", Level.WRONG, text, "Make room: the agent must be able to write its records.")
    return Finding("disk", Level.OK, text)


def of_ports() -> Finding:
    """Engines listen on loopback at ports that are free then; nothing else listens here."""
    try:
        with socket.create_server((HOST, 0)):
            return Finding("ports", Level.OK, f"engines can listen on {HOST}; the agent itself listens nowhere")
    except OSError as error:
        text = f"nothing can listen on {HOST}: {error.strerror}"
        return Finding("ports", Level.WRONG, text, "Bring the loopback interface up.")
