"""One identity, one agent: a copied state directory is found out on the machine where both lie."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from node_agent.domain.errors import AlreadyRunning
from node_agent.identity.files import IdentityFiles


@contextmanager
def sole_use(files: IdentityFiles) -> Iterator[None]:
    """Hold this node's identity on this machine; AlreadyRunning while an agent in another directory does.

    Copies on other machines are for the control plane to find.
    """
    if not files.joined:
        yield
        return
    identity = files.identity()
    path = _lock_file(identity.installation_id)
    handle = _held(path, identity.node)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _lock_file(installation_id: str) -> Path:
    folder = os.environ.get("XDG_RUNTIME_DIR", "") or tempfile.gettempdir()
    mark = hashlib.sha256(installation_id.encode()).hexdigest()[:16]
    return Path(folder, f"arw-{os.geteuid()}-node-{mark}.lock")


def _held(path: Path, node: str) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            _lock(handle, node)
            # Its last holder may have unlinked the file between the two.
            if path.exists() and path.stat().st_ino == os.fstat(handle).st_ino:
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _lock(handle: int, node: str) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(handle, 20, 0).decode(errors="replace").strip()
        raise AlreadyRunning(
            f"Node {node} runs on this machine already, with pid {pid}, from another state directory.",
            "If this directory is a copy, remove it, or give it an identity of its own: arw-node-agent join --force.",
            pid=pid,
        ) from None
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
