"""The authorities of all control planes on one database.

The first control plane makes the first, keeps the key on its disk and puts the certificate into the database; with a
secret also the key, sealed. The others take both from there, and keep the key in memory alone. One that is prepared
later is sealed where there is a secret, and on the disk of the one that made it where there is none.

key here │ in the database     │ what happens
─────────┼─────────────────────┼──────────────────────────────────────────────────────────────
no       │ nothing             │ made on the disk, then told; who comes second takes the first's
yes      │ nothing             │ told
yes      │ its certificate     │ used; sealed now if there is a secret and it was not
no       │ a sealed key        │ opened by the secret
either   │ other certificates  │ refused, as is a secret that opens nothing
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from control_plane.domain.authority import Authority, AuthorityState, in_state, trusted
from control_plane.domain.errors import InUse, InvalidArgument, StorageUnavailable
from control_plane.domain.ids import AuthorityId
from control_plane.trust.authority import EmbeddedAuthority, Lifetimes, trust_domain_of
from control_plane.trust.key_files import KeyFiles
from control_plane.trust.sealing import sealed, unsealed
from control_plane.trust.secret_file import read_secret
from control_plane.use_cases.ports import Clock, Store, Transaction
from wire.atomic_file import write_atomically
from wire.credentials import certificate_pem, key_id, spki_sha256

_PEM = serialization.Encoding.PEM


@dataclass(frozen=True, slots=True)
class SharedAuthority:
    """How one control plane gets at them. Every refusal leaves all as it was: InvalidArgument, StorageUnavailable."""

    directory: Path
    clock: Clock
    lifetimes: Lifetimes
    secret_file: str = ""
    """Empty: none was named."""
    alone: bool = False
    """No other control plane can use the database, so a key that is not here is nowhere."""

    async def open(self, store: Store) -> EmbeddedAuthority:
        """Those of the database; the first one is made when it has none."""
        rows = await store.read(stored)
        if not rows:
            return await self._offered(store)
        authority, secret = self.held(rows), read_secret(self.secret_file)
        if secret:
            await self._seal_all(store, rows, secret)
        self.settle(authority, rows)
        return authority

    def held(self, rows: Sequence[Authority]) -> EmbeddedAuthority:
        """They, by what is here and in the database; nothing is written."""
        self._check_certificates(rows)
        active = self.active(rows)
        authority = EmbeddedAuthority(self.key_of(active, rows), _parsed(active), self.clock, self.lifetimes)
        authority.trust(_parsed(row) for row in trusted(rows) if row != active)
        return authority

    def active(self, rows: Sequence[Authority]) -> Authority:
        found = in_state(rows, AuthorityState.ACTIVE)
        if found is None:
            raise StorageUnavailable("No authority in the database is active.", "Restore a backup of the database.")
        return found

    def key_of(self, row: Authority, rows: Sequence[Authority]) -> ec.EllipticCurvePrivateKey:
        """Its key; refused when neither this disk nor the secret gives it."""
        certificate, files = _parsed(row), KeyFiles(self.directory)
        self._check_own_key(certificate, rows)
        key = files.key_of(certificate)
        if key is None:
            return self._opened(row, certificate)
        secret = read_secret(self.secret_file)
        if secret and row.sealed_key is not None:
            unsealed(row.sealed_key, certificate, secret)
        return key

    def settle(self, authority: EmbeddedAuthority, rows: Sequence[Authority]) -> None:
        """Bring the files here in line with what the database says. OSError."""
        bundle = certificate_pem(authority.trust_bundle())
        path = self._certificate_path
        if not path.exists() or path.read_bytes() != bundle:
            write_atomically(path, bundle, 0o644)
        revoked = [_parsed(row) for row in rows if not row.is_trusted]
        KeyFiles(self.directory).settle(authority.key, revoked)

    def successor(self, authority: EmbeddedAuthority, rows: Sequence[Authority], *, others_run: bool) -> Authority:
        """A new one, its key sealed or on this disk. InUse when other replicas could not get at it.

        InvalidArgument when the secret is not the one that seals the others.
        """
        secret = read_secret(self.secret_file)
        self.key_of(self.active(rows), rows)
        if others_run and not secret:
            raise InUse(
                "Other replicas use the database, and this one knows no secret to seal a new key by.",
                "Start every replica with the same --authority-secret-file FILE, then try again.",
            )
        key, certificate = authority.successor()
        envelope = sealed(key, certificate, secret) if secret else None
        if envelope is None:
            KeyFiles(self.directory).keep(key)
        return self._row(certificate, AuthorityState.PREPARED, envelope)

    def discard(self, row: Authority) -> None:
        """One that was made a moment ago, and that nobody heard of."""
        (self.directory / f"ca-{row.id}.key").unlink(missing_ok=True)

    async def seal(self, store: Store, secret: bytes) -> None:
        """Seal the keys by another secret."""
        rows = await store.read(stored)
        if not rows:
            raise InvalidArgument(
                "The database knows no authority yet.", "Start the first control plane: arw-control-plane run."
            )
        self._check_certificates(rows)
        anew = [replace(row, sealed_key=sealed(self._known(row, rows), _parsed(row), secret)) for row in trusted(rows)]
        await store.write(lambda tx: _put_all(tx, anew))

    def _known(self, row: Authority, rows: Sequence[Authority]) -> ec.EllipticCurvePrivateKey:
        """Where the key lies on the disk, nobody may know the secret any more that sealed it before."""
        is_here = KeyFiles(self.directory).key_of(_parsed(row)) is not None
        return (replace(self, secret_file="") if is_here else self).key_of(row, rows)

    async def _seal_all(self, store: Store, rows: Sequence[Authority], secret: bytes) -> None:
        bare = [row for row in trusted(rows) if row.sealed_key is None]
        anew = [replace(row, sealed_key=sealed(self.key_of(row, rows), _parsed(row), secret)) for row in bare]
        if anew:
            await store.write(lambda tx: _seal(tx, anew))

    def _row(self, certificate: x509.Certificate, state: AuthorityState, envelope: bytes | None) -> Authority:
        der, now = certificate.public_bytes(serialization.Encoding.DER), self.clock.now()
        return Authority(AuthorityId(key_id(certificate)), state, der, envelope, now, now)

    async def _offered(self, store: Store) -> EmbeddedAuthority:
        """Our own, unless another was offered first."""
        is_new, secret = not self._key_path.exists(), read_secret(self.secret_file)
        if is_new:
            self._check_new(has_nodes=await store.read(_has_nodes))
        own = EmbeddedAuthority.open(self.directory, self.clock, self.lifetimes)
        offer = self._row(own.certificate, AuthorityState.ACTIVE, own.sealed(secret) if secret else None)
        rows = await store.write(lambda tx: _first(tx, offer))
        if rows == [offer]:
            return own
        if is_new:
            self._discard()
        authority = self.held(rows)
        self.settle(authority, rows)
        return authority

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

    def _check_certificates(self, rows: Sequence[Authority]) -> None:
        """What lies here is of this database."""
        known = [_parsed(row) for row in rows]
        if not self._certificate_path.exists():
            return
        try:
            ours = x509.load_pem_x509_certificates(self._certificate_path.read_bytes())
        except ValueError as error:
            raise self._damaged(self._certificate_path) from error
        if not any(one in known for one in ours):
            raise self._foreign(known[0])

    def _check_own_key(self, certificate: x509.Certificate, rows: Sequence[Authority]) -> None:
        """Of a database that lost its last changes, the one before may lie beside ca.key."""
        files, known = KeyFiles(self.directory), {spki_sha256(_parsed(row)) for row in rows}
        if files.active.exists() and known.isdisjoint(map(files.key_in, files.paths())):
            raise self._foreign(certificate)

    def _opened(self, row: Authority, certificate: x509.Certificate) -> ec.EllipticCurvePrivateKey:
        if self.alone:
            raise StorageUnavailable(
                f"The key of the authority {row.shown} is missing in {self.directory}.",
                "Restore the newest backup: arw-control-plane restore FILE",
            )
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
        return KeyFiles(self.directory).active

    @property
    def _certificate_path(self) -> Path:
        return self.directory / "ca.pem"


def stored(tx: Transaction) -> Sequence[Authority]:
    return tx.authorities.all()


def _parsed(row: Authority) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(row.certificate)
    except ValueError as error:
        raise StorageUnavailable(
            "The certificate of the authority in the database is damaged.", "Restore a backup of the database."
        ) from error


def _has_nodes(tx: Transaction) -> bool:
    return bool(tx.nodes.page("", 1))


def _first(tx: Transaction, offer: Authority) -> Sequence[Authority]:
    if not tx.authorities.all():
        tx.authorities.put(offer)
    return tx.authorities.all()


def _seal(tx: Transaction, sealed_rows: Sequence[Authority]) -> None:
    """Unless another was quicker, or a step was taken since."""
    for row in sealed_rows:
        if tx.authorities.get(row.id) == replace(row, sealed_key=None):
            tx.authorities.put(row)


def _put_all(tx: Transaction, rows: Sequence[Authority]) -> None:
    for row in rows:
        tx.authorities.put(row)
