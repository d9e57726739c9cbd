"""The certificate that the control plane's listeners show, renewed while they run."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import grpc
import structlog
from cryptography import x509

from control_plane.trust.authority import EmbeddedAuthority
from control_plane.trust.key_file import load_or_make_key
from control_plane.use_cases.ports import Clock
from wire.atomic_file import write_atomically
from wire.credentials import TurningContext, certificate_pem, csr_der, server_context, spki_sha256

LONGEST_NAP_SECONDS = 3600.0
RETRY_SECONDS = 60.0

_log = structlog.get_logger()


class ServerCertificate:
    """Owner of server.key and server.pem. The key stays; the chain, CA included, is replaced at two thirds of its life.

    The CA is part of the chain so that a joining agent, which trusts nobody yet, can compare it with its pin.
    """

    def __init__(self, directory: Path, authority: EmbeddedAuthority, clock: Clock, hosts: Sequence[str]) -> None:
        self.chain_path = directory / "server.pem"
        self.key_path = directory / "server.key"
        self.ca_path = directory / "ca.pem"
        self._authority = authority
        self._clock = clock
        self._hosts = tuple(dict.fromkeys(("localhost", "127.0.0.1", *hosts)))
        self._key = load_or_make_key(self.key_path)
        self._listeners: list[Callable[[], None]] = []
        self.refresh()

    def on_renewal(self, listener: Callable[[], None]) -> None:
        """Call `listener` after the files hold a new chain, or others whom to trust."""
        self._listeners.append(listener)

    def refresh(self) -> None:
        """Write a new chain when the present one is missing, of another key, for other hosts, or two thirds over."""
        if self._renewed():
            self._tell()

    def trust_changed(self) -> None:
        """The file of those who are trusted is another; the chain too, when another one signs now."""
        self._renewed()
        self._tell()

    def _renewed(self) -> bool:
        is_due = not self._still_good()
        if is_due:
            issued = self._authority.issue_server(csr_der(self._key), self._hosts)
            write_atomically(self.chain_path, certificate_pem(issued.chain), 0o644)
            _log.info("server_certificate_issued", serial=issued.serial, expire_time=issued.expire_time.isoformat())
        return is_due

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()

    def credentials(self, *, require_client: bool) -> grpc.ServerCredentials:
        """For a gRPC port; each handshake sees the newest chain."""
        fresh: deque[grpc.ServerCertificateConfiguration] = deque(maxlen=1)
        self.on_renewal(lambda: fresh.append(self._configuration()))

        # The core frees the old context under handshakes that still use it: handing over a new one at each of a
        # hundred at once crashed the process. None means that nothing changed.
        def newer() -> grpc.ServerCertificateConfiguration | None:
            try:
                return fresh.pop()
            except IndexError:
                return None

        return grpc.dynamic_ssl_server_credentials(
            self._configuration(),
            newer,  # type: ignore[arg-type]  # the stub forgets None
            require_client_authentication=require_client,
        )

    def context(self) -> ssl.SSLContext:
        """For a port of mutual TLS; each handshake sees the newest chain, and whom to trust."""
        shown = TurningContext(self._context)
        self.on_renewal(shown.turn)
        return shown.outer

    def _context(self) -> ssl.SSLContext:
        return server_context(self.chain_path, self.key_path, self.ca_path, require_client=True)

    async def run(self) -> None:
        """A disk that is full now has a third of the certificate's life to get better."""
        while True:
            try:
                await asyncio.sleep(self._nap())
                self.refresh()
            except OSError as error:
                _log.error("server_certificate_not_renewed", error=str(error))
                await asyncio.sleep(RETRY_SECONDS)

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        pair = (self.key_path.read_bytes(), self.chain_path.read_bytes())
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=self.ca_path.read_bytes())

    def _nap(self) -> float:
        left = (_renewal_time(self._leaf()) - self._clock.now()).total_seconds()
        return min(max(left, 0.1), LONGEST_NAP_SECONDS)

    def _leaf(self) -> x509.Certificate:
        return x509.load_pem_x509_certificates(self.chain_path.read_bytes())[0]

    def _still_good(self) -> bool:
        if not self.chain_path.exists():
            return False
        try:
            leaf = self._leaf()
        except ValueError:
            return False
        ours = spki_sha256(leaf) == spki_sha256(self._key) and self._authority.signed(leaf)
        return ours and self._names_hosts(leaf) and self._clock.now() < _renewal_time(leaf)

    def _names_hosts(self, leaf: x509.Certificate) -> bool:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        known = {*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))}
        return known.issuperset(self._hosts)


def _renewal_time(leaf: x509.Certificate) -> datetime:
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    return leaf.not_valid_after_utc - life / 3
