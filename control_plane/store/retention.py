"""How long history is kept, and what is said of history that is asked for wrongly."""

from __future__ import annotations

from datetime import timedelta

from control_plane.domain.errors import NotFound, RequestIdReused

REQUESTS_KEPT = timedelta(hours=1)
PRUNED_AT_ONCE = 10_000
"""Events one transaction of `prune` deletes at most, so that no other change waits long behind it."""


def request_id_reused(method: str, request_id: str) -> RequestIdReused:
    return RequestIdReused(
        f"The request id {request_id!r} of {method} was used with another request within the last hour.",
        "Make a new request id for each new request, and repeat one only with the same request.",
        method=method,
        request_id=request_id,
    )


def node_not_found(node: str) -> NotFound:
    return NotFound(f"There is no node {node!r}.", "Join the machine with a new join token.", node=node)
