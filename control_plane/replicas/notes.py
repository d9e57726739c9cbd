"""What a replica tells the others, as bytes on the board."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

import msgspec
import structlog

from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.instance import Instance
from control_plane.domain.matrix import HttpFigures
from control_plane.sessions.contacts import SessionFacts

T = TypeVar("T")

_log = structlog.get_logger()
_encoder = msgspec.json.Encoder()


class NoteKind(StrEnum):
    SESSION = "session"
    """By node."""
    INSTANCE = "instance"
    """By node and runtime, a space between."""
    TRAFFIC = "traffic"
    """By node: what this replica's gateway measured."""


@dataclass(frozen=True, slots=True)
class NoteForm(Generic[T]):
    """Bytes of one kind of note."""

    type: type[T]

    def write(self, value: T) -> bytes:
        return _encoder.encode(value)

    def read(self, content: bytes) -> T | None:
        """None for what a newer version says in words that this one does not know."""
        try:
            return msgspec.json.decode(content, type=self.type)
        except msgspec.MsgspecError as error:
            _log.warning("note_not_understood", type=self.type.__name__, cause=str(error))
            return None


SESSION = NoteForm(SessionFacts)
INSTANCE = NoteForm(Instance)
TRAFFIC = NoteForm(HttpFigures)


def instance_key(node: NodeId, runtime: RuntimeId) -> str:
    return f"{node} {runtime}"


def instance_of(key: str) -> tuple[NodeId, RuntimeId]:
    node, _, runtime = key.partition(" ")
    return NodeId(node), RuntimeId(runtime)
