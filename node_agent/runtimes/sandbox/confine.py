"""What the shim's child does to itself before it becomes the engine. Standard library only.

The order counts: rules are made while their paths can still be opened, the user changes before no_new_privs is set,
and Landlock comes last, for it needs no_new_privs and would keep the rest from happening.
"""

# pathlib and dataclasses would be a good part of the time that an engine takes to begin.
# ruff: noqa: PTH123

from __future__ import annotations

import ctypes
import os
import resource

from node_agent.runtimes.sandbox import landlock

OWN_USER, CAPABILITIES, LIMITS, ENVIRONMENT, TEMPORARY, NO_NEW_PRIVILEGES = (
    "own-user",
    "dropped-capabilities",
    "resource-limits",
    "scrubbed-environment",
    "own-temporary-directory",
    "no-new-privileges",
)
ALWAYS = (CAPABILITIES, LIMITS, ENVIRONMENT, TEMPORARY, NO_NEW_PRIVILEGES)
OOM_SCORE = 500
_DAC_OVERRIDE, _DAC_READ_SEARCH, _IPC_LOCK = 1 << 1, 1 << 2, 1 << 14
KEPT_CAPABILITIES = _DAC_OVERRIDE | _DAC_READ_SEARCH | _IPC_LOCK
"""Of a root's: to reach files of others within what Landlock leaves, and to keep a model in memory."""
_CAPABILITY_VERSION = 0x20080522
RIGHTS = {
    "read": landlock.READ,
    "use": landlock.USE,
    "change": landlock.CHANGE,
    "device": landlock.DEVICE,
}
_SET_NO_NEW_PRIVILEGES, _GET_NO_NEW_PRIVILEGES = 38, 39

Layer = dict[str, object]


class Wanted:
    """What the agent asks for, as it stands in launch.json."""

    def __init__(
        self,
        *,
        rules: dict[str, list[str]],
        port: int,
        needed: list[tuple[str, int]],
        without: dict[str, str],
        user: str,
        uid: int,
        groups: list[int],
    ) -> None:
        self.rules = rules
        """Paths by the names of `RIGHTS`."""
        self.port = port
        self.needed = needed
        """(path, mode of access) that another user must have, or it is of no use."""
        self.without = without
        """Layers to leave out, and why."""
        self.user = user
        """Whom the engine runs as; empty: whom the agent runs as."""
        self.uid = uid
        self.groups = groups
        """The user's own first."""


def confine(wanted: Wanted) -> list[Layer]:
    """Every layer, and why one is not in force."""
    limit()
    rules, landlock_layers = _landlock(wanted)
    user = _become(wanted)
    given = [_layer(LIMITS), _layer(ENVIRONMENT), _layer(TEMPORARY)]
    settled = [user, *given, _no_new_privileges(), _drop_capabilities()]
    try:
        if rules is not None:
            rules.enforce()
    except OSError as error:
        landlock_layers = [{**each, "in_force": False, "reason": str(error)} for each in landlock_layers]
    return [*settled, *landlock_layers]


def limit() -> None:
    """No core dumps: they would hold the key and other people's prompts. Few other limits: they count per user."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.umask(0o077)
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write(str(OOM_SCORE))


def _layer(name: str, reason: str = "") -> Layer:
    return {"name": name, "in_force": not reason, "reason": reason}


def _landlock(wanted: Wanted) -> tuple[landlock.Ruleset | None, list[Layer]]:
    known, missing = landlock.version()
    reasons = {name: landlock_reason(name, known, missing, wanted.without) for name in landlock.SINCE}
    layers = frozenset(name for name, reason in reasons.items() if not reason)
    try:
        rules = _ruleset(wanted, layers, known) if layers else None
    except OSError as error:
        return None, [_layer(name, reason or str(error)) for name, reason in reasons.items()]
    return rules, [_layer(name, reason) for name, reason in reasons.items()]


def landlock_reason(name: str, known: int, missing: str, without: dict[str, str]) -> str:
    """Why a layer of Landlock is not to be had; empty when it is."""
    if name in without:
        return without[name]
    if known < landlock.SINCE[name]:
        return missing or f"it needs version {landlock.SINCE[name]} of Landlock, and this kernel has {known}"
    return ""


def _ruleset(wanted: Wanted, layers: frozenset[str], known: int) -> landlock.Ruleset:
    rules = landlock.Ruleset(layers, known)
    for right, paths in wanted.rules.items():
        for path in paths:
            rules.allow(path, RIGHTS[right])
    rules.allow_port(wanted.port)
    return rules


def _become(wanted: Wanted) -> Layer:
    """Another user for good, if it can reach what the engine needs; else nothing changes."""
    if not wanted.user:
        return _layer(OWN_USER, wanted.without[OWN_USER])
    groups, gid, uid = os.getgroups(), os.getegid(), os.geteuid()
    try:
        _act_as(wanted.uid, wanted.groups[0], wanted.groups)
    except PermissionError:
        return _layer(OWN_USER, "the agent may not change its user")
    blocked = next((path for path, how in wanted.needed if not os.access(path, how, effective_ids=True)), "")
    os.seteuid(uid)
    if blocked:
        _act_as(uid, gid, groups)
        return _layer(OWN_USER, f"{wanted.user} cannot use {blocked}")
    own = wanted.groups[0]
    os.setresgid(own, own, own)
    os.setresuid(wanted.uid, wanted.uid, wanted.uid)
    return _layer(OWN_USER)


def _act_as(uid: int, gid: int, groups: list[int]) -> None:
    os.setgroups(groups)
    os.setegid(gid)
    os.seteuid(uid)


def _no_new_privileges() -> Layer:
    libc = ctypes.CDLL(None)
    libc.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    done = libc.prctl(_GET_NO_NEW_PRIVILEGES, 0, 0, 0, 0) == 1
    return _layer(NO_NEW_PRIVILEGES, "" if done else "the kernel did not set it")


class _CapabilityHead(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Capabilities(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _drop_capabilities() -> Layer:
    """Some of root's see into other processes whatever Landlock says. no_new_privs keeps them from coming back."""
    libc = ctypes.CDLL(None, use_errno=True)
    head = ctypes.byref(_CapabilityHead(_CAPABILITY_VERSION, 0))
    words = (_Capabilities * 2)()
    failed = libc.capget(head, words)
    kept = words[0].permitted & KEPT_CAPABILITIES
    words[0], words[1] = _Capabilities(kept, kept, 0), _Capabilities()
    failed = failed or libc.capset(head, words)
    return _layer(CAPABILITIES, os.strerror(ctypes.get_errno()) if failed else "")
