"""The one authority of all control planes on a database.

The first makes it, keeps the key on its disk and puts the certificate into the database; with a secret also the key,
sealed. The others take both from there, and keep the key in memory alone.

ca.key here │ in the database     │ what happens
────────────┼─────────────────────┼──────────────────────────────────────────────────────────────
no          │ nothing             │ made on the disk, then told; who comes second takes the first's
yes         │ nothing             │ told
yes         │ its certificate     │ used; sealed now if there is a secret and it was not
no          │ a sealed key        │ opened by the secret
either      │ another certificate │ refused, as is a secret that opens nothing
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from control_plane.domain.errors import InvalidArgument, StorageUnavailable
from control_plane.trust.authority import EmbeddedAuthority, Lifetimes, trust_domain_of
from control_plane.trust.key_file import load_or_make_key
from control_plane.trust.sealing import unsealed
from control_plane.trust.secret_file import read_secret
from control_plane.use_cases.ports import Clock, Store, StoredAuthority, Transaction
from wire.atomic_file import write_atomically
from wire.credentials import spki_sha256

_PEM = serialization.Encoding.PEM


@dataclass(frozen=True, slots=True)
class SharedAuthority:
    """How one control plane gets at it. Every refusal leaves all as it was: InvalidArgument, StorageUnavailable."""

    directory: Path
    clock: Clock
    lifetimes: Lifetimes
    secret_file: str = ""
    """Empty: none was named."""

    async def open(self, store: Store) -> EmbeddedAuthority:
        """It, made when the database has none."""
        row = await store.read(_stored)
        if row is None:
            return await self._offered(store)
        authority, secret = self.held(row), read_secret(self.secret_file)
        if secret and row.sealed_key is None:
            sealed = StoredAuthority(row.certificate, authority.sealed(secret))
            await store.write(lambda tx: _seal(tx, sealed))
        return self._shown(authority)

    def held(self, row: StoredAuthority) -> EmbeddedAuthority:
        """It, by what is here and in the database; nothing is written."""
        certificate = _parsed(row)
        self._check_certificate(certificate)
        if not self._key_path.exists():
            return EmbeddedAuthority(self._opened(row, certificate), certificate, self.clock, self.lifetimes)
        key = self._own_key()
        if spki_sha256(key) != spki_sha256(certificate):
            raise self._foreign(certificate)
        secret = read_secret(self.secret_file)
        if secret and row.sealed_key is not None:
            unsealed(row.sealed_key, certificate, secret)
        return EmbeddedAuthority(key, certificate, self.clock, self.lifetimes)

    async def seal(self, store: Store, secret: bytes) -> None:
        """Seal the key by another secret."""
        row = await store.read(_stored)
        if row is None:
            raise InvalidArgument(
                "The database knows no authority yet.", "Start the first control plane: arw-control-plane run."
            )
        # Where ca.key lies, nobody may know the secret any more that sealed it before.
        knowing = replace(self, secret_file="") if self._key_path.exists() else self
        sealed = StoredAuthority(row.certificate, knowing.held(row).sealed(secret))
        await store.write(lambda tx: tx.authority.put(sealed))

    async def _offered(self, store: Store) -> EmbeddedAuthority:
        """Our own, unless another was offered first."""
        is_new, secret = not self._key_path.exists(), read_secret(self.secret_file)
        if is_new:
            self._check_new(has_nodes=await store.read(_has_nodes))
        own = EmbeddedAuthority.open(self.directory, self.clock, self.lifetimes)
        sealed = own.sealed(secret) if secret else None
        offer = StoredAuthority(own.trust_bundle()[0], sealed)
        row = await store.write(lambda tx: _first(tx, offer))
        if row.certificate == offer.certificate:
            return own
        if is_new:
            self._discard()
        return self._shown(self.held(row))

    def _check_new(self, *, has_nodes: bool) -> None:
        """Before an authority is made where there may be one elsewhere."""
        if self._certificate_path.exists():
            raise InvalidArgument(
                f"{self._certificate_path} is of an authority whose key is not here, and the database knows none.",
                "Name the database of that authority, or move the file away to begin with a new one.",
            )
        if has_nodes and self.secret_file:
            raise InvalidArgument(
                "The database has nodes and knows no authority yet: the control plane that has its key did not start "
                "since it was upgraded.",
                "Start that one first, with the same secret. Only if its ca.key is lost for good, start this one once "
                "without the secret: every node then has to join again.",
            )

    def _discard(self) -> None:
        """What was made a moment ago, and signed nothing yet."""
        self._certificate_path.unlink()
        self._key_path.unlink()

    def _shown(self, authority: EmbeddedAuthority) -> EmbeddedAuthority:
        """With its certificate where the listeners look for it."""
        if not self._certificate_path.exists():
            write_atomically(self._certificate_path, authority.certificate.public_bytes(_PEM), 0o644)
        return authority

    def _check_certificate(self, certificate: x509.Certificate) -> None:
        if not self._certificate_path.exists():
            return
        try:
            ours = x509.load_pem_x509_certificate(self._certificate_path.read_bytes())
        except ValueError as error:
            raise self._damaged(self._certificate_path) from error
        if ours != certificate:
            raise self._foreign(certificate)

    def _own_key(self) -> ec.EllipticCurvePrivateKey:
        try:
            return load_or_make_key(self._key_path)
        except ValueError as error:
            raise self._damaged(self._key_path) from error

    def _opened(self, row: StoredAuthority, certificate: x509.Certificate) -> ec.EllipticCurvePrivateKey:
        if row.sealed_key is None:
            raise InvalidArgument(
                "The database has an authority whose key is on the disk of another control plane alone.",
                "Start that one once with --authority-secret-file FILE, then this one with the same secret; or name "
                "another database.",
            )
        secret = read_secret(self.secret_file)
        if not secret:
            raise InvalidArgument(
                "The database has an authority already, and its key is sealed by a secret.",
                "Bring the secret of the other replicas here, in a file of mode 0600: --authority-secret-file FILE.",
            )
        return unsealed(row.sealed_key, certificate, secret)

    def _foreign(self, certificate: x509.Certificate) -> InvalidArgument:
        domain = trust_domain_of(certificate)
        return InvalidArgument(
            f"The authority in {self.directory} is not the one of the database, which is {domain}.",
            "Name this control plane's own database, or choose an empty --state-dir.",
            trust_domain=domain,
        )

    def _damaged(self, path: Path) -> StorageUnavailable:
        return StorageUnavailable(
            f"{path} cannot be understood.", "Restore the newest backup: arw-control-plane restore FILE"
        )

    @property
    def _key_path(self) -> Path:
        return self.directory / "ca.key"

    @property
    def _certificate_path(self) -> Path:
        return self.directory / "ca.pem"


def _parsed(row: StoredAuthority) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(row.certificate)
    except ValueError as error:
        raise StorageUnavailable(
            "The certificate of the authority in the database is damaged.", "Restore a backup of the database."
        ) from error


def _stored(tx: Transaction) -> StoredAuthority | None:
    return tx.authority.get()


def _has_nodes(tx: Transaction) -> bool:
    return bool(tx.nodes.page("", 1))


def _first(tx: Transaction, offer: StoredAuthority) -> StoredAuthority:
    found = tx.authority.get()
    if found is None:
        tx.authority.put(offer)
    return found or offer


def _seal(tx: Transaction, sealed: StoredAuthority) -> None:
    if tx.authority.get() == StoredAuthority(sealed.certificate):
        tx.authority.put(sealed)
