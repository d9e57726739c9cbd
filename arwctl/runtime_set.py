"""A runtime and its replicas, as people see them together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from arw_client import Client, display_id
from arw_client import messages as m
from arwctl.readiness import SERVES


async def members(client: Client, runtime: m.Runtime) -> list[m.Runtime]:
    """Itself, then its replicas; of a replica only itself."""
    if replicas(runtime) == 1:
        return [runtime]
    return [runtime, *[each async for each in client.runtimes.each() if each.replica_of == runtime.name]]


def replicas(runtime: m.Runtime) -> int:
    return max(1, runtime.spec.replicas) if runtime.spec else 1


def named(runtime: m.Runtime) -> str:
    return f"{runtime.id} (replica of {display_id(runtime.replica_of)})" if runtime.replica_of else runtime.id


def told(runtime: m.Runtime, rows: Iterable[m.Runtime]) -> str:
    """How many of its set serve, or whose replica it is; `rows`: all that may belong to it."""
    if runtime.replica_of:
        return f"of {display_id(runtime.replica_of)}"
    if replicas(runtime) == 1:
        return "-"
    return f"{ready([row for row in rows if runtime.name in (row.name, row.replica_of)])}/{replicas(runtime)} ready"


def ready(rows: Sequence[m.Runtime]) -> int:
    return sum(row.instance is not None and row.instance.state in SERVES for row in rows)
