"""Ids on the command line: positional, as --id, or by their kind."""

from __future__ import annotations

from typing import Annotated, TypeVar

import betterproto2
import typer

from arw_client import resource_name
from arwctl.output import slug

Value = TypeVar("Value", bound=betterproto2.Enum)

RuntimeArgument = Annotated[str | None, typer.Argument(metavar="ID", help="Runtime id.", show_default=False)]
RuntimeOption = Annotated[str | None, typer.Option("--id", "--runtime", metavar="ID", help="Runtime id.")]
NodeArgument = Annotated[str | None, typer.Argument(metavar="NODE", help="Node id.", show_default=False)]
NodeOption = Annotated[str | None, typer.Option("--id", "--node", metavar="NODE", help="Node id.")]


def one_of(collection: str, *given: str | None) -> str:
    """The resource name of the one id that was given; a usage error otherwise."""
    named = {text for text in given if text}
    if len(named) != 1:
        raise typer.BadParameter("give one id, as ID, as --id or by its kind" if not named else "give only one id")
    return resource_name(collection, named.pop())


def key_values(texts: list[str]) -> dict[str, str]:
    """Labels from KEY=VALUE words."""
    for text in texts:
        if "=" not in text.lstrip("="):
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE")
    return {key: value for key, _, value in (text.partition("=") for text in texts)}


def seconds(text: str) -> float:
    """Read "90", "90s", "15m", "12h" or "7d"."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, unit = (text[:-1], text[-1]) if text[-1:] in units else (text, "s")
    try:
        return float(number) * units[unit]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no duration; write for example 90s, 15m, 12h or 7d") from None


def value_of(kinds: type[Value], text: str) -> Value:
    """A value by its slug, such as gpu_cuda; empty: unspecified."""
    known = {slug(value): value for value in kinds}
    if text and text not in known:
        raise typer.BadParameter(f"{text!r} is none of {', '.join(slugs(kinds))}")
    return known[text or "unspecified"]


def slugs(kinds: type[Value]) -> list[str]:
    return [slug(value) for value in kinds][1:]
