"""What the supervisor knows of one instance when it plans."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from node_agent.domain.budget import Budget
from node_agent.domain.spec import ExecutionSettings, InstanceName, InstanceSpec
from node_agent.domain.status import Problem


class Phase(StrEnum):
    FOUND = "found"
    """A directory from an earlier agent; what runs in it is not known yet."""
    DOWN = "down"
    UP = "up"
    """A process was started and has not ended."""
    BUSY = "busy"
    """An order is being carried out; nothing may be asked of it."""
    EXITED = "exited"
    """It ended by itself, and nothing was decided yet."""
    WAITING = "waiting"
    """For the moment of its automatic restart."""
    BLOCKED = "blocked"
    """Nothing could be started, for a reason that may go away."""
    FAILED = "failed"
    """Only an operator or a changed spec can help."""
    DENIED = "denied"
    """The node's owner does not let it run."""


@dataclass(frozen=True, slots=True)
class Observed:
    name: InstanceName
    phase: Phase = Phase.DOWN
    launch_key: str = ""
    """Of the last launch; empty before the first."""
    restore_serial: int = 0
    """The last restore acted on."""
    budget: Budget = field(default_factory=Budget)
    retry_at: datetime | None = None
    hopeless: bool = False
    """The same launch would fail the same way."""
    denied: Problem | None = None
    """What it was told in phase DENIED."""
    launched: bool = False
    """Ever, on this node."""
    unsure: bool = False
    """It served under an earlier agent, and has not answered this one yet."""
    good: InstanceSpec | None = None
    """What the last launch was made from; None: not known."""
    successor: str = ""
    """Launch key of what starts beside it, to take its place; empty: nothing does."""
    successor_ready: bool = False
    refused: str = ""
    """Attempt that did not come up beside what serves, and is not made again; empty: none."""


def attempt_key(spec: InstanceSpec) -> str:
    """A spec as it was declared once: the same settings declared again are another attempt."""
    return f"{spec.generation} {launch_key(spec)}"


def in_force(spec: InstanceSpec, good: InstanceSpec | None, refused: str) -> InstanceSpec:
    """What is acted on: of settings that did not come up, only what needs no launch."""
    if good is None or refused != attempt_key(spec):
        return spec
    return replace(
        good,
        desired_state=spec.desired_state,
        auto_start=spec.auto_start,
        restart=spec.restart,
        holds=spec.holds,
        restore=spec.restore,
        on_demand=spec.on_demand,
        rests=spec.rests,
    )


def launch_key(spec: InstanceSpec) -> str:
    """What a running engine was started with; a spec with another key needs another process."""
    parts: tuple[object, ...] = (
        spec.runtime_id,
        spec.adapter,
        spec.model,
        spec.settings,
        spec.accelerator,
        spec.degrade_on_missing_accelerator,
    )
    # What most specs lack adds nothing, so that an engine of an earlier agent keeps its key.
    caching = (spec.settings.warm_up_prompts, spec.settings.prompt_cache, spec.settings.kv_cache_type)
    parts += tuple(part for part in (spec.projector, spec.process, spec.external, *caching) if part is not None)
    if spec.execution != ExecutionSettings():
        # A set has no order of its own.
        parts += (sorted(spec.execution.modes), spec.execution.preferred, spec.execution.image)
    return hashlib.sha256(repr(parts).encode()).hexdigest()
