"""What a binary says that it understands, and options in words that it does."""

from __future__ import annotations

import re
from collections.abc import Sequence

from node_agent.domain.errors import EngineFlagUnknown
from node_agent.runtimes.kinds.adapter import Capabilities

Option = tuple[Sequence[str], str | None, bool]
"""(spellings, value or None for a switch, whether the binary must know it)"""

FLAG = re.compile(r"(?<![\w-])--?[A-Za-z][\w-]*")
LISTED = re.compile(r" {0,4}-(?!----)")
COLUMNS = re.compile(r"\s{2,}(?=[^-\s])")


def flags_of(help_text: str) -> frozenset[str]:
    """Every option that the help lists, with all its spellings. Words about other options do not count."""
    lines = [line.strip() for line in help_text.splitlines() if LISTED.match(line)]
    return frozenset(flag for line in lines for flag in FLAG.findall(COLUMNS.split(line, maxsplit=1)[0]))


def version_of(text: str) -> str:
    """First line, without its label."""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return first.removeprefix("version:").strip()


def rendered(wanted: Sequence[Option], able: Capabilities) -> list[str]:
    """Each option in the first spelling that the binary knows; one that it must know and does not is refused."""
    argv: list[str] = []
    for spellings, value, required in wanted:
        known = next((flag for flag in spellings if flag in able.flags), None)
        if known is None and required:
            raise EngineFlagUnknown(
                f"This engine does not know the option {spellings[0]} (its version: {able.version or 'unknown'}).",
                "Leave the setting out, or use a version of the engine that has it.",
                flag=spellings[0],
                version=able.version,
            )
        if known is not None:
            argv += [known] if value is None else [known, value]
    return argv
