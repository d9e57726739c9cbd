"""What precedes a launch: checks, mode and devices, the command line, and the record that the shim follows."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace

from node_agent.domain.device_limits import Fence, fence_for, usable
from node_agent.domain.device_trouble import kinds_lost
from node_agent.domain.errors import LocalPolicyDenied, PortUnavailable
from node_agent.domain.footprint import FootprintKey, given
from node_agent.domain.inventory import CPU, Accelerator, Engine
from node_agent.domain.limits import Limits, permits
from node_agent.domain.observed import launch_key
from node_agent.domain.spec import ExecutionMode, InstanceSpec
from node_agent.runtimes import checks
from node_agent.runtimes.containers.placing import Load, Place, contained, place, within
from node_agent.runtimes.directory import InstanceDirectory
from node_agent.runtimes.equipment import Equipment
from node_agent.runtimes.kinds.adapter import Adapter, Capabilities, Command, Endpoint
from node_agent.runtimes.logs import log_name
from node_agent.runtimes.modes import Chosen
from node_agent.runtimes.probe import HOST
from node_agent.runtimes.records import LaunchRecord, SandboxRecord
from node_agent.runtimes.sandbox.plan import Start, sandbox_of
from node_agent.runtimes.slots import cache_folder, cache_key
from wire.engine_options import options_digest


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that was decided of a launch; only its number is missing."""

    chosen: Chosen
    fence: Fence
    limits: Limits
    at: Endpoint
    able: Capabilities
    command: Command
    sandbox: SandboxRecord
    inside: tuple[Place, Load] | None = None
    """Of its container; None: it runs natively."""


