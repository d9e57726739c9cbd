"""Messages of the contract as table, JSON or YAML."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Generic, TypeVar

import betterproto2
from betterproto2 import Message

from arw_client.messages import Struct
from arwctl.format import Format
from arwctl.plain import plain
from arwctl.screen import Screen

Row = TypeVar("Row", bound=Message)


def document(message: Any) -> dict[str, Any]:
    """Field names as in the contract; times in ISO 8601, durations in seconds, enumerations as slugs."""
    return {
        field.name: _simple(value) for field in fields(message) if (value := getattr(message, field.name)) is not None
    }


def _simple(value: Any) -> Any:
    match value:
        case Struct():
            return value.to_dict()
        case Message():
            return document(value)
        case Mapping():
            return {str(key): _simple(item) for key, item in value.items()}
        case list():
            return [_simple(item) for item in value]
        case _:
            return _scalar(value)


def _scalar(value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case timedelta():
            return value.total_seconds()
        case bytes():
            return base64.b64encode(value).decode()
        case Enum() | betterproto2.Enum():
            return slug(value)
        case _:
            return value


def slug(value: Any) -> str:
    """Give "gpu_cuda" for GPU_CUDA; a number that this client does not know stays a number."""
    return (value.name or str(int(value))).lower()


def emit(screen: Screen, data: object, form: Format) -> None:
    """One document. JSON escapes control characters itself; YAML is escaped as strings here."""
    if form is Format.YAML:
        import yaml  # noqa: PLC0415 - few ask for it

        screen.write(yaml.safe_dump(data, sort_keys=False, allow_unicode=False))
    else:
        screen.write(json.dumps(data, indent=2) + "\n")


def show(screen: Screen, message: Message, form: Format, as_text: Callable[[], None]) -> None:
    """One message: as text for people, or whole."""
    if form is Format.TABLE:
        as_text()
    else:
        emit(screen, document(message), form)


@dataclass(frozen=True)
class Columns(Generic[Row]):
    """How a listing looks as a table."""

    heads: Sequence[str]
    row: Callable[[Row], Sequence[object]]
    empty: str
    """Said when there is nothing to list."""


def listing(screen: Screen, messages: Sequence[Row], form: Format, columns: Columns[Row]) -> None:
    """Many messages: a table, or a list of documents."""
    if form is not Format.TABLE:
        emit(screen, [document(message) for message in messages], form)
    elif messages:
        screen.table(columns.heads, [columns.row(message) for message in messages])
    else:
        screen.note(columns.empty)


def when(moment: datetime | None) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}" if moment else "-"


def pairs(labels: Mapping[str, str]) -> str:
    return ",".join(f"{plain(key)}={plain(value)}" for key, value in sorted(labels.items())) or "-"
