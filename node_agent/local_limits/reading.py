"""node_agent.toml as limits: strict, and every fault with its key and line."""

from __future__ import annotations

import difflib
import os
import stat
import tomllib
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from node_agent.domain.hours import Hours, Window
from node_agent.domain.limits import PROMPT_CACHE_BYTES, Choice, Limits
from node_agent.domain.sandbox import Sandbox
from node_agent.domain.spec import ExecutionMode
from node_agent.local_limits import amounts, shapes
from node_agent.local_limits.measure import Machine, UnreadableError
from wire.positions import Lines, line_of, toml_lines
from wire.strict import Check, shown
from wire.strict import Path as Key

MAX_BYTES = 256 * 1024
_WRITABLE_BY_OTHERS = 0o022

T = TypeVar("T")


def read(path: Path, machine: Machine) -> Limits:
    """UnreadableError when it does not say one plain thing, or others could have written it."""
    text = _text(path)
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"it is no valid TOML: {error}") from None
    return parsed(data, toml_lines(text), str(path), machine)


def parsed(data: dict[str, Any], lines: Lines, file: str, machine: Machine) -> Limits:
    check = Check()
    document = check.struct(data, shapes.Document, ())
    limits = _limits(document, file, machine, check) if document is not None else None
    if limits is None or check.misfits:
        faults = sorted((line_of(lines, misfit.path), shown(misfit.path), misfit.text) for misfit in check.misfits)
        raise UnreadableError("; ".join(f"line {line}: {key} {text}" for line, key, text in faults))
    return limits


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            seen = os.fstat(file.fileno())
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UnreadableError(str(error.strerror)) from error
    if not stat.S_ISREG(seen.st_mode) or seen.st_uid not in (0, os.geteuid()) or seen.st_mode & _WRITABLE_BY_OTHERS:
        raise UnreadableError("others than root and the agent's user can write it; chmod go-w it, and own it")
    if len(content) > MAX_BYTES:
        raise UnreadableError(f"it has more than {MAX_BYTES} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise UnreadableError("it is not UTF-8") from None


def _limits(document: shapes.Document, file: str, machine: Machine, check: Check) -> Limits:
    def memory(text: str) -> int:
        return amounts.memory(text, machine.memory_bytes)

    def adapter(text: str) -> str:
        return _known(text, "adapter", machine.adapters)

    total, each = document.memory.total, document.memory.per_runtime
    modes = frozenset(ExecutionMode if document.modes is None else map(ExecutionMode, document.modes))
    return Limits(
        file=file,
        adapters=_choice(document.adapters, "adapters", adapter, check),
        devices=_choice(document.devices, "devices", amounts.device, check),
        modes=modes,
        default_mode=_default_mode(document.default_mode, modes, check),
        container_tool=_tool(document.container_tool, check),
        max_runtimes=document.max_runtimes,
        memory_bytes=_noted(memory, total, ("memory", "total"), check) if total else None,
        memory_per_runtime_bytes=_noted(memory, each, ("memory", "per_runtime"), check) if each else None,
        hours=_hours(document.hours, check) if document.hours is not None else None,
        grace=timedelta(seconds=document.grace_seconds),
        sandbox=_sandbox(document.sandbox, machine, check),
        prompt_cache_bytes=_prompt_cache(document.prompt_cache, check),
    )


def _prompt_cache(given: str | None, check: Check) -> int:
    if given is None:
        return PROMPT_CACHE_BYTES
    return 0 if given == "off" else _noted(_size, given, ("prompt_cache",), check) or 0


def _size(text: str) -> int:
    """A share of the memory would say nothing of a disk."""
    if "%" in text:
        raise ValueError('must be an amount such as "2GiB", or "off"')
    return amounts.memory(text, 0)


def _default_mode(given: shapes.Mode | None, modes: Collection[ExecutionMode], check: Check) -> ExecutionMode:
    if given is None:
        return next((mode for mode in ExecutionMode if mode in modes), ExecutionMode.NATIVE)
    if given not in modes:
        check.note(("default_mode",), f"is {given!r}, which modes does not allow")
    return ExecutionMode(given)


def _tool(given: str | None, check: Check) -> str:
    if given is not None and not Path(given).is_absolute():
        check.note(("container_tool",), "must be the absolute path of podman or docker")
    return given or ""


def _choice(given: shapes.Choice, key: str, name: Callable[[str], str], check: Check) -> Choice:
    def names(texts: Sequence[str], list_: str) -> frozenset[str]:
        found = [_noted(name, text, (key, list_), check) for text in texts]
        return frozenset(one for one in found if one is not None)

    return Choice(names(given.allow, "allow"), names(given.deny, "deny"))


def _hours(given: shapes.Hours, check: Check) -> Hours | None:
    zone = _noted(_zone, given.time_zone, ("hours", "time_zone"), check)
    found: list[Window] = []
    for text in given.windows:
        found += _noted(amounts.windows, text, ("hours", "windows"), check) or ()
    return Hours(zone, given.time_zone, tuple(found), given.outside == "stop") if zone is not None else None


def _sandbox(given: shapes.Sandbox, machine: Machine, check: Check) -> Sandbox:
    for key, paths in (("use", given.use), ("write", given.write)):
        for path in paths:
            _noted(_absolute, path, ("sandbox", key), check)
    for key, layers in (("required", given.required), ("off", given.off)):
        for layer in layers:
            _noted(lambda name: _known(name, "layer", machine.layers), layer, ("sandbox", key), check)
    for layer in sorted(set(given.required) & set(given.off)):
        check.note(("sandbox", "off"), f"names {layer!r}, which is required too")
    return Sandbox(given.user or "", given.use, given.write, given.required, given.off, given.process_limit)


def _absolute(path: str) -> None:
    if not Path(path).is_absolute():
        raise ValueError(f"must be absolute paths; {path!r} is none")


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise ValueError(f'does not know the time zone {name!r}; use a name such as "Europe/Berlin"') from None


def _known(text: str, kind: str, names: Collection[str]) -> str:
    if text in names:
        return text
    near = difflib.get_close_matches(text, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(names))}"
    raise ValueError(f"does not know the {kind} {text!r}; {hint}")


def _noted(reader: Callable[[str], T], text: str, path: Key, check: Check) -> T | None:
    try:
        return reader(text)
    except ValueError as error:
        check.note(path, str(error))
        return None