class Preparation:
    """Of one instance, as of its spec. Every Refusal says why nothing can be started."""

    def __init__(self, equipment: Equipment, home: InstanceDirectory, spec: InstanceSpec, adapter: Adapter) -> None:
        self._equipment = equipment
        self._home = home
        self._spec = spec
        self._adapter = adapter

    async def prepared(self) -> Prepared:
        chosen = await checks.thorough(self._spec, self._equipment)
        limits = self._limits()
        fence = await self._bereft(await self._fence(limits), chosen.engine)
        wanted = replace(self._spec, accelerator=fence.accelerator)
        if chosen.mode is ExecutionMode.CONTAINER:
            return await self._in_container(chosen, fence, limits, wanted)
        return await self._native(chosen, fence, limits, wanted)

    async def _native(self, chosen: Chosen, fence: Fence, limits: Limits, wanted: InstanceSpec) -> Prepared:
        engine = chosen.engine
        able = _left(await self._adapter.probe(engine), fence)
        cache = await asyncio.to_thread(cache_folder, self._home, self._spec, self._adapter, limits)
        at = Endpoint(_port(self._spec), self._home.key_file, cache.path if cache is not None else None)
        command = self._adapter.render(wanted, engine, able, at, self._home.scratch)
        start = Start(wanted, engine, self._adapter.traits, at, self._home)
        sandbox = await asyncio.to_thread(sandbox_of, start, limits)
        return Prepared(chosen, fence, limits, at, able, command, sandbox)

    async def _in_container(self, chosen: Chosen, fence: Fence, limits: Limits, wanted: InstanceSpec) -> Prepared:
        where = await place(self._equipment.containers, chosen.engine, wanted, await self._devices(limits, wanted))
        able = _left(await self._adapter.probe(where.engine), fence)
        at = Endpoint(_port(self._spec), self._home.key_file)
        inside = await asyncio.to_thread(within, wanted)
        command = self._adapter.render(inside, chosen.engine, able, at, self._home.scratch)
        load = Load(inside, self._adapter.traits, self._home, limits, chosen.engine.image)
        return Prepared(chosen, fence, limits, at, able, command, SandboxRecord(), (where, load))

    def record(self, made: Prepared, incarnation: int) -> LaunchRecord:
        command, engine = made.command, made.chosen.engine
        command = replace(command, env={**command.env, **(made.fence.environment or {})})
        record = LaunchRecord(
            incarnation=incarnation,
            argv=command.argv,
            env=command.env,
            cwd=command.directory or str(self._home.scratch),
            cgroup=self._home.cgroup_leaf(incarnation),
            log=os.path.relpath(self._home.logs / log_name(incarnation), self._home.path),
            log_bytes=self._equipment.log_bytes,
            log_pieces=self._equipment.log_pieces,
            port=made.at.port,
            key_file=str(made.at.key_file),
            engine=made.able.version,
            engine_sha256=engine.digests[0][1] if engine.digests else "",
            launch_key=launch_key(self._spec),
            time=self._equipment.now().timestamp(),
            missing_accelerator=command.missing_accelerator or made.fence.missing,
            missing_because=made.fence.because,
            sandbox=made.sandbox,
            mode=made.chosen.mode,
            mode_reason=made.chosen.reason,
            cache=str(made.at.cache) if command.keeps_slots else "",
            cache_key=cache_key(self._spec, engine) if command.keeps_slots else "",
        )
        return self._wrapped(record, *made.inside, command) if made.inside is not None else record

    def _wrapped(self, record: LaunchRecord, where: Place, load: Load, command: Command) -> LaunchRecord:
        """The same launch by the client of the container tool."""
        command = replace(command, directory=record.cwd)
        inside = contained(where, load, command, self._home.cgroup_leaf(record.incarnation))
        return replace(
            record,
            argv=inside.argv,
            env=inside.env,
            cwd=str(self._home.scratch),
            sandbox=inside.sandbox,
            container=inside.container,
        )

    def _limits(self) -> Limits:
        """They may have changed since the start was decided. LocalPolicyDenied."""
        limits = self._equipment.limits()
        problem = permits(limits, self._spec, self._equipment.now(), ())
        if problem is not None:
            raise LocalPolicyDenied(problem.text, problem.remedy, **problem.metadata)
        return limits

    async def _fence(self, limits: Limits) -> Fence:
        """LocalPolicyDenied, AcceleratorLeaking, AcceleratorLost, AcceleratorUnhealthy."""
        equipment = self._equipment
        if (
            limits.devices.is_free
            and not equipment.device_memory.leaks()
            and not equipment.device_troubles.any_broken()
        ):
            return Fence(self._spec.accelerator)
        return fence_for(limits, self._spec, await self._equipment.devices())

    async def _bereft(self, fence: Fence, engine: Engine) -> Fence:
        """Where no device is asked for, one that the same launch used before is missed when it is lost."""
        if self._spec.accelerator or not self._equipment.device_troubles.any_broken():
            return fence
        model, options = self._spec.model.sha256, options_digest(given(self._spec.settings))
        for kind, text in kinds_lost(await self._equipment.devices()).items():
            key = FootprintKey(model, engine.digests[0][1] if engine.digests else "", options, kind)
            if await asyncio.to_thread(self._equipment.footprints.of, key) is not None:
                return replace(fence, missing=kind, because=text)
        return fence

    async def _devices(self, limits: Limits, wanted: InstanceSpec) -> Sequence[Accelerator]:
        """Those that a container may be given."""
        if wanted.accelerator == CPU:
            return ()
        return usable(limits, await self._equipment.devices())


def _left(able: Capabilities, fence: Fence) -> Capabilities:
    """An engine listed its devices when it was first asked."""
    return replace(able, devices=tuple(device for device in able.devices if device.kind not in fence.without))


def _port(spec: InstanceSpec) -> int:
    """The one that the spec insists on, or any. Free a moment ago; who loses the race for it says so in its log."""
    wanted = spec.process.port if spec.process is not None else 0
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)) as probe:
        if wanted:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except OSError as error:
            raise PortUnavailable(
                f"Port {wanted} of this node cannot be used: {error.strerror}.",
                "Stop what uses it, or let the agent choose: put {port} into the command instead.",
                port=str(wanted),
            ) from error
        return int(probe.getsockname()[1])
