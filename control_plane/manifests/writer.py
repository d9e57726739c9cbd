"""Manifests as people write them."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from control_plane.domain.errors import InvalidArgument
from control_plane.domain.manifest import ManifestForm, ManifestRuntime
from control_plane.domain.manifest_entry import said_entry
from control_plane.manifests.parse import MAX_BYTES
from control_plane.manifests.reader import VERSION

_HIDDEN = {"Cc", "Cf", "Zl", "Zp"}
"""Control characters, those that reorder text, and odd line ends."""
_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Writer:
    """Fills the port ManifestWriter."""

    def written(self, runtimes: Sequence[ManifestRuntime], form: ManifestForm) -> bytes:
        entries = [said_entry(runtime.id, runtime.spec) for runtime in runtimes]
        text = _json(entries) if form is ManifestForm.JSON else _toml(entries)
        content = text.encode()
        if len(content) > MAX_BYTES:
            raise InvalidArgument(
                f"The manifest would have {len(content)} bytes, and at most {MAX_BYTES} can be applied.",
                "Name fewer runtimes.",
            )
        return content


def _json(entries: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps({"version": VERSION, "runtimes": entries}, indent=2) + "\n"


def _toml(entries: Sequence[Mapping[str, Any]]) -> str:
    lines = [f"version = {VERSION}"]
    for one in entries:
        lines += ["", "[[runtimes]]", *_table(one, "runtimes")]
    return "\n".join(lines) + "\n"


def _table(said: Mapping[str, Any], path: str) -> Iterator[str]:
    """Its values first: what follows a header belongs to that."""
    for key, value in said.items():
        if not isinstance(value, Mapping):
            yield f"{_key(key)} = {_value(value)}"
    for key, value in said.items():
        if isinstance(value, Mapping):
            below = f"{path}.{_key(key)}"
            yield f"[{below}]"
            yield from _table(value, below)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _text(key)


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return _text(value)
        case _:
            return f"[{', '.join(map(_value, value))}]"


def _text(text: str) -> str:
    """JSON's escapes are TOML's too. What nobody can see, and terminals act on, is escaped besides."""
    return "".join(map(_seen, json.dumps(text, ensure_ascii=False)))


def _seen(letter: str) -> str:
    if letter.isascii() and letter.isprintable():
        return letter
    return f"\\U{ord(letter):08x}" if unicodedata.category(letter) in _HIDDEN else letter
