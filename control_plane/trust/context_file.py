"""The operator's own file: where the control plane is, and the credentials for it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from cryptography import x509

from wire.atomic_file import write_atomically
from wire.credentials import serial_hex

MAX_ADDRESSES = 8
_LISTS = ("grpc_addresses", "http_urls")


@dataclass(frozen=True, slots=True)
class OperatorContext:
    trust_domain: str
    grpc_address: str
    http_url: str
    ca_pem: str
    certificate_pem: str
    key_pem: str
    token: str
    state_dir: str
    grpc_addresses: tuple[str, ...] = ()
    """Of further replicas, for when this one does not answer."""
    http_urls: tuple[str, ...] = ()

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """None when there is none, or it cannot be understood."""
        try:
            values = json.loads(path.read_bytes())
            told: dict[str, Any] = {name: tuple(map(str, values.get(name, ()))) for name in _LISTS}
            told |= {field.name: str(values[field.name]) for field in fields(cls) if field.name not in _LISTS}
            return cls(**told)
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            return None

    def with_addresses(self, grpc_addresses: Iterable[str], http_urls: Iterable[str]) -> Self:
        """Knowing these further replicas, the first MAX_ADDRESSES of them, in place of those that it knew."""
        others = _some(address for address in grpc_addresses if address != self.grpc_address)
        return replace(self, grpc_addresses=others, http_urls=_some(url for url in http_urls if url != self.http_url))

    def save(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(path, json.dumps(asdict(self), indent=2).encode(), 0o600)

    def serial(self, now: datetime) -> str:
        """Of its certificate; empty when that has less than a third of its life left."""
        try:
            leaf = x509.load_pem_x509_certificates(self.certificate_pem.encode())[0]
        except (ValueError, IndexError):
            return ""
        life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
        return serial_hex(leaf) if now < leaf.not_valid_after_utc - life / 3 else ""


def _some(words: Iterable[str]) -> tuple[str, ...]:
    """Each once."""
    return tuple(dict.fromkeys(words))[:MAX_ADDRESSES]
