from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from arw.v1 import instance_pb2 as pb
from control_plane.domain.sandbox import SandboxLayer
from control_plane.messages.texts import clipped

MAX_LAYERS = 32


def layers_to_proto(layers: Iterable[SandboxLayer]) -> list[pb.SandboxLayer]:
    return [pb.SandboxLayer(name=layer.name, in_force=layer.in_force, reason=layer.reason) for layer in layers]


def layers_from_proto(messages: Iterable[pb.SandboxLayer]) -> tuple[SandboxLayer, ...]:
    """At most 32, their words clipped."""
    told = islice(messages, MAX_LAYERS)
    return tuple(SandboxLayer(clipped(layer.name), layer.in_force, clipped(layer.reason)) for layer in told)
