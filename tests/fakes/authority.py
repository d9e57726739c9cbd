"""A certificate authority that signs with a counter, and randomness that counts."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from control_plane.domain.errors import InvalidArgument
from control_plane.domain.ids import NodeId
from control_plane.use_cases.ports import Clock, IssuedCertificate

LIFE = timedelta(hours=24)


@dataclass(slots=True)
class FakeAuthority:
    """A request is b"csr:" and the key."""

    clock: Clock
    trust_domain: str = "test"
    serials: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def key_of(self, csr_der: bytes) -> str:
        if not csr_der.startswith(b"csr:"):
            raise InvalidArgument("The signing request is malformed.", "Send PKCS#10.")
        return hashlib.sha256(csr_der).hexdigest()

    def issue_node(self, csr_der: bytes, node: NodeId) -> IssuedCertificate:
        serial = f"{next(self.serials):x}"
        leaf = f"{node} {serial}".encode()
        return IssuedCertificate((leaf,), serial, self.clock.now() + LIFE, self.key_of(csr_der))

    def trust_bundle(self) -> tuple[bytes, ...]:
        return (b"ca",)

    @property
    def bundle_digest(self) -> str:
        return "digest"


@dataclass(slots=True)
class CountingRandomness:
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def uid(self) -> str:
        return f"uid-{next(self.numbers)}"

    def secret(self, length: int) -> bytes:
        return next(self.numbers).to_bytes(length, "big")
