"""How jobs begin, and what is done to a runtime."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from control_plane.domain import restart_budget
from control_plane.domain.instance import InstanceState
from control_plane.domain.job import Job, JobKind, JobState
from control_plane.domain.job_ends import ended
from control_plane.domain.job_facts import Facts
from control_plane.domain.job_standing import line
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import DesiredState, EngineSettings, RestoreOrder, Runtime, RuntimeSpec
from control_plane.domain.view import RuntimeView


class Touch(StrEnum):
    """What is done to a runtime."""

    RESTORE = "restore"
    SHUTDOWN = "shutdown"
    DECLARE = "declare"


@dataclass(frozen=True, slots=True)
class Step:
    job: Job
    """As it is afterwards."""
    touch: Touch | None = None
    runtime: Runtime | None = None
    """As it is afterwards; None: it is left alone."""


def begun(job: Job, facts: Facts, view: RuntimeView) -> Step:
    match job.order.kind:
        case JobKind.RESTORE:
            return _restored(job, view, facts.now, restart=job.order.restart, reset_budget=job.order.reset_budget)
        case JobKind.ENSURE_READY:
            return _ensured(job, view, facts.now)
        case JobKind.SHUTDOWN:
            return _shut_down(job, view)
        case JobKind.HEALTH_PROBE:
            return Step(job)
        case JobKind.SWAP_MODEL:
            return _swapped(job, facts, view.runtime)


def _restored(job: Job, view: RuntimeView, now: datetime, *, restart: bool, reset_budget: bool) -> Step:
    refusal = None if reset_budget else restart_budget.objection(view.instance, now)
    if refusal is not None:
        return Step(ended(job, JobState.FAILED, now, Problem.of(refusal)))
    runtime = view.runtime
    order = RestoreOrder(runtime.restore.serial + 1, restart, reset_budget)
    wanted = replace(runtime, restore=order, desired_state=DesiredState.RUNNING)
    if view.state.serves and not restart and runtime.desired_state is DesiredState.RUNNING:
        job = ended(job, JobState.SUCCEEDED, now, summary=line(view))
    return Step(job, Touch.RESTORE, wanted)


def _ensured(job: Job, view: RuntimeView, now: datetime) -> Step:
    """What is stopped or failed is started, as by a restore; what serves or is about to is left alone."""
    stopped = view.runtime.desired_state is DesiredState.STOPPED
    if stopped or view.state is InstanceState.ERROR:
        return _restored(job, view, now, restart=False, reset_budget=False)
    current = view.instance is not None and view.instance.observed_generation >= view.runtime.generation
    if view.state.serves and current:
        return Step(ended(job, JobState.SUCCEEDED, now, summary=line(view)))
    return Step(replace(job, seen=None))


def _shut_down(job: Job, view: RuntimeView) -> Step:
    if view.runtime.desired_state is DesiredState.STOPPED:
        return Step(job)
    return Step(job, Touch.SHUTDOWN, replace(view.runtime, desired_state=DesiredState.STOPPED))


def _swapped(job: Job, facts: Facts, runtime: Runtime) -> Step:
    spec = swapped(runtime.spec, job)
    if runtime.desired_state is DesiredState.STOPPED:
        text = f"Runtime {runtime.id} is shut down."
        problem = Problem("SHUT_DOWN", text, f"Start it first: `arwctl runtime restore {runtime.id}`.")
        return Step(ended(job, JobState.FAILED, facts.now, problem))
    if spec == runtime.spec:
        return Step(replace(job, generation=runtime.generation, seen=None))
    if facts.objection is not None:
        return Step(ended(job, JobState.FAILED, facts.now, facts.objection))
    job = replace(job, previous=runtime.spec, generation=runtime.generation + 1)
    return Step(job, Touch.DECLARE, redeclared(runtime, spec))


def redeclared(runtime: Runtime, spec: RuntimeSpec) -> Runtime:
    """What its manifest says stays known, so that reading the same file again does not undo the swap."""
    said = runtime.declared or runtime.spec
    return replace(runtime, spec=spec, generation=runtime.generation + 1, declared=None if spec == said else said)


def swapped(spec: RuntimeSpec, job: Job) -> RuntimeSpec:
    """What the runtime of a swap is to be."""
    given = {name: getattr(job.order.settings, name) for name in EngineSettings.__slots__}
    settings = replace(spec.settings, **{name: value for name, value in given.items() if value is not None})
    return replace(spec, model=job.order.model, settings=settings)
