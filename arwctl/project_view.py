"""Projects, their pins and keys, in words."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from arw_client import ArwError, display_id
from arw_client import messages as m
from arwctl.output import Columns, slug, when
from arwctl.screen import Screen

if TYPE_CHECKING:
    from arw_client.client import Client

PROJECTS = Columns[m.Project](
    ("project", "name", "state", "keys", "pins"),
    lambda project: (
        project.id,
        project.display_name or "-",
        state(project),
        project.live_keys,
        ", ".join(pin.asked for pin in project.pins) or "-",
    ),
    "There is no project. Make one with `arwctl project create ID`.",
)
KEYS = Columns[m.ProjectKey](
    ("key", "label", "state", "created", "expires", "last used"),
    lambda key: (
        key.id,
        key.label or "-",
        standing(key),
        when(key.create_time),
        when(key.expire_time),
        f"{key.last_use_day.astimezone(UTC):%Y-%m-%d}" if key.last_use_day else "-",
    ),
    "It has no keys. Make one with `arwctl project key create PROJECT`.",
)


def state(project: m.Project) -> str:
    return "disabled" if project.disabled else "enabled"


def standing(key: m.ProjectKey) -> str:
    if key.revoke_time:
        return "revoked"
    return "expired" if key.expire_time and key.expire_time <= datetime.now(UTC) else "live"


def describe(screen: Screen, project: m.Project) -> None:
    facts = [
        ("Project", project.id),
        ("Name", project.display_name or "-"),
        ("State", state(project)),
        ("Keys that count", project.live_keys),
        ("Created", when(project.create_time)),
        *(("Pin", pinned(pin)) for pin in project.pins),
    ]
    for name, value in facts:
        screen.line(f"{name + ':':20}{value}")


def pinned(pin: m.ProjectPin) -> str:
    now = ", ".join(map(display_id, pin.matches)) or "nothing now"
    instead = ", else others" if pin.fallback else ""
    return f"{pin.asked} -> {', '.join(_said(pin.combination or m.Combination()))}{instead} (matches {now})"


async def touching(client: Client, runtime: str) -> list[tuple[str, m.ProjectPin]]:
    """Each pin that holds requests to this runtime, after its project. `runtime`: its resource name."""
    try:
        projects = [project async for project in client.projects.each()]
    except ArwError as error:
        if error.reason != "UNIMPLEMENTED":
            raise
        # An older control plane has no projects.
        return []
    return [(project.id, pin) for project in projects for pin in project.pins if runtime in pin.matches]


def _said(combination: m.Combination) -> Iterator[str]:
    if combination.runtime:
        yield f"runtime {display_id(combination.runtime)}"
    if combination.node:
        yield f"node {display_id(combination.node)}"
    if combination.adapter:
        yield f"adapter {combination.adapter}"
    if combination.accelerator:
        yield f"accelerator {slug(combination.accelerator)}"
    if combination.execution_mode:
        yield f"mode {slug(combination.execution_mode)}"
    if combination.profile:
        yield f"profile {combination.profile}"
