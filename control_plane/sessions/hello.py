"""What the first message of a stream has to be."""

from __future__ import annotations

from dataclasses import dataclass

from arw.v1 import session_pb2 as pb
from control_plane.domain.errors import NodeMismatch, ProtocolUnsupported, ProtocolViolation
from control_plane.domain.ids import NodeId, resource_name
from control_plane.sessions.rules import CAPABILITIES, MAX_REVISION, MAX_WORD, PROTOCOL_MAX, PROTOCOL_MIN

UPDATE = "Update the node agent; if it is current, report this as a defect."


@dataclass(frozen=True, slots=True)
class Peer:
    """What of a Hello is kept for as long as the stream; its inventory, the bulk of it, is not."""

    process_id: str = ""
    revision: int = 0
    """What the node said it has stored."""
    protocol: int = PROTOCOL_MIN
    capabilities: tuple[str, ...] = ()
    """Those that both sides have."""
    machine_id_hash: str = ""


def violation(text: str) -> ProtocolViolation:
    return ProtocolViolation(text, UPDATE)


def checked_hello(message: pb.AgentMessage, node: NodeId) -> pb.Hello:
    """ProtocolViolation, NodeMismatch, ProtocolUnsupported."""
    hello = message.hello
    if message.WhichOneof("body") != "hello" or message.session_epoch:
        raise violation("The first message of the stream is no Hello.")
    if hello.node != resource_name("nodes", node):
        raise NodeMismatch("The Hello names another node than the certificate.", "Join this machine again.")
    if not (hello.process_id and hello.installation_id) or any(len(word) > MAX_WORD for word in _words(hello)):
        raise violation("The Hello lacks an id, or an id in it is too long.")
    if hello.protocol_min > PROTOCOL_MAX or hello.protocol_max < PROTOCOL_MIN:
        raise _unsupported(hello)
    return hello


def peer_of(hello: pb.Hello) -> Peer:
    return Peer(
        hello.process_id,
        min(hello.desired_revision, MAX_REVISION),
        min(hello.protocol_max, PROTOCOL_MAX),
        tuple(name for name in CAPABILITIES if name in hello.capabilities),
        hello.machine_id_hash,
    )


def _unsupported(hello: pb.Hello) -> ProtocolUnsupported:
    older = hello.protocol_max < PROTOCOL_MIN
    return ProtocolUnsupported(
        f"The agent speaks protocol {hello.protocol_min} to {hello.protocol_max}, "
        f"the control plane {PROTOCOL_MIN} to {PROTOCOL_MAX}.",
        "Update the node agent." if older else "Update the control plane.",
        agent=f"{hello.protocol_min}-{hello.protocol_max}",
        control_plane=f"{PROTOCOL_MIN}-{PROTOCOL_MAX}",
    )


def _words(hello: pb.Hello) -> tuple[str, ...]:
    return (
        hello.process_id,
        hello.installation_id,
        hello.boot_id,
        hello.machine_id_hash,
        hello.agent_version,
        hello.history_id,
        *hello.capabilities[:MAX_WORD],
    )
