from __future__ import annotations

from arw.v1 import model_pb2 as pb
from control_plane.domain.model import ModelPart


def part_to_proto(part: ModelPart | None) -> pb.ModelPart | None:
    return pb.ModelPart(path=part.path, sha256=part.sha256, size_bytes=part.size_bytes) if part is not None else None


def part_from_proto(message: pb.ModelPart) -> ModelPart:
    return ModelPart(message.path, message.sha256, message.size_bytes)
