"""The operator's own file: where the control plane is, and the credentials for it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path

from cryptography import x509

from wire.atomic_file import write_atomically
from wire.credentials import serial_hex


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

    @classmethod
    def load(cls, path: Path) -> OperatorContext | None:
        """None when there is none, or it cannot be understood."""
        try:
            values = json.loads(path.read_bytes())
            return cls(**{field.name: str(values[field.name]) for field in fields(cls)})
        except (OSError, ValueError, KeyError, TypeError):
            return None

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
