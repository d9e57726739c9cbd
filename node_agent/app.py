"""The composition root: what the agent consists of, started together and ended together."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
import uuid
from collections.abc import Collection, Coroutine, Mapping
from datetime import UTC, datetime
from ssl import SSLContext
from typing import Any

import structlog

from node_agent.control_link.connection import Addresses, Link, LinkTimers, Node
from node_agent.control_link.display import Display
from node_agent.control_link.link_record import LinkRecord
from node_agent.control_link.messages import Me
from node_agent.control_link.session import SessionTimers
from node_agent.disk.ballast import Ballast
from node_agent.disk.contact import Contact
from node_agent.disk.database import Database
from node_agent.disk.desired import SqliteDesired
from node_agent.disk.digests import DiskDigests
from node_agent.disk.footprints import SqliteFootprints
from node_agent.disk.high_water import HighWater
from node_agent.disk.room import DiskWatch
from node_agent.disk.starts import Starts
from node_agent.domain import crash_loop
from node_agent.domain import timers as waits
from node_agent.hardware import machine
from node_agent.hardware.processor.probe import ROOT, available_memory_bytes, memory_bytes
from node_agent.identity.credentials import NodeCredentials
from node_agent.identity.files import IdentityFiles, NodeIdentity
from node_agent.identity.renewal import Renewal
from node_agent.local_limits.measure import Machine
from node_agent.local_limits.offer import LimitedHardware
from node_agent.local_limits.watch import LimitsFile
from node_agent.relay.link import RelayLink
from node_agent.runtimes import assembly, device_troubles, leaks
from node_agent.runtimes.containers.service import Containers
from node_agent.runtimes.device_troubles import DeviceWatch
from node_agent.runtimes.engine_devices import EngineSight
from node_agent.runtimes.kinds.adapter import Adapter
from node_agent.runtimes.leaks import LeakWatch
from node_agent.runtimes.modes import offers
from node_agent.runtimes.process import boot_id
from node_agent.runtimes.safe_mode import GuardedHardware, SafeMode
from node_agent.runtimes.sandbox.layers import OPTIONAL
from node_agent.runtimes.sandbox.offered import layers_here
from node_agent.runtimes.supervisor import LocalSupervisor
from node_agent.runtimes.survivors import Survivors
from node_agent.settings import Settings, StateDirectory, Timers, product_version
from node_agent.use_cases.ports import Hardware
from wire.credentials import client_context
from wire.machine_id import machine_id_hash

_log = structlog.get_logger()


async def serve(settings: Settings, adapters: Mapping[str, Adapter], starts: Starts) -> None:
    """Until SIGTERM or SIGINT. Engines run on; an unexpected error anywhere ends the agent."""
    stop = asyncio.Event()
    agent = Agent(settings, adapters, starts)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, agent.look_again)
    try:
        await agent.run(stop)
    finally:
        agent.close()


class Agent:
    """NotJoined, StorageUnavailable when it cannot begin."""

    def __init__(self, settings: Settings, adapters: Mapping[str, Adapter], starts: Starts) -> None:
        state = settings.state
        files = IdentityFiles(state.path)
        identity = files.identity()
        self._node = identity.node
        self._timers = settings.timers
        # First of all that may fail: it counts the starts that died.
        self._mode = SafeMode(identity.node, starts, crash_timers(settings.timers))
        self._database = Database(state.database)
        self._disk = DiskWatch([state.path, assembly.instances_directory(state.path)], Ballast(state.ballast))
        self._disk.begin()
        self._contact = Contact(state.contact, boot_id(), boot_seconds, self._minds_cuts)
        self._credentials = NodeCredentials(files, utc_now)
        self.limits = limits_file(settings, adapters)
        self._containers = Containers(
            lambda: self.limits.limits().container_tool, assembly.instances_directory(state.path)
        )
        self._survivors = Survivors(supervisor_timers(settings.timers).unkillable_alarm)
        digests = DiskDigests(self._database)
        trusted = assembly.trust_list(state.path, digests)
        self._hardware = machine.LocalHardware(trusted.engines, hardware_timers(settings.timers))
        self._leaks = LeakWatch(self._hardware, leak_timers(settings.timers))
        self._sight = EngineSight(self._leaks, adapters)
        self._device_watch = DeviceWatch(self._hardware, trouble_timers(settings.timers), self._hardware.look_soon)
        self._supervisor = self._supervised(state, digests, adapters)
        self._relay = RelayLink(self._supervisor, identity.node, lambda: _tls(files))
        self._supervisor.before_stop(self._relay.close_instance)
        self._supervisor.on_handover(self._relay.hand_over)
        self._supervisor.ask_for_traffic(self._relay.traffic)
        self.link = self._linked(state, identity, self._offered(adapters))
        self._renewal = Renewal(
            files, self._credentials, identity.grpc_address, self.link.reconnect, utc_now, random.random
        )
        self._credentials.on_tainted(self._renewal.hasten)

    def _minds_cuts(self) -> bool:
        return self._supervisor.minds_cuts()

    def _supervised(
        self, state: StateDirectory, digests: DiskDigests, adapters: Mapping[str, Adapter]
    ) -> LocalSupervisor:
        supervisor = assembly.supervisor(
            state.path,
            digests,
            supervisor_timers(self._timers),
            adapters,
            limits=self.limits.limits,
            devices=self._leaks.devices,
            device_memory=self._leaks,
            device_troubles=self._device_watch,
            footprints=SqliteFootprints(self._database),
            hands_off=self._mode.hands_off,
            closed=self._disk.problem,
            silence=self._contact.silence,
            containers=self._containers,
            survivors=self._survivors,
            usage=self._hardware.usage,
            free_memory=lambda: available_memory_bytes(ROOT),
        )
        for source in (self._mode, self._disk, self.limits, self._contact):
            source.on_change(supervisor.look_again)
        self._hardware.on_change(lambda _: supervisor.engines_changed())
        self._containers.on_change(supervisor.engines_changed)
        return supervisor

    def _offered(self, adapters: Collection[str]) -> Hardware:
        """The machine, once the leak watch, its owner and whoever guards the node had a say."""
        limited = LimitedHardware(
            self._sight,
            self.limits,
            self._node,
            adapters,
            utc_now,
            sandbox=layers_here,
            execution=lambda limits: offers(limits, self._containers.offer),
        )
        self._containers.on_change(limited.tell)
        return GuardedHardware(limited, self._mode, self._disk, self._survivors)

    def _linked(self, state: StateDirectory, identity: NodeIdentity, offered: Hardware) -> Link:
        node = Node(
            me=_me(identity),
            inventory=offered,
            supervisor=self._supervisor,
            desired=desired_store(state, self._database),
            logs=assembly.engine_logs(state.path),
            relay=self._relay,
            credentials=self._credentials,
            contact=self._contact,
        )
        return Link(
            node,
            Addresses(identity.grpc_address, identity.enrollment_address),
            Display(LinkRecord(state.link_record), utc_now),
            _link_timers(self._timers),
            chance=random.random,
            clock=boot_seconds,
            accepted_history=lambda: accepted_history(state),
        )

    async def run(self, stop: asyncio.Event) -> None:
        _log.info("agent_started", node=self._node, pid=os.getpid(), version=product_version())
        async with asyncio.TaskGroup() as group:
            loops = [group.create_task(loop) for loop in self._loops()]
            await stop.wait()
            await self.link.say_goodbye()
            for loop in loops:
                loop.cancel()
        self._mode.ended_in_order()
        _log.info("agent_stopped", node=self._node)

    def look_again(self) -> None:
        """At what this node's owner said: what may run, and which history was accepted."""
        self.limits.reload()
        self.link.wake()

    def close(self) -> None:
        self._database.close()

    def _loops(self) -> list[Coroutine[Any, Any, None]]:
        parts = (
            self._mode,
            self._disk,
            self._containers,
            self._supervisor,
            self._hardware,
            self._leaks,
            self._sight,
            self._device_watch,
            self.limits,
            self.link,
            self._renewal,
            self._relay,
        )
        return [part.run() for part in parts]


