"""The authorities' keys on this disk: ca.key is the active one's, ca-ID.key another's."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from control_plane.domain.errors import StorageUnavailable
from control_plane.trust.key_file import load_or_make_key
from wire.atomic_file import sync_directory, write_atomically
from wire.credentials import key_id, key_pem, spki_sha256

ACTIVE = "ca.key"
OTHERS = "ca-*.key"
OTHER = re.compile(r"ca-[0-9a-f]{40}\.key")
"""Of a part in a backup, which may come from anywhere."""


@dataclass(frozen=True, slots=True)
class KeyFiles:
    directory: Path

    @property
    def active(self) -> Path:
        return self.directory / ACTIVE

    def paths(self) -> list[Path]:
        """Of all that are here, the active one's first."""
        return [path for path in (self.active, *sorted(self.directory.glob(OTHERS))) if path.exists()]

    def key_of(self, certificate: x509.Certificate) -> ec.EllipticCurvePrivateKey | None:
        """StorageUnavailable when a file holds no key."""
        wanted = spki_sha256(certificate)
        return next((key for key in map(_loaded, self.paths()) if spki_sha256(key) == wanted), None)

    def key_in(self, path: Path) -> str:
        """SHA-256 of its public key, lower-case hex. StorageUnavailable."""
        return spki_sha256(_loaded(path))

    def keep(self, key: ec.EllipticCurvePrivateKey) -> Path:
        path = self.directory / f"ca-{key_id(key)}.key"
        write_atomically(path, key_pem(key), 0o600)
        return path

    def settle(self, key: ec.EllipticCurvePrivateKey, revoked: Collection[x509.Certificate]) -> None:
        """Where there is a ca.key, this becomes it; another stays beside it, and those revoked go for good.

        Cut off at any moment, every key that is still trusted is in one of the files.
        """
        dead = set(map(spki_sha256, revoked))
        if self.active.exists() and self.key_in(self.active) != spki_sha256(key):
            if self.key_in(self.active) not in dead:
                self.keep(_loaded(self.active))
            write_atomically(self.active, key_pem(key), 0o600)
        spare = [path for path in self.paths() if path != self.active]
        gone = [path for path in spare if self.key_in(path) in {*dead, spki_sha256(key)}]
        for path in gone:
            path.unlink()
        if gone:
            sync_directory(self.directory)


def _loaded(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        return load_or_make_key(path)
    except ValueError as error:
        raise StorageUnavailable(
            f"{path} cannot be understood.", "Restore the newest backup: arw-control-plane restore FILE"
        ) from error
