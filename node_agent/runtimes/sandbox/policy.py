"""What this node's owner says about the sandbox: sandbox.toml in the agent's state directory."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass
from pathlib import Path

import msgspec

from node_agent.domain.errors import LocalPolicyDenied
from node_agent.runtimes.sandbox import cgroup, confine, landlock

MIB = 1 << 20
PROCESS_LIMIT = 4096
"""Threads count too; large engines have some hundreds of them for each device."""
OPTIONAL = (confine.OWN_USER, *landlock.SINCE, *cgroup.LIMITS)
LAYERS = (confine.OWN_USER, *confine.ALWAYS, *landlock.SINCE, *cgroup.LIMITS)


class Sandbox(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    user: str = ""
    """Whom engines run as, when the agent is root; empty: whom the agent runs as."""
    memory_limit_mib: int = 0
    """For each engine; 0: none."""
    process_limit: int = PROCESS_LIMIT
    """Processes and threads of each engine; 0: none."""
    use: tuple[str, ...] = ()
    """Files and folders that engines may read and run, beyond their own and the system's."""
    write: tuple[str, ...] = ()
    """Files and folders that engines may change."""
    required: tuple[str, ...] = ()
    """Layers without which nothing is started."""
    off: tuple[str, ...] = ()
    """Layers that are left out."""


@dataclass(frozen=True, slots=True)
class User:
    name: str
    uid: int
    groups: tuple[int, ...]
    """Its own first."""


class SandboxPolicy:
    """Read anew for each launch. What cannot be read allows nothing: LocalPolicyDenied."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Sandbox:
        try:
            found = msgspec.toml.decode(self._path.read_bytes(), type=Sandbox)
        except FileNotFoundError:
            return Sandbox()
        except (OSError, msgspec.DecodeError, ValueError) as error:
            raise self._broken(str(error)) from error
        self._check(found)
        return found

    def _check(self, found: Sandbox) -> None:
        unknown = [name for name in (*found.required, *found.off) if name not in OPTIONAL]
        if unknown:
            raise self._broken(f"there is no layer {unknown[0]} to choose; there are {', '.join(OPTIONAL)}")
        both = set(found.required) & set(found.off)
        if both:
            raise self._broken(f"{both.pop()} is both required and off")
        relative = [path for path in (*found.use, *found.write) if not Path(path).is_absolute()]
        if relative:
            raise self._broken(f"{relative[0]} is not an absolute path")
        if min(found.memory_limit_mib, found.process_limit) < 0:
            raise self._broken("a limit is below zero")

    def _broken(self, why: str) -> LocalPolicyDenied:
        return LocalPolicyDenied(
            f"{self._path} cannot be followed, so nothing is started: {why}.", "Correct it; it is read at each start."
        )


def user_of(wanted: Sandbox) -> tuple[User | None, str]:
    """Whom engines run as; None and why, when it is whom the agent runs as."""
    if confine.OWN_USER in wanted.off:
        return None, "it is off in sandbox.toml"
    if not wanted.user:
        return None, "no user is set for engines in sandbox.toml"
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


def left_out(wanted: Sandbox) -> dict[str, str]:
    return dict.fromkeys(wanted.off, "it is off in sandbox.toml")
