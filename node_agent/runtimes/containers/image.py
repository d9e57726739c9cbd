"""What a container image says of itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec

from node_agent.runtimes.containers.tool import ContainerTool, ToolError

INTERVAL = timedelta(seconds=30)
TIMEOUT = timedelta(seconds=30)
RETRIES = 3
"""The tools' own defaults, where an image leaves them out."""


@dataclass(frozen=True, slots=True)
class ImageCheck:
    """The image's own health check: a command that is run in its container."""

    command: tuple[str, ...]
    interval: timedelta = INTERVAL
    timeout: timedelta = TIMEOUT
    retries: int = RETRIES


@dataclass(frozen=True, slots=True)
class Image:
    id: str
    """SHA-256 of its configuration, lower-case hex: it names the content, whatever a tag is moved to."""
    entrypoint: tuple[str, ...]
    check: ImageCheck | None = None


async def inspect(tool: ContainerTool, name: str) -> Image:
    """ToolError when the tool has no such image; nothing is ever pulled."""
    said = await tool.ask("image", "inspect", name)
    try:
        (described,) = msgspec.json.decode(said, type=list[dict[str, Any]])
        return _image(described)
    except (msgspec.DecodeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ToolError(f"what {tool.kind} says of the image {name} cannot be read") from error


def _image(described: dict[str, Any]) -> Image:
    config = described.get("Config") or {}
    check = config.get("Healthcheck") or described.get("HealthCheck") or described.get("Healthcheck")
    return Image(described["Id"].removeprefix("sha256:"), tuple(config.get("Entrypoint") or ()), _check(check))


def _check(described: dict[str, Any] | None) -> ImageCheck | None:
    command = _command((described or {}).get("Test") or ())
    if described is None or not command:
        return None
    return ImageCheck(
        command,
        _duration(described.get("Interval"), INTERVAL),
        _duration(described.get("Timeout"), TIMEOUT),
        described.get("Retries") or RETRIES,
    )


def _command(test: Sequence[str]) -> tuple[str, ...]:
    match tuple(test):
        case ("CMD", *words):
            return tuple(words)
        case ("CMD-SHELL", *words):
            return ("/bin/sh", "-c", " ".join(words))
        case _:
            return ()


def _duration(nanoseconds: int | None, default: timedelta) -> timedelta:
    return timedelta(microseconds=nanoseconds / 1000) if nanoseconds else default
