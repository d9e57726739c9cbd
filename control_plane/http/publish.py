"""Writes the published documents where they are committed: `python -m control_plane.http.publish docs/api`."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import yaml

from control_plane.http.published import published


def pages() -> dict[str, str]:
    """The files, by name."""
    return {f"{name}.yaml": _yaml(document) for name, document in published().items()}


def _yaml(document: dict[str, object]) -> str:
    plain = msgspec.json.decode(msgspec.json.encode(document))
    head = "# Made by `python -m control_plane.http.publish docs/api`; a test compares.\n"
    return head + str(yaml.safe_dump(plain, sort_keys=False, width=120, allow_unicode=True))


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
