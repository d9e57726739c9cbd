from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import TypeVar

from arw.v1 import accelerator_pb2 as pb
from control_plane.domain.accelerator import Accelerator, AcceleratorKind, DeviceHealth
from control_plane.messages.problems import problem_from_proto, problem_to_proto
from control_plane.messages.texts import clipped

MAX_FACTS = 64
_PREFIX = "ACCELERATOR_KIND_"

T = TypeVar("T")


def kind_to_proto(kind: AcceleratorKind) -> pb.AcceleratorKind.ValueType:
    return pb.AcceleratorKind.Value(_PREFIX + kind.name)


def kind_from_proto(value: pb.AcceleratorKind.ValueType) -> AcceleratorKind:
    """A kind of a newer peer reads OTHER."""
    if value not in pb.AcceleratorKind.values():
        return AcceleratorKind.OTHER
    return AcceleratorKind[pb.AcceleratorKind.Name(value).removeprefix(_PREFIX)]


def health_from_proto(value: pb.AcceleratorHealth.ValueType) -> DeviceHealth:
    """A word of a newer peer that is not known here is no promise that the device works."""
    if value not in pb.AcceleratorHealth.values():
        return DeviceHealth.UNUSABLE
    return DeviceHealth(_HEALTH[value])


def accelerator_to_proto(accelerator: Accelerator) -> pb.Accelerator:
    return pb.Accelerator(
        id=accelerator.id,
        kind=kind_to_proto(accelerator.kind),
        display_name=accelerator.display_name,
        memory_bytes=accelerator.memory_bytes,
        driver_version=accelerator.driver_version,
        simulated=accelerator.simulated,
        vendor=accelerator.vendor,
        pci_address=accelerator.pci_address,
        health=pb.AcceleratorHealth.Value(f"ACCELERATOR_HEALTH_{accelerator.health.upper() or 'UNSPECIFIED'}"),
        problem=problem_to_proto(accelerator.problem),
        unified_memory=accelerator.unified_memory,
        partition_of=accelerator.partition_of,
        source=accelerator.source,
        details=accelerator.details,
        kind_label=accelerator.kind.label,
        health_slug=accelerator.health.value,
        health_label=accelerator.health.label,
    )


def accelerator_from_proto(message: pb.Accelerator) -> Accelerator:
    """What a node says of a device: words clipped, at most 64 details."""
    return Accelerator(
        id=clipped(message.id),
        kind=kind_from_proto(message.kind),
        display_name=clipped(message.display_name),
        memory_bytes=message.memory_bytes if message.HasField("memory_bytes") else None,
        driver_version=clipped(message.driver_version),
        simulated=message.simulated,
        vendor=clipped(message.vendor),
        pci_address=clipped(message.pci_address),
        health=health_from_proto(message.health),
        problem=problem_from_proto(message.problem) if message.HasField("problem") else None,
        unified_memory=message.unified_memory,
        partition_of=clipped(message.partition_of),
        source=clipped(message.source),
        details=_few(message.details, clipped),
    )


def _few(pairs: Mapping[str, T], kept: Callable[[T], T]) -> dict[str, T]:
    """In name order, so that equal facts are equal."""
    return {clipped(name): kept(pairs[name]) for name in islice(sorted(pairs), MAX_FACTS)}


_HEALTH = {
    pb.ACCELERATOR_HEALTH_UNSPECIFIED: "",
    pb.ACCELERATOR_HEALTH_OK: "ok",
    pb.ACCELERATOR_HEALTH_DEGRADED: "degraded",
    pb.ACCELERATOR_HEALTH_UNUSABLE: "unusable",
}
