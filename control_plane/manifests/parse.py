"""Text to plain data, with every way in which text can be bad as a fault."""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from control_plane.domain.manifest import Fault, ManifestForm, manifest_invalid
from wire.positions import NOWHERE, Lines, Spot, json_lines, json_repeat, toml_lines, toml_long_key

MAX_BYTES = 1024 * 1024
MAX_KEY_PARTS = 16
_AT_LINE = re.compile(r" \(at (?:line (?P<line>\d+), column \d+|end of document)\)")


class _PlacedError(ValueError):
    """Valid text that nothing can be made of, and where."""

    def __init__(self, text: str, spot: Spot) -> None:
        super().__init__(text)
        self.spot = spot


class _KeyTwiceError(ValueError):
    """In one table of a JSON document."""


@dataclass(frozen=True, slots=True)
class Form:
    name: str
    load: Callable[[str], Any]
    lines: Callable[[str], Lines]


def parse(content: bytes, form: ManifestForm, source: str) -> tuple[Any, Lines]:
    """The data and where its keys stand. ManifestInvalid."""
    text = _text(content, source)
    reader = _FORMS[form]
    try:
        data = reader.load(text)
    except (ValueError, RecursionError) as error:
        raise manifest_invalid(source, [_fault(error, reader.name)]) from None
    return data, reader.lines(text)


def _text(content: bytes, source: str) -> str:
    if len(content) > MAX_BYTES:
        raise manifest_invalid(
            source, [Fault(f"it has {len(content)} bytes, at most {MAX_BYTES} are allowed")], "Split it into several."
        )
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise manifest_invalid(source, [Fault("it is not UTF-8", line=line)], "Save it as UTF-8.") from None


def _fault(error: ValueError | RecursionError, form: str) -> Fault:
    if isinstance(error, RecursionError):
        return Fault("it is nested too deeply")
    if isinstance(error, _PlacedError):
        return Fault(str(error), line=error.spot.line, column=error.spot.column)
    if isinstance(error, json.JSONDecodeError):
        return Fault(f"it is no valid {form}: {error.msg}", line=error.lineno, column=error.colno)
    at = _AT_LINE.search(str(error))
    text = _AT_LINE.sub("", str(error))
    return Fault(f"it is no valid {form}: {text}", line=int(at["line"]) if at and at["line"] else 0)


def _toml(text: str) -> Any:
    if (spot := toml_long_key(text, MAX_KEY_PARTS)) is not NOWHERE:
        raise _PlacedError(f"a key has more than {MAX_KEY_PARTS} parts", Spot(spot.line))
    return tomllib.loads(text)


def _json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except _KeyTwiceError as error:
        # Where it stands can only be told of text that is valid.
        json.loads(text)
        raise _PlacedError(str(error), json_repeat(text)) from None


def _unique(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise _KeyTwiceError(f"key {twice[:64]!r} stands twice in one table")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


_FORMS = {
    ManifestForm.TOML: Form("TOML", _toml, toml_lines),
    ManifestForm.JSON: Form("JSON", _json, json_lines),
}
