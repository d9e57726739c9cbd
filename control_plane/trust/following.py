"""Makes this process follow what the database says of its authorities, whichever replica took the step."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

import structlog
from cryptography import x509

from control_plane.domain.authority import SHOWN_LENGTH, Authority, trusted
from control_plane.domain.errors import CertificateRevoked, StorageUnavailable
from control_plane.domain.ids import AuthorityId
from control_plane.trust.authority import EmbeddedAuthority
from control_plane.trust.server_certificate import ServerCertificate
from control_plane.trust.shared_authority import SharedAuthority, stored
from control_plane.use_cases.change_log import ChangeLog
from control_plane.use_cases.ports import Store
from wire.credentials import signed

_log = structlog.get_logger()


class TrustKeeper:
    """Owner of ca.pem and of the authority's keys while the control plane runs."""

    def __init__(
        self, store: Store, shared: SharedAuthority, authority: EmbeddedAuthority, certificate: ServerCertificate
    ) -> None:
        self.rows: Sequence[Authority] = ()
        """As they were followed last."""
        self._log = ChangeLog(store, lambda tx, _: stored(tx))
        self._shared = shared
        self._authority = authority
        self._certificate = certificate
        self._told: Sequence[Authority] = ()
        self._listeners: list[Callable[[], Awaitable[None]]] = []

    def on_change(self, listener: Callable[[], Awaitable[None]]) -> None:
        """Await `listener` after each step that was followed; again when it raises StorageUnavailable."""
        self._listeners.append(listener)

    async def refresh(self) -> None:
        """StorageUnavailable; InvalidArgument when the key that signs now cannot be had here."""
        async with self._log.look() as rows:
            if rows == self._told or not rows:
                return
            if rows != self.rows:
                await self._follow(rows)
                self.rows = rows
                _log.info("authorities_followed", **{row.shown: row.state.value for row in rows})
            for listener in self._listeners:
                await listener()
            self._told = rows

    async def successor(self, *, others_run: bool) -> Authority:
        """As SharedAuthority has it; the key is sealed beside the loop."""
        with _stored():
            return await asyncio.to_thread(self._shared.successor, self._authority, self.rows, others_run=others_run)

    def discard(self, row: Authority) -> None:
        self._shared.discard(row)

    def check_issuer(self, issuer: str) -> None:
        """CertificateRevoked when the authority of this id counts no more."""
        if any(row.id == issuer and not row.is_trusted for row in self.rows):
            raise revoked(AuthorityId(issuer))

    def knows(self, certificate: x509.Certificate) -> bool:
        """Whether one of them signed it, those revoked among them."""
        return any(signed(certificate, x509.load_der_x509_certificate(row.certificate)) for row in self.rows)

    async def _follow(self, rows: Sequence[Authority]) -> None:
        active = self._shared.active(rows)
        if active.id != self._authority.id:
            key = await asyncio.to_thread(self._shared.key_of, active, rows)
            self._authority.turn(key, x509.load_der_x509_certificate(active.certificate))
        others = (row.certificate for row in trusted(rows) if row != active)
        self._authority.trust(map(x509.load_der_x509_certificate, others))
        with _stored():
            self._shared.settle(self._authority, rows)
            self._certificate.trust_changed()


@contextmanager
def _stored() -> Iterator[None]:
    """A disk that is full now may have room at the next look."""
    try:
        yield
    except OSError as error:
        raise StorageUnavailable(
            f"The files of the authority cannot be written: {error}.", "Make room in the state directory; it goes on."
        ) from error


def revoked(issuer: AuthorityId) -> CertificateRevoked:
    return CertificateRevoked(
        f"The authority {issuer[:SHOWN_LENGTH]} that signed this certificate was revoked.",
        "A node joins again with a new join token; an operator takes a new context file: arw-control-plane init.",
        authority=issuer,
    )
