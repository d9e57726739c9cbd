from __future__ import annotations

import hashlib
import uuid
from pathlib import Path

_PREFIX = b"arw.v1 machine id\0"


def machine_id_hash(root: Path = Path("/")) -> str:
    """As the node agents of this machine compute it: lower-case hex SHA-256 of its id with a prefix of ours."""
    found = _machine_id(root) or f"node {uuid.getnode():012x}"
    return hashlib.sha256(_PREFIX + found.encode()).hexdigest()


def _machine_id(root: Path) -> str:
    for name in ("etc/machine-id", "var/lib/dbus/machine-id"):
        try:
            text = (root / name).read_text("utf-8").strip()
        except OSError:
            continue
        if text and text != "uninitialized":
            return text
    return ""
