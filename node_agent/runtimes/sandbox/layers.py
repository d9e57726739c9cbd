"""The layers by name, and those that the owner of this machine leaves out."""

from __future__ import annotations

from node_agent.domain.sandbox import Sandbox
from node_agent.runtimes.sandbox import cgroup, confine, landlock

OPTIONAL = (confine.OWN_USER, *landlock.SINCE, *cgroup.LIMITS)
"""An owner may require them, or leave them out."""
LAYERS = (confine.OWN_USER, *confine.ALWAYS, *landlock.SINCE, *cgroup.LIMITS)
OFF = "the owner of this node left it out: sandbox.off"


def left_out(wanted: Sandbox) -> dict[str, str]:
    """Why, by layer."""
    return dict.fromkeys(wanted.off, OFF)
