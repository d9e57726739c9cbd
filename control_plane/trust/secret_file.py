"""The secret that all replicas of a control plane have in common: it opens the key of their authority."""

from __future__ import annotations

from pathlib import Path

from control_plane.domain.errors import InvalidArgument

SHORTEST_SECRET = 32
_MAKE_ONE = "Make one, and give the same to every replica: (umask 077; openssl rand -base64 48 > {path})"


def read_secret(name: str) -> bytes:
    """What the file holds, blanks around it left out; empty when none is named. InvalidArgument."""
    if not name:
        return b""
    path = Path(name)
    try:
        mode, content = path.stat().st_mode, path.read_bytes()
    except OSError as error:
        raise InvalidArgument(
            f"The secret of the authority cannot be read: {path}: {error.strerror}.", _MAKE_ONE.format(path=path)
        ) from error
    if mode & 0o077:
        raise InvalidArgument(f"{path} can be read by others.", f"Run: chmod 600 {path}")
    if len(content.strip()) < SHORTEST_SECRET:
        raise InvalidArgument(
            f"The secret in {path} is shorter than {SHORTEST_SECRET} characters.", _MAKE_ONE.format(path=path)
        )
    return content.strip()
