"""Turns plain data into a shape and says everything that does not fit, each with its key."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo, fields

MAX_HINTS = 100
"""Of one reading: to look for what was meant takes long, and nobody reads more."""

Path = tuple[str | int, ...]
S = TypeVar("S", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Misfit:
    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class _Field:
    """Of a struct, as far as it matters here: to find that out again for each value takes longer than the value."""

    name: str
    type: Any
    required: bool
    inner: type[msgspec.Struct] | None
    """The struct that it is, may be, or is a tuple of."""
    is_list: bool


@dataclass(frozen=True, slots=True)
class Check:
    """One reading; `misfits` grows as it goes."""

    misfits: list[Misfit] = field(default_factory=list)

    def note(self, path: Path, text: str) -> None:
        self.misfits.append(Misfit(path, text))

    def struct(self, data: object, shape: type[S], path: Path) -> S | None:
        """The value, or None when something in it was noted."""
        if not isinstance(data, Mapping):
            self.note(path, f"must be a table, not {_kind(data)}")
            return None
        before = len(self.misfits)
        known = _fields(shape)
        for key in data.keys() - known.keys():
            hint = _near(key, known) if len(self.misfits) < MAX_HINTS else ""
            self.note((*path, key), f"is not known{hint}")
        for info in known.values():
            if info.required and info.name not in data:
                self.note(path, f"lacks {info.name!r}")
        parts = {key: self._part(data[key], info, (*path, key)) for key, info in known.items() if key in data}
        return shape(**parts) if len(self.misfits) == before else None

    def _part(self, data: object, info: _Field, path: Path) -> Any:
        if info.inner is None:
            return self._plain(data, info.type, path)
        if info.is_list:
            return tuple(self._items(data, info.type, info.inner, path))
        return self.struct(data, info.inner, path)

    def _items(self, data: object, whole: Any, inner: type[msgspec.Struct], path: Path) -> Iterator[Any]:
        most = _most(whole)
        if not isinstance(data, list):
            return self.note(path, f"must be a list of tables, not {_kind(data)}")
        if most is not None and len(data) > most:
            return self.note(path, f"has {len(data)} entries, at most {most} are allowed")
        for index, item in enumerate(data):
            yield self.struct(item, inner, (*path, index))

    def _plain(self, data: object, type_: Any, path: Path) -> Any:
        try:
            return msgspec.convert(data, type_)
        except msgspec.ValidationError as error:
            text, _, where = str(error).partition(" - at ")
            within = where.strip("`").removeprefix("$").removeprefix("key in ")
            return self.note(path, f"{_plainly(text)}{f' (at {within})' if within else ''}")


def shown(path: Path) -> str:
    """Such as runtimes[0].settings.slots."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


@cache
def _most(whole: Any) -> int | None:
    """Entries of a list type. To find out takes a millisecond, for all that is inside the type is looked at too."""
    limit = msgspec.inspect.type_info(whole)
    return limit.max_length if isinstance(limit, msgspec.inspect.VarTupleType) else None


@cache
def _fields(shape: type[msgspec.Struct]) -> Mapping[str, _Field]:
    return {info.name: _field(info) for info in fields(shape)}


def _field(info: FieldInfo) -> _Field:
    return _Field(info.name, info.type, info.required, _struct_in(info.type), _is_list(info.type))


def _struct_in(type_: Any) -> type[msgspec.Struct] | None:
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        return type_
    if isinstance(type_, UnionType):
        return next((found for part in get_args(type_) if (found := _struct_in(part))), None)
    if get_origin(type_) is tuple or hasattr(type_, "__metadata__"):
        return _struct_in(get_args(type_)[0])
    return None


def _is_list(type_: Any) -> bool:
    plain = get_args(type_)[0] if hasattr(type_, "__metadata__") else type_
    return get_origin(plain) is tuple


def _near(key: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _plainly(text: str) -> str:
    words = {
        "`": "",
        "Expected ": "must be ",
        "Invalid enum value ": "does not know ",
        "str": "text",
        "array": "a list",
    }
    for word, plain in words.items():
        text = text.replace(word, plain)
    return text.replace("must be text of length >=", "must have a length >=").replace(", got ", ", not ")


def _kind(data: object) -> str:
    names = {dict: "a table", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(data), "a date or nothing")
