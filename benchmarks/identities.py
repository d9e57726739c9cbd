"""Certificates for light agents: got at the door as a real agent gets its own, or straight at the desk behind it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

import grpc
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from arw.v1 import enrollment_service_pb2
from arw.v1.enrollment_service_pb2_grpc import EnrollmentServiceStub
from control_plane.domain.ids import NodeId
from control_plane.ground import Ground, ground
from control_plane.process.clock import SystemClock
from control_plane.settings import Paths, Settings
from control_plane.timers import Timers
from control_plane.use_cases.create_join_token import CreateJoinToken
from control_plane.use_cases.enroll_node import EnrollNode
from control_plane.use_cases.randomness import SystemRandomness
from wire.channel import secure_channel
from wire.credentials import certificate_pem, client_context, csr_der, key_pem, new_key

WRITTEN_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Identity:
    node: str
    tls: ssl.SSLContext
    """With a certificate and a key of its own."""
    address: str
    """Of the control plane."""


async def enrol(address: str, ca: bytes, tokens: Sequence[str]) -> list[Identity]:
    """One identity a token, one after another, each over its own connection as a real agent's."""
    return [await _enrol(address, ca, token) for token in tokens]


async def _enrol(address: str, ca: bytes, token: str) -> Identity:
    key = new_key()
    wanted = enrollment_service_pb2.EnrollRequest(join_token=token.rpartition(".")[0], csr=csr_der(key))
    async with secure_channel(address, grpc.ssl_channel_credentials(ca)) as channel:
        answer = await EnrollmentServiceStub(channel).Enroll(wanted, timeout=30)
    return Identity(answer.node, _context(ca, key, answer.certificate_chain), answer.grpc_address)


async def joined(state: Path, numbers: range) -> list[Identity]:
    """Nodes with these numbers in their names and as their label n, at the desk of a control plane that is not running.

    At the door thousands would take minutes.
    """
    paths = Paths(state)
    settings = Settings.load(paths.settings)
    found: list[Identity] = []
    async with ground(settings, Timers.second_long(), paths, SystemClock()) as on:
        for first in range(0, len(numbers), WRITTEN_AT_ONCE):
            some = numbers[first : first + WRITTEN_AT_ONCE]
            found += await asyncio.gather(*(_joined(on, number, settings.grpc_port) for number in some))
    return found


async def _joined(on: Ground, number: int, port: int) -> Identity:
    node, key, dice = NodeId(f"n{number}"), new_key(), SystemRandomness()
    granted = await CreateJoinToken(on.store, on.clock, dice)(node=node, labels={"n": str(number)})
    enrolled = await EnrollNode(on.store, on.clock, dice, on.authority)(granted.text, csr_der(key))
    assert enrolled.certificate
    ca = certificate_pem(on.authority.trust_bundle())
    return Identity(f"nodes/{node}", _context(ca, key, enrolled.certificate.chain), f"127.0.0.1:{port}")


def _context(ca: bytes, key: EllipticCurvePrivateKey, chain_der: Sequence[bytes]) -> ssl.SSLContext:
    with NamedTemporaryFile() as authority, NamedTemporaryFile() as own:
        authority.write(ca)
        own.write(key_pem(key) + certificate_pem(chain_der))
        authority.flush()
        own.flush()
        return client_context(Path(own.name), Path(own.name), Path(authority.name))
