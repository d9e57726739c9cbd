"""This node's identity on disk: written by join, replaced by renewal, never half.

node.key, node.pem    the certificate in use
next.key, next.pem    a renewed one, until the control plane was seen to accept it
ca.pem                whom to trust
identity.json         names, addresses, and the place where they belong
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from node_agent.domain.errors import NotJoined
from node_agent.identity.place import Place
from wire.atomic_file import write_atomically
from wire.credentials import spki_sha256

_JOIN = "Make a token with `arwctl nodes token create` and run `arw-node-agent join`."


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    node: str
    """The id alone, without "nodes/"."""
    trust_domain: str
    grpc_address: str
    enrollment_address: str
    installation_id: str
    """UUID of this state directory."""
    place: Place | None = None
    """Where it was written, or last in use; None as older agents wrote it, until the next start."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A key with its chain, leaf first."""

    chain_pem: bytes = field(repr=False)
    key_pem: bytes = field(repr=False)
    leaf: x509.Certificate
    received: datetime
    """When it was written here: the issuer's own start date may lie a little back."""

    @property
    def leaf_der(self) -> bytes:
        return self.leaf.public_bytes(serialization.Encoding.DER)


class IdentityFiles:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @property
    def joined(self) -> bool:
        return self._path("identity.json").exists()

    @property
    def ca_pem(self) -> bytes:
        return self._path("ca.pem").read_bytes()

    def path(self, kind: str) -> Path:
        """Of "node.pem", "node.key" or "ca.pem", for a TLS context."""
        return self._path(kind)

    def identity(self) -> NodeIdentity:
        """NotJoined when there is none or it cannot be read."""
        try:
            return msgspec.json.decode(self._path("identity.json").read_bytes(), type=NodeIdentity)
        except FileNotFoundError:
            raise NotJoined(f"This machine has not joined a control plane ({self._directory}).", _JOIN) from None
        except (OSError, msgspec.DecodeError) as error:
            raise NotJoined(f"{self._path('identity.json')} cannot be read: {error}.", _JOIN) from error

    def write(self, identity: NodeIdentity, key_pem: bytes, chain_pem: bytes, ca_pem: bytes) -> None:
        """identity.json comes last: without it the rest counts for nothing."""
        self._path("identity.json").unlink(missing_ok=True)
        self.drop_candidate()
        for name, data in (("node.key", key_pem), ("node.pem", chain_pem), ("ca.pem", ca_pem)):
            write_atomically(self._path(name), data)
        self._write_identity(identity)

    def here(self) -> Place:
        return Place.of(self._directory)

    def settle(self) -> None:
        """From now on the identity belongs where it lies."""
        self._write_identity(replace(self.identity(), place=self.here()))

    def _write_identity(self, identity: NodeIdentity) -> None:
        write_atomically(self._path("identity.json"), json.dumps(asdict(identity), indent=2).encode() + b"\n")

    def current(self) -> Certificate:
        """NotJoined when the files do not belong together."""
        # Twice, for another process may promote between our reading the key and the certificate.
        found = self._settled() or self._settled()
        if found is None:
            raise NotJoined(f"The certificate and the key in {self._directory} do not belong together.", _JOIN)
        return found

    def candidate(self) -> Certificate | None:
        return self._load("next.key", "next.pem")

    def write_candidate(self, key_pem: bytes, chain_pem: bytes, ca_pem: bytes) -> None:
        write_atomically(self._path("ca.pem"), ca_pem)
        write_atomically(self._path("next.key"), key_pem)
        write_atomically(self._path("next.pem"), chain_pem)

    def write_ca(self, ca_pem: bytes) -> None:
        write_atomically(self._path("ca.pem"), ca_pem)

    def promote(self) -> None:
        """The candidate becomes the certificate. Interrupted between the two, `current` finishes it."""
        self._path("next.key").replace(self._path("node.key"))
        # Another process that read in this moment has finished it.
        with suppress(FileNotFoundError):
            self._path("next.pem").replace(self._path("node.pem"))

    def drop_candidate(self) -> None:
        for name in ("next.pem", "next.key"):
            self._path(name).unlink(missing_ok=True)

    def _settled(self) -> Certificate | None:
        if not self._path("next.key").exists() and self._load("node.key", "next.pem"):
            with suppress(FileNotFoundError):
                self._path("next.pem").replace(self._path("node.pem"))
        return self._load("node.key", "node.pem")

    def _load(self, key_name: str, chain_name: str) -> Certificate | None:
        try:
            key_pem = self._path(key_name).read_bytes()
            chain_pem = self._path(chain_name).read_bytes()
            received = self._path(chain_name).stat().st_mtime
            key = serialization.load_pem_private_key(key_pem, None)
            leaf = x509.load_pem_x509_certificates(chain_pem)[0]
        except (OSError, ValueError):
            return None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or spki_sha256(key) != spki_sha256(leaf):
            return None
        return Certificate(chain_pem, key_pem, leaf, datetime.fromtimestamp(received, UTC))

    def _path(self, name: str) -> Path:
        return self._directory / name
