from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from arw.v1 import execution_pb2 as pb
from control_plane.domain.execution import ExecutionMode, ExecutionOffer, ExecutionSettings
from control_plane.messages.texts import clipped

MAX_OFFERS = 32
_PREFIX = "EXECUTION_MODE_"


def mode_to_proto(mode: ExecutionMode) -> pb.ExecutionMode.ValueType:
    return pb.ExecutionMode.Value(_PREFIX + mode.name)


def mode_from_proto(value: pb.ExecutionMode.ValueType) -> ExecutionMode:
    """A mode of a newer peer reads UNSPECIFIED."""
    if value not in pb.ExecutionMode.values():
        return ExecutionMode.UNSPECIFIED
    return ExecutionMode[pb.ExecutionMode.Name(value).removeprefix(_PREFIX)]


def execution_to_proto(settings: ExecutionSettings) -> pb.ExecutionSettings | None:
    if settings == ExecutionSettings():
        return None
    return pb.ExecutionSettings(
        modes=[mode_to_proto(mode) for mode in settings.modes],
        preferred=mode_to_proto(settings.preferred),
        image=settings.image,
    )


def offers_to_proto(offers: Iterable[ExecutionOffer]) -> list[pb.ExecutionOffer]:
    return [
        pb.ExecutionOffer(mode=mode_to_proto(offer.mode), available=offer.available, detail=offer.detail)
        for offer in offers
    ]


def offers_from_proto(messages: Iterable[pb.ExecutionOffer]) -> tuple[ExecutionOffer, ...]:
    """At most 32, their words clipped."""
    told = islice(messages, MAX_OFFERS)
    return tuple(ExecutionOffer(mode_from_proto(each.mode), each.available, clipped(each.detail)) for each in told)
