from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice

from arw.v1 import instance_pb2
from arw.v1 import node_pb2 as pb
from control_plane.domain.errors import InvalidArgument
from control_plane.domain.ids import NodeId, instance_name, resource_name
from control_plane.domain.join_token import JoinToken
from control_plane.domain.node import Drain, Engine, EngineDevice, HeldRemoval, LocalLimits, NodeInventory
from control_plane.domain.node_view import NodeView, Remainder
from control_plane.messages.accelerators import (
    accelerator_from_proto,
    accelerator_to_proto,
    kind_from_proto,
    kind_to_proto,
)
from control_plane.messages.execution import offers_from_proto, offers_to_proto
from control_plane.messages.instances import instance_ids, severity_to_proto
from control_plane.messages.problems import problem_from_proto, problem_to_proto
from control_plane.messages.sandbox import layers_from_proto, layers_to_proto
from control_plane.messages.texts import clipped
from control_plane.messages.times import time_to_proto
from control_plane.messages.usage import node_usage_to_proto

MAX_DEVICES = 256
MAX_ENGINE_DEVICES = 64
MAX_PATH = 4096


def node_to_proto(view: NodeView, now: datetime) -> pb.Node:
    node, severity = view.node, view.severity(now)
    return pb.Node(
        name=resource_name("nodes", node.id),
        uid=node.uid,
        etag=node.etag,
        state=pb.NodeState.Value(f"NODE_STATE_{view.state.name}"),
        state_slug=view.state.value,
        state_label=view.state.label,
        severity=severity_to_proto(severity),
        severity_label=severity.label,
        summary=view.summary,
        labels=node.labels,
        schedulable=node.schedulable,
        inventory=inventory_to_proto(node.inventory),
        agent_version=node.agent_version,
        agent_pid=node.agent_pid,
        session_epoch=node.session_epoch,
        applied_revision=view.liveness.applied_revision,
        create_time=time_to_proto(node.create_time),
        last_contact_time=time_to_proto(view.liveness.last_contact or node.last_contact_time),
        certificate_expire_time=time_to_proto(node.certificate_expire_time),
        machine_id_hash=node.machine_id_hash,
        problems=[message for problem in view.problems if (message := problem_to_proto(problem))],
        held_removals=held_to_proto(node.id, view.liveness.held),
        usage=node_usage_to_proto(view.liveness.usage),
        drain=_drain_to_proto(node.drain) if node.drain is not None else None,
        overcommit=node.overcommit,
        given_up=view.given_up,
        remainders=[_remainder_to_proto(remainder) for remainder in view.remainders],
    )


def _drain_to_proto(drain: Drain) -> pb.Drain:
    return pb.Drain(start_time=time_to_proto(drain.since), deadline=time_to_proto(drain.until))


def _remainder_to_proto(remainder: Remainder) -> pb.Remainder:
    return pb.Remainder(
        runtime=resource_name("runtimes", remainder.runtime),
        placed=remainder.placed,
        state=instance_pb2.InstanceState.Value(f"INSTANCE_STATE_{remainder.state.name}"),
        state_label=remainder.state.label,
        problem=problem_to_proto(remainder.problem),
    )


def held_to_proto(node: NodeId, removals: Iterable[HeldRemoval]) -> list[pb.HeldRemoval]:
    return [
        pb.HeldRemoval(instance=instance_name(node, removal.runtime), spec_revision=removal.spec_revision)
        for removal in removals
    ]


def held_from_proto(node: NodeId, messages: Iterable[pb.HeldRemoval]) -> frozenset[HeldRemoval]:
    """InvalidId; InvalidArgument when one is of another node."""
    named = [(instance_ids(message.instance), message.spec_revision) for message in messages]
    if any(of != node for (of, _), _ in named):
        raise InvalidArgument(f"Not every instance named is one of node {node}.", "Name instances of one node.")
    return frozenset(HeldRemoval(runtime, revision) for (_, runtime), revision in named)


