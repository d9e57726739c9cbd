"""One thing that `arw-node-agent check` found, and how all of them are shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    NOTE = "note"
    """In order, but worth knowing."""
    WRONG = "wrong"
    """This machine cannot serve until it is put right."""


@dataclass(frozen=True, slots=True)
class Finding:
    about: str
    level: Level
    text: str
    remedy: str = ""


def can_serve(findings: Sequence[Finding]) -> bool:
    return all(finding.level is not Level.WRONG for finding in findings)


def as_json(findings: Sequence[Finding]) -> str:
    return json.dumps(
        {"can_serve": can_serve(findings), "findings": [asdict(finding) for finding in findings]}, indent=2
    )


def as_text(findings: Sequence[Finding]) -> str:
    width = max(len(finding.about) for finding in findings)
    lines: list[str] = []
    for finding in findings:
        lines.append(f"{finding.level.value:<5}  {finding.about:<{width}}  {finding.text}")
        if finding.remedy:
            lines.append(f"{'':<5}  {'':<{width}}  -> {finding.remedy}")
    verdict = "This machine can serve." if can_serve(findings) else "This machine cannot serve yet."
    return "\n".join([*lines, "", verdict])
