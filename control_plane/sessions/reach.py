"""Reaches nodes, whichever replica of the control plane has their streams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog
from google.protobuf.message import DecodeError

from arw.v1 import session_pb2 as pb
from control_plane.domain.errors import InvalidArgument
from control_plane.domain.ids import NodeId, RuntimeId, instance_name
from control_plane.domain.node import HeldRemoval
from control_plane.domain.replica import Place
from control_plane.messages.nodes import held_from_proto, held_to_proto
from control_plane.sessions.connection import AgentConnection
from control_plane.sessions.fleet import FleetState
from control_plane.sessions.registry import Registry
from control_plane.sessions.rules import MANY_REPLICAS, PROBES

_log = structlog.get_logger()


class Elsewhere(Protocol):
    """Reaches nodes whose streams other replicas have."""

    def send(self, node: NodeId, errand: bytes) -> bool:
        """Have the replica that has the node's stream do this by `Sessions.errand`; False: none has.

        True is no promise: the stream may end before the errand arrives.
        """


class Nowhere:
    """Elsewhere, for a control plane that is alone."""

    def send(self, _node: NodeId, _errand: bytes) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class _Session:
    epoch: int
    serial: str | None


class Reach:
    """`here` tells where this replica itself is reached."""

    def __init__(
        self, registry: Registry[AgentConnection], fleet: FleetState, elsewhere: Elsewhere, here: Callable[[], Place]
    ) -> None:
        self._registry = registry
        self._fleet = fleet
        self._elsewhere = elsewhere
        self._here = here

    def say(self, node: NodeId, message: pb.ControlMessage) -> bool:
        connection = self._seated(node)
        if connection is not None:
            return connection.say(message)
        return self._elsewhere.send(node, _packed(node, message))

    def park(self, node: NodeId, idle: int) -> bool:
        address = "" if self._seated(node) else self._here().relay_address
        asked = pb.ParkConnections(idle_connections=idle, relay_address=address)
        return self.say(node, pb.ControlMessage(park_connections=asked))

    def ask_log(self, node: NodeId, request: pb.LogRequest) -> bool:
        """Have the node send a log to this replica."""
        request.grpc_address = "" if self._seated(node) else self._here().grpc_address
        return self.say(node, pb.ControlMessage(log_request=request))

    def probe(self, node: NodeId, runtime: RuntimeId, request: str) -> bool:
        connection = self._seated(node)
        if connection is not None and not connection.can(PROBES):
            return False
        asked = pb.ProbeInstance(request=request, instance=instance_name(node, runtime))
        return self.say(node, pb.ControlMessage(probe_instance=asked))

    def let_through(self, node: NodeId, removals: Sequence[HeldRemoval]) -> bool:
        connection = self._seated(node)
        if connection is not None:
            connection.allow(removals)
            return True
        batch = pb.DesiredBatch(allowed_removals=held_to_proto(node, removals))
        epoch = self._fleet.liveness(node).session_epoch
        return self._elsewhere.send(node, _packed(node, pb.ControlMessage(session_epoch=epoch, desired_batch=batch)))

    def errand(self, content: bytes) -> None:
        """Do what another replica asks for by `Elsewhere.send`; what comes too late is dropped."""
        try:
            node, message = _unpacked(content)
            connection = self._registry.at(node)
            if connection is not None:
                _deliver(connection, message)
        except (DecodeError, UnicodeDecodeError, InvalidArgument) as error:
            _log.warning("errand_unreadable", size=len(content), why=str(error))

    def admits(self, node: NodeId, epoch: int, serial: str | None) -> bool:
        session = self._session(node)
        return session is not None and session.epoch == epoch and serial in (None, session.serial)

    def superseded(self, node: NodeId, epoch: int) -> bool:
        session = self._session(node)
        return session is not None and session.epoch > epoch

    def _seated(self, node: NodeId) -> AgentConnection | None:
        """The stream that speaks for the node, if that is here."""
        return self._registry.at(node) if self._fleet.replica_of(node) is None else None

    def _session(self, node: NodeId) -> _Session | None:
        """The newest that is known, whichever replica has it."""
        if self._fleet.replica_of(node) is not None:
            return _Session(self._fleet.liveness(node).session_epoch, self._fleet.serial_of(node))
        connection = self._registry.at(node)
        return _Session(connection.epoch, connection.presented.serial) if connection is not None else None


def _deliver(connection: AgentConnection, message: pb.ControlMessage) -> None:
    match message.WhichOneof("body"):
        case "desired_batch":
            # Removals were allowed as one session showed them, and never go through a later one.
            if message.session_epoch == connection.epoch:
                connection.allow(held_from_proto(connection.node, message.desired_batch.allowed_removals))
        case "log_request":
            # An agent that knows one replica only would send the log here, where nobody waits for it.
            if connection.can(MANY_REPLICAS):
                connection.say(message)
        case "probe_instance":
            if connection.can(PROBES):
                connection.say(message)
        case "park_connections":
            connection.say(message)
        case body:
            _log.warning("errand_unknown", node=connection.node, body=body)


def _packed(node: NodeId, message: pb.ControlMessage) -> bytes:
    return node.encode() + b"\n" + message.SerializeToString()


def _unpacked(content: bytes) -> tuple[NodeId, pb.ControlMessage]:
    node, _, message = content.partition(b"\n")
    return NodeId(node.decode()), pb.ControlMessage.FromString(message)
