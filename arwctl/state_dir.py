"""Where this machine's state lies."""

from __future__ import annotations

import os
from pathlib import Path

from arw_client.context import FILE_NAME


def default() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "arw"


def resolved(given: str) -> Path:
    return Path(given).expanduser().absolute() if given else default()


def context_file(state_dir: Path, given: str) -> Path:
    return Path(given).expanduser().absolute() if given else state_dir / FILE_NAME
