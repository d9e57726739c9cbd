"""A folder for each run, and the end of old ones."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.smoke.settings import Settings

KEEP = ".keep"


@contextmanager
def workspace(settings: Settings) -> Iterator[Path]:
    """A fresh run.* folder. It stays, for its logs, until it is pruned; a kept one stays for good."""
    settings.root.mkdir(parents=True, exist_ok=True)
    prune(settings, time.time())
    folder = Path(tempfile.mkdtemp(prefix="run.", dir=settings.root)).absolute()
    if settings.keep:
        (folder / KEEP).touch()
    yield folder


def prune(settings: Settings, now: float) -> list[Path]:
    """Remove what is neither among the newest nor young enough, nor kept. Room is left for one more run."""
    runs = [path for path in settings.root.glob("run.*") if path.is_dir() and not (path / KEEP).exists()]
    runs.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    recent = max(settings.keep_recent - 1, 0)
    old = [path for path in runs[:recent] if now - path.stat().st_mtime > settings.retention_s]
    gone = [*old, *runs[recent:]]
    for path in gone:
        shutil.rmtree(path)
    return gone
