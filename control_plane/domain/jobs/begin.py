"""How jobs begin, and what is done to a runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from control_plane.domain import restart_budget
from control_plane.domain.declaration import redeclared
from control_plane.domain.instance import InstanceState
from control_plane.domain.jobs.ends import ended
from control_plane.domain.jobs.facts import Facts
from control_plane.domain.jobs.job import Job, JobKind, JobState
from control_plane.domain.jobs.standing import line
from control_plane.domain.placing.residents import asked_for
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import DesiredState, EngineSettings, RestoreOrder, Runtime, RuntimeSpec
from control_plane.domain.view import RuntimeView


class Touch(StrEnum):
    """What is done to a runtime."""

    RESTORE = "restore"
    SHUTDOWN = "shutdown"
    DECLARE = "declare"
    WAKE = "wake"


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
            return _restored(job, facts, view, restart=job.order.restart, reset_budget=job.order.reset_budget)
        case JobKind.ENSURE_READY:
            return _ensured(job, facts, view)
        case JobKind.SHUTDOWN:
            return _shut_down(job, facts, view)
        case JobKind.HEALTH_PROBE:
            return Step(job)
        case JobKind.SWAP_MODEL:
            return _swapped(job, facts, view.runtime)


def _restored(job: Job, facts: Facts, view: RuntimeView, *, restart: bool, reset_budget: bool) -> Step:
    now, views = facts.now, (view, *facts.replicas)
    refusals = [] if reset_budget else [restart_budget.objection(each.instance, now) for each in views]
    refusal = next(filter(None, refusals), None)
    if refusal is not None:
        return Step(ended(job, JobState.FAILED, now, Problem.of(refusal)))
    runtime = view.runtime
    order = RestoreOrder(runtime.restore.serial + 1, restart, reset_budget)
    wanted = replace(runtime, restore=order, desired_state=DesiredState.RUNNING)
    if not restart and all(each.state.serves and not _is_down(each) for each in _placed(view, facts)):
        job = ended(job, JobState.SUCCEEDED, now, summary=line(view))
    return Step(job, Touch.RESTORE, wanted)


def _ensured(job: Job, facts: Facts, view: RuntimeView) -> Step:
    """What is stopped or failed is started, as by a restore; what serves or is about to is left alone.

    What is loaded on demand is asked for, as by a request.
    """
    runtime = view.runtime
    if runtime.sleep is not None and runtime.spec.residence.on_demand:
        return Step(job, Touch.WAKE, asked_for(runtime, facts.now))
    if any(_is_down(each) or each.state is InstanceState.ERROR for each in (view, *facts.replicas)):
        return _restored(job, facts, view, restart=False, reset_budget=False)
    if all(each.state.serves and _is_current(each) for each in _placed(view, facts)):
        return Step(ended(job, JobState.SUCCEEDED, facts.now, summary=line(view)))
    return Step(replace(job, seen=None, replicas_seen=()))


def _placed(view: RuntimeView, facts: Facts) -> Sequence[RuntimeView]:
    """Whom the job waits for: a replica without a place holds nobody up."""
    return [view, *(each for each in facts.replicas if each.instance is not None)]


def _is_stopped(view: RuntimeView) -> bool:
    return view.runtime.desired_state is DesiredState.STOPPED


def _is_down(view: RuntimeView) -> bool:
    return view.runtime.desired_state is not DesiredState.RUNNING


def _is_current(view: RuntimeView) -> bool:
    return view.instance is not None and view.instance.observed_generation >= view.runtime.generation


def _shut_down(job: Job, facts: Facts, view: RuntimeView) -> Step:
    if all(_is_stopped(each) for each in (view, *facts.replicas)):
        return Step(job)
    return Step(job, Touch.SHUTDOWN, replace(view.runtime, desired_state=DesiredState.STOPPED))


def _swapped(job: Job, facts: Facts, runtime: Runtime) -> Step:
    spec, head = swapped(runtime.spec, job), runtime.replica_of
    if head is not None:
        text = f"{runtime.id} is a replica of {head}, and has the model that {head} has."
        problem = Problem(
            "INVALID_ARGUMENT", text, f"Swap that of {head}.", {"runtime": runtime.id, "replica_of": head}
        )
        return Step(ended(job, JobState.FAILED, facts.now, problem))
    if runtime.desired_state is not DesiredState.RUNNING:
        text = f"Runtime {runtime.id} is {'shut down' if runtime.sleep is None else 'hibernated'}."
        problem = Problem("SHUT_DOWN", text, f"Start it first: `arwctl runtime restore {runtime.id}`.")
        return Step(ended(job, JobState.FAILED, facts.now, problem))
    if spec == runtime.spec:
        return Step(replace(job, generation=runtime.generation, seen=None, replicas_seen=()))
    if facts.objection is not None:
        return Step(ended(job, JobState.FAILED, facts.now, facts.objection))
    job = replace(job, previous=runtime.spec, generation=runtime.generation + 1)
    return Step(job, Touch.DECLARE, redeclared(runtime, spec))


def swapped(spec: RuntimeSpec, job: Job) -> RuntimeSpec:
    """What the runtime of a swap is to be."""
    given = {name: getattr(job.order.settings, name) for name in EngineSettings.__slots__}
    settings = replace(spec.settings, **{name: value for name, value in given.items() if value is not None})
    return replace(spec, model=job.order.model, settings=settings)
