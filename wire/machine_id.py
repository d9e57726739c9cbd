"""Which machine this is, without telling its id to anyone."""

from __future__ import annotations

import hashlib
import platform
import re
import subprocess
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

_PREFIX = b"arw.v1 machine id\0"
_TIMEOUT_S = 5.0
_REGISTRY = r"HKLM\SOFTWARE\Microsoft\Cryptography"


def machine_id_hash(root: Path = Path("/")) -> str:
    """Lower-case hex SHA-256 of the machine's own id with a prefix of ours, so that nobody can match it elsewhere."""
    return _hash(_own_id(root) or f"node {uuid.getnode():012x}")


def lasting_machine_id_hash(root: Path = Path("/")) -> str:
    """The same, where the machine has an id of its own; else empty, because a network address may be another tomorrow.

    Many containers have none.
    """
    found = _own_id(root)
    return _hash(found) if found else ""


def _hash(found: str) -> str:
    return hashlib.sha256(_PREFIX + found.encode()).hexdigest()


def _own_id(root: Path) -> str:
    return _SOURCES.get(platform.system(), _linux)(root)


def _linux(root: Path) -> str:
    for name in ("etc/machine-id", "var/lib/dbus/machine-id"):
        try:
            text = (root / name).read_text().strip()
        except OSError:
            continue
        if text and text != "uninitialized":
            return text
    return ""


def _darwin(_root: Path) -> str:
    listing = _output(["/usr/sbin/ioreg", "-rd1", "-c", "IOPlatformExpertDevice"])
    match = re.search(r'"IOPlatformUUID"\s*=\s*"([^"]+)"', listing)
    return match.group(1) if match else ""


def _windows(_root: Path) -> str:
    listing = _output(["reg", "query", _REGISTRY, "/v", "MachineGuid"])
    match = re.search(r"MachineGuid\s+REG_SZ\s+(\S+)", listing)
    return match.group(1) if match else ""


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


_SOURCES: Mapping[str, Callable[[Path], str]] = {"Linux": _linux, "Darwin": _darwin, "Windows": _windows}
