"""What this machine's owner lets it run. The owner's word wins over the control plane's."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from node_agent.domain.hours import Hours
from node_agent.domain.sandbox import Sandbox
from node_agent.domain.spec import DesiredState, ExecutionMode, InstanceName, InstanceSpec
from node_agent.domain.status import Problem

SIZE_FACTOR = 1.1
"""Weights in memory over weights on disk, as the control plane reckons when it places."""
PROMPT_CACHE_BYTES = 2 << 30

_WAYS = {ExecutionMode.NATIVE: "natively", ExecutionMode.CONTAINER: "in a container"}


@dataclass(frozen=True, slots=True)
class Choice:
    """Names in lower case. What is denied is denied; where anything is allowed by name, all else is denied."""

    allow: frozenset[str] = frozenset()
    deny: frozenset[str] = frozenset()

    @property
    def is_free(self) -> bool:
        return not self.allow and not self.deny

    def refusing(self, *names: str) -> str:
        """The key of the list that is against a thing with these names, "allow" or "deny"; empty: none is."""
        called = {name.lower() for name in names}
        if self.deny & called:
            return "deny"
        return "allow" if self.allow and not self.allow & called else ""


@dataclass(frozen=True, slots=True)
class Limits:
    """Empty and None: no limit."""

    file: str = ""
    """Where they stand; empty: nowhere."""
    unreadable: str = ""
    """Why they cannot be told. Nothing new is started then, and nothing is stopped."""
    adapters: Choice = Choice()
    devices: Choice = Choice()
    """By kind, id or PCI address."""
    modes: frozenset[ExecutionMode] = frozenset(ExecutionMode)
    default_mode: ExecutionMode = ExecutionMode.NATIVE
    """Of those that a runtime may run in and that are to be had, when it prefers none."""
    container_tool: str = ""
    """Path of podman or docker; empty: the one that is on PATH."""
    max_runtimes: int | None = None
    memory_bytes: int | None = None
    """For all runtimes together."""
    memory_per_runtime_bytes: int | None = None
    """By estimate before a start, and then for all processes of the engine."""
    hours: Hours | None = None
    grace: timedelta = timedelta(seconds=60)
    """From the notice to the stop, when something that runs may not any more."""
    sandbox: Sandbox = field(default_factory=Sandbox)
    prompt_cache_bytes: int = PROMPT_CACHE_BYTES
    """Of what engines keep of prompts on disk: for each runtime, and for all shared caches together. 0: nothing."""


@dataclass(frozen=True, slots=True)
class Denial:
    problem: Problem
    stop_at: datetime | None = None
    """When it is stopped if it runs; None: what runs goes on."""


def permits(limits: Limits, spec: InstanceSpec, now: datetime, running: Sequence[InstanceSpec]) -> Problem | None:
    """Why the owner does not let `spec` run now beside `running`; None: it may."""
    if spec.desired_state is DesiredState.STOPPED:
        return None
    return forbids(limits, spec) or closed(limits, spec.name, now) or _crowded(limits, spec, running)


def forbids(limits: Limits, spec: InstanceSpec) -> Problem | None:
    """What holds at any time and whatever else runs."""
    if spec.desired_state is DesiredState.STOPPED:
        return None
    return next(_forbidden(limits, spec), None)


def closed(limits: Limits, name: str, now: datetime) -> Problem | None:
    """Why this node takes nothing new now, whatever it is. `name`: of the node, or of an instance on it."""
    if limits.unreadable:
        text = f"The limits that this node's owner set cannot be read, so nothing new is started: {limits.unreadable}"
        return _denied(limits, name, "file", text)
    if limits.hours is not None and not limits.hours.is_open(now):
        text = f"It is outside the hours of this node; {limits.hours.opening(now)}."
        return _denied(limits, name, "hours", text)
    return None


def denials(
    limits: Limits, desired: Iterable[InstanceSpec], up: Collection[InstanceName], now: datetime
) -> dict[InstanceName, Problem]:
    """Whom the owner does not let run now. What is up comes first: something new never takes its place."""
    found: dict[InstanceName, Problem] = {}
    running: list[InstanceSpec] = []
    for spec in sorted(desired, key=lambda spec: (spec.name not in up, spec.name)):
        problem = permits(limits, spec, now, running)
        if problem is not None:
            found[spec.name] = problem
        elif spec.desired_state is DesiredState.RUNNING:
            running.append(spec)
    return found


def may_stop(limits: Limits, problem: Problem) -> bool:
    """Whether a denial ends what runs already."""
    rule = problem.metadata["rule"]
    return rule != "file" and (rule != "hours" or limits.hours is None or limits.hours.stops)


def memory_needed(spec: InstanceSpec) -> int:
    """An estimate from the size of its files; 0 for what has none."""
    projector = spec.projector.size_bytes if spec.projector is not None else 0
    return int((spec.model.size_bytes + projector) * SIZE_FACTOR)


def _forbidden(limits: Limits, spec: InstanceSpec) -> Iterator[Problem]:
    if key := limits.adapters.refusing(spec.adapter):
        text = f"This node's owner does not let the adapter {spec.adapter} run here."
        yield _denied(limits, spec.name, f"adapters.{key}", text, adapter=spec.adapter)
    if spec.external is None and not spec.execution.possible & limits.modes:
        yield no_mode(limits, spec)
    if spec.accelerator and (key := _kind_refused(limits.devices, spec)):
        text = f"This node's owner does not let {spec.runtime_id} use a device of kind {spec.accelerator}."
        yield _denied(limits, spec.name, f"devices.{key}", text, accelerator=spec.accelerator)
    needed, limit = memory_needed(spec), limits.memory_per_runtime_bytes
    if limit is not None and needed > limit:
        text = f"{spec.runtime_id} needs about {_mib(needed)} MiB; a runtime may have {_mib(limit)} MiB on this node."
        yield _denied(limits, spec.name, "memory.per_runtime", text)


def no_mode(limits: Limits, spec: InstanceSpec) -> Problem:
    """The owner allows none of those that it may run in."""
    modes = spec.execution.possible
    ways = " or ".join(_WAYS[mode] for mode in ExecutionMode if mode in modes)
    text = f"This node's owner does not let engines run {ways}, and {spec.runtime_id} may run in no other mode."
    return _denied(limits, spec.name, "modes", text, modes=", ".join(sorted(modes)))


def _kind_refused(devices: Choice, spec: InstanceSpec) -> str:
    """Only what the kind alone tells, and only where a lack of it is a reason: else the launch looks at the devices."""
    if spec.accelerator != "cpu" and spec.degrade_on_missing_accelerator:
        return ""
    return "deny" if spec.accelerator in devices.deny else ""


def _crowded(limits: Limits, spec: InstanceSpec, running: Sequence[InstanceSpec]) -> Problem | None:
    if limits.max_runtimes is not None and len(running) >= limits.max_runtimes:
        text = f"At most {limits.max_runtimes} runtimes may run on this node at once."
        return _denied(limits, spec.name, "max_runtimes", text)
    taken = sum(memory_needed(other) for other in running)
    needed, limit = memory_needed(spec), limits.memory_bytes
    if limit is None or taken + needed <= limit:
        return None
    text = (
        f"{spec.runtime_id} needs about {_mib(needed)} MiB; of the {_mib(limit)} MiB for all runtimes of this node "
        f"{_mib(taken)} MiB are taken."
    )
    return _denied(limits, spec.name, "memory.total", text)


def _denied(limits: Limits, name: str, rule: str, text: str, **more: str) -> Problem:
    node = name.removeprefix("nodes/").partition("/")[0]
    remedy = f"Ask the owner of node {node}: rule {rule} in {limits.file}."
    return Problem("LOCAL_POLICY_DENIED", text, remedy, {"rule": rule, "file": limits.file, "node": node, **more})


def _mib(size: int) -> int:
    return -(-size // 2**20)
