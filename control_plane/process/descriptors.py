"""Each agent costs a control plane five descriptors, each stream over HTTP three."""

from __future__ import annotations

import resource

UNLIMITED = 2**20
"""In place of no limit at all, which some systems take for none of theirs."""


def raise_limit() -> None:
    """To what the system allows: the usual soft limit of 1,024 is for programs that use select()."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = UNLIMITED if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