def desired_store(state: StateDirectory, database: Database) -> SqliteDesired:
    """Its note lies with the instances: whoever puts back the database leaves it where it is."""
    return SqliteDesired(database, HighWater(assembly.instances_directory(state.path) / "desired.json"))


def limits_file(settings: Settings, adapters: Collection[str]) -> LimitsFile:
    """One that was named must be there; the state directory's need not be."""
    measure = Machine(memory_bytes(ROOT) or 0, frozenset(adapters), OPTIONAL)
    path = settings.limits or settings.state.limits
    return LimitsFile(path, measure, utc_now, required=settings.limits is not None)


def utc_now() -> datetime:
    return datetime.now(UTC)


def boot_seconds() -> float:
    """Goes on while the machine sleeps, so that a heartbeat from before is seen to be late."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def accepted_history(state: StateDirectory) -> str:
    """The history that this node's owner agreed to; empty when there is none."""
    try:
        return state.accepted_history.read_text().strip()
    except OSError:
        return ""


def _me(identity: NodeIdentity) -> Me:
    return Me(
        node=identity.node,
        process_id=str(uuid.uuid4()),
        installation_id=identity.installation_id,
        boot_id=boot_id(),
        machine_id_hash=machine_id_hash(),
        agent_version=product_version(),
        agent_pid=os.getpid(),
    )


def _tls(files: IdentityFiles) -> SSLContext:
    files.current()
    return client_context(files.path("node.pem"), files.path("node.key"), files.path("ca.pem"))


def _link_timers(timers: Timers) -> LinkTimers:
    session = SessionTimers(
        welcome=timers.welcome.total_seconds(),
        between_reports=timers.between_reports.total_seconds(),
        recheck_refused=timers.recheck_refused.total_seconds(),
        storage_retry=timers.storage_retry.total_seconds(),
    )
    return LinkTimers(session, timers.removal_hold, timers.reconnect_cap, timers.refused_retry, timers.diagnose_every)


def hardware_timers(timers: Timers) -> machine.HardwareTimers:
    return machine.SECOND_LONG if timers.test_profile else machine.HardwareTimers()


def supervisor_timers(timers: Timers) -> waits.Timers:
    return waits.TEST if timers.test_profile else waits.REAL


def crash_timers(timers: Timers) -> crash_loop.CrashTimers:
    return crash_loop.SECOND_LONG if timers.test_profile else crash_loop.CrashTimers()


def leak_timers(timers: Timers) -> leaks.LeakTimers:
    return leaks.SECOND_LONG if timers.test_profile else leaks.LeakTimers()


def trouble_timers(timers: Timers) -> device_troubles.TroubleTimers:
    return device_troubles.SECOND_LONG if timers.test_profile else device_troubles.TroubleTimers()
