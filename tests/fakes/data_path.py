"""Fillers of the data path's ports that tests can change while it runs, and certificates for it."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.ports import Caller, Exchange, Route, ServedModel, Task
from gateway.refusals import GatewayRefusal, Loading, ModelNotFound, NotServing
from node_agent.domain.spec import Hold, InstanceName
from node_agent.relay.link import RelayLink
from node_agent.use_cases.ports import EngineDoor
from wire.credentials import (
    CONTROL_PLANE_NAME,
    Identity,
    Role,
    client_context,
    key_pem,
    new_key,
    serial_hex,
    server_context,
    spki_sha256,
)

TOKEN = "Bearer ops.secret"


@dataclass(slots=True)
class FakeRoutes:
    table: dict[str, Route] = field(default_factory=dict)
    others: list[Route] = field(default_factory=list)
    """Where any model serves as well."""
    loading: dict[str, Loading] = field(default_factory=dict)
    refused: dict[str, GatewayRefusal] = field(default_factory=dict)
    woken: list[str] = field(default_factory=list)
    claims: list[str] = field(default_factory=list)
    """That requests came under."""
    given: int = 0
    """Routes that are in use."""

    def resolve(
        self,
        model: str,
        task: Task = Task.TEXT,
        project: str = "",
        avoid: Collection[str] = (),
        *,
        claim: str = "",
        body: bytes = b"",
    ) -> Route:
        del body
        self.claims.append(claim)
        if model in self.loading or model in self.refused:
            raise self.loading.get(model) or self.refused[model]
        if model not in self.table:
            raise ModelNotFound(f"No model named {model!r}.", f"There is: {', '.join(self.table)}.")
        left = [route for route in (self.table[model], *self.others) if route.instance not in avoid]
        if not left:
            raise NotServing("Nothing else.", "Try again.", retry_after=1)
        self.given += 1
        return left[0]

    def left(self, route: Route) -> None:
        del route
        self.given -= 1

    def wake(self, runtime: str) -> None:
        self.woken.append(runtime)

    def models(self) -> Sequence[ServedModel]:
        return [ServedModel(name, 1) for name in sorted(self.table)]


class FakeCallers:
    def authenticate(self, authorization: str | None) -> Caller | None:
        return Caller("ops") if authorization == TOKEN else None


@dataclass(slots=True)
class FakeMeter:
    exchanges: list[Exchange] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    def record(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)
        self.came.set()

    async def next(self) -> Exchange:
        """The newest, waiting for one."""
        await self.came.wait()
        self.came.clear()
        return self.exchanges[-1]


@dataclass(slots=True)
class FakeGate:
    """Live sessions: node to epoch and certificate serial."""

    sessions: dict[str, tuple[int, str]] = field(default_factory=dict)

    def admits(self, node: str, epoch: int, serial: str | None) -> bool:
        live = self.sessions.get(node)
        return live is not None and live[0] == epoch and serial in (None, live[1])

    def superseded(self, node: str, epoch: int) -> bool:
        live = self.sessions.get(node)
        return live is not None and live[0] != epoch


@dataclass(slots=True)
class FakeDemand:
    """Reaches agents directly instead of through their control streams."""

    links: dict[str, RelayLink] = field(default_factory=dict)
    asked: list[tuple[str, int]] = field(default_factory=list)

    def want(self, node: str, idle: int) -> None:
        self.asked.append((node, idle))
        if node in self.links:
            self.links[node].park(idle)


@dataclass(slots=True)
class FakeDoors:
    doors: dict[str, EngineDoor] = field(default_factory=dict)

    def door(self, instance: InstanceName) -> EngineDoor | None:
        return self.doors.get(instance)


def door(port: int, *holds: Hold, key: str = "engine-key") -> EngineDoor:
    return EngineDoor("127.0.0.1", port, key, frozenset(holds or (Hold("system", 1),)))


@dataclass(frozen=True, slots=True)
class Replica:
    relay_address: str = ""
    relay_unix_path: str = ""


@dataclass(slots=True)
class Certificates:
    """A CA in a folder, and certificates of it on demand."""

    folder: Path
    _key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)

    def __post_init__(self) -> None:
        ca = _sign(self._key, self._key, [], ca=True)
        self.ca_path.write_bytes(ca.public_bytes(serialization.Encoding.PEM))

    @property
    def ca_path(self) -> Path:
        return self.folder / "ca.pem"

    def server(self) -> ssl.SSLContext:
        chain, key, _ = self._issue("server", x509.DNSName(CONTROL_PLANE_NAME))
        return server_context(chain, key, self.ca_path, require_client=True)

    def node(self, name: str, role: Role = Role.NODE) -> tuple[Callable[[], ssl.SSLContext], str]:
        """A context provider, and the certificate's serial."""
        uri = Identity("test-domain", role, name).uri
        chain, key, serial = self._issue(f"{role}-{name}", x509.UniformResourceIdentifier(uri))
        context = client_context(chain, key, self.ca_path)
        return lambda: context, serial

    def _issue(self, name: str, san: x509.GeneralName) -> tuple[Path, Path, str]:
        key = new_key()
        certificate = _sign(key, self._key, [san], ca=False)
        chain_path, key_path = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        chain_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_path.write_bytes(key_pem(key))
        return chain_path, key_path, serial_hex(certificate)


def _sign(
    key: ec.EllipticCurvePrivateKey, ca_key: ec.EllipticCurvePrivateKey, names: list[x509.GeneralName], *, ca: bool
) -> x509.Certificate:
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"test CA {spki_sha256(ca_key)[:8]}")])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(issuer if ca else x509.Name([]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    return builder.sign(ca_key, hashes.SHA256())
