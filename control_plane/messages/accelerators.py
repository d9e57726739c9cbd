from __future__ import annotations

from arw.v1 import accelerator_pb2 as pb
from control_plane.domain.accelerator import Accelerator, AcceleratorKind
from control_plane.messages.texts import clipped

_PREFIX = "ACCELERATOR_KIND_"


def kind_to_proto(kind: AcceleratorKind) -> pb.AcceleratorKind.ValueType:
    return pb.AcceleratorKind.Value(_PREFIX + kind.name)


def kind_from_proto(value: pb.AcceleratorKind.ValueType) -> AcceleratorKind:
    """A kind of a newer peer reads OTHER."""
    if value not in pb.AcceleratorKind.values():
        return AcceleratorKind.OTHER
    return AcceleratorKind[pb.AcceleratorKind.Name(value).removeprefix(_PREFIX)]


def accelerator_to_proto(accelerator: Accelerator) -> pb.Accelerator:
    return pb.Accelerator(
        id=accelerator.id,
        kind=kind_to_proto(accelerator.kind),
        display_name=accelerator.display_name,
        memory_bytes=accelerator.memory_bytes,
        driver_version=accelerator.driver_version,
        simulated=accelerator.simulated,
    )


def accelerator_from_proto(message: pb.Accelerator) -> Accelerator:
    return Accelerator(
        id=clipped(message.id),
        kind=kind_from_proto(message.kind),
        display_name=clipped(message.display_name),
        memory_bytes=message.memory_bytes if message.HasField("memory_bytes") else None,
        driver_version=clipped(message.driver_version),
        simulated=message.simulated,
    )