def inventory_to_proto(inventory: NodeInventory) -> pb.NodeInventory:
    return pb.NodeInventory(
        os=inventory.os,
        arch=inventory.arch,
        os_release=inventory.os_release,
        cpu_cores=inventory.cpu_cores,
        memory_bytes=inventory.memory_bytes,
        accelerators=[accelerator_to_proto(accelerator) for accelerator in inventory.accelerators],
        engines=[_engine_to_proto(engine) for engine in inventory.engines],
        limits=_limits_to_proto(inventory.limits),
        sandbox=layers_to_proto(inventory.sandbox),
        execution=offers_to_proto(inventory.execution),
    )


def inventory_from_proto(message: pb.NodeInventory) -> NodeInventory:
    """What a node says of itself: at most 256 devices and engines, words clipped."""
    return NodeInventory(
        os=clipped(message.os),
        arch=clipped(message.arch),
        os_release=clipped(message.os_release),
        cpu_cores=message.cpu_cores,
        memory_bytes=message.memory_bytes,
        accelerators=tuple(accelerator_from_proto(item) for item in islice(message.accelerators, MAX_DEVICES)),
        engines=tuple(_engine_from_proto(item) for item in islice(message.engines, MAX_DEVICES) if _is_whole(item)),
        limits=_limits_from_proto(message.limits),
        sandbox=layers_from_proto(message.sandbox),
        execution=offers_from_proto(message.execution),
    )


def _limits_to_proto(limits: LocalLimits) -> pb.LocalLimits:
    return pb.LocalLimits(
        file=limits.file,
        denied_adapters=limits.denied_adapters,
        modes=limits.modes,
        max_runtimes=limits.max_runtimes,
        memory_bytes=limits.memory_bytes,
        memory_per_runtime_bytes=limits.memory_per_runtime_bytes,
        closed=problem_to_proto(limits.closed),
    )


def _limits_from_proto(message: pb.LocalLimits) -> LocalLimits:
    return LocalLimits(
        file=clipped(message.file),
        denied_adapters=tuple(clipped(name) for name in islice(message.denied_adapters, MAX_DEVICES)),
        modes=tuple(clipped(mode) for mode in islice(message.modes, MAX_DEVICES)),
        max_runtimes=message.max_runtimes if message.HasField("max_runtimes") else None,
        memory_bytes=message.memory_bytes if message.HasField("memory_bytes") else None,
        memory_per_runtime_bytes=(
            message.memory_per_runtime_bytes if message.HasField("memory_per_runtime_bytes") else None
        ),
        closed=problem_from_proto(message.closed) if message.HasField("closed") else None,
    )


def join_token_to_proto(token: JoinToken) -> pb.JoinToken:
    return pb.JoinToken(
        name=resource_name("joinTokens", token.id),
        node_id=token.node_id or "",
        labels=token.labels,
        requires_approval=token.requires_approval,
        create_time=time_to_proto(token.create_time),
        expire_time=time_to_proto(token.expire_time),
        use_time=time_to_proto(token.use_time),
    )


def _engine_to_proto(engine: Engine) -> pb.Engine:
    return pb.Engine(
        adapter=engine.adapter,
        path=engine.path,
        sha256=engine.sha256,
        version=engine.version,
        image=engine.image,
        devices=_sight_to_proto(engine.devices) if engine.devices is not None else None,
    )


def _sight_to_proto(devices: Sequence[EngineDevice]) -> pb.EngineDevices:
    return pb.EngineDevices(
        devices=[
            pb.EngineDevice(name=device.name, kind=kind_to_proto(device.kind), description=device.description)
            for device in devices
        ]
    )


def _sight_from_proto(message: pb.EngineDevices) -> tuple[EngineDevice, ...]:
    return tuple(
        EngineDevice(clipped(device.name), kind_from_proto(device.kind), clipped(device.description))
        for device in message.devices[:MAX_ENGINE_DEVICES]
    )


def _is_whole(message: pb.Engine) -> bool:
    """A clipped path or image would name another one, so an engine with a longer one is left out instead."""
    return max(len(message.path), len(message.image)) <= MAX_PATH


def _engine_from_proto(message: pb.Engine) -> Engine:
    adapter, sha256, version = (clipped(text) for text in (message.adapter, message.sha256, message.version))
    devices = _sight_from_proto(message.devices) if message.HasField("devices") else None
    return Engine(adapter, message.path, sha256, version, message.image, devices)
