"""Whom engines run as."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass

from node_agent.domain.sandbox import Sandbox
from node_agent.runtimes.sandbox import confine
from node_agent.runtimes.sandbox.layers import OFF


@dataclass(frozen=True, slots=True)
class User:
    name: str
    uid: int
    groups: tuple[int, ...]
    """Its own first."""


def user_of(wanted: Sandbox) -> tuple[User | None, str]:
    """None and why, when it is whom the agent runs as."""
    if confine.OWN_USER in wanted.off:
        return None, OFF
    if not wanted.user:
        return None, "no user is set for engines: sandbox.user"
    if os.geteuid():
        return None, "the agent is not root, so it cannot start engines as another user"
    try:
        entry = pwd.getpwnam(wanted.user)
    except KeyError:
        return None, f"this machine has no user {wanted.user}"
    if not entry.pw_uid:
        return None, f"{wanted.user} is root"
    others = sorted(group.gr_gid for group in grp.getgrall() if wanted.user in group.gr_mem)
    return User(entry.pw_name, entry.pw_uid, (entry.pw_gid, *others)), ""
