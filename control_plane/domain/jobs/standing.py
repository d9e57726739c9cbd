"""How a runtime stands towards what a job waits for."""

from __future__ import annotations

from datetime import datetime, timedelta

from control_plane.domain.instance import Instance, InstanceState
from control_plane.domain.jobs.facts import Facts
from control_plane.domain.jobs.job import Job, JobKind, JobStage, JobState, Seen
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import EXTERNAL, DesiredState, Runtime
from control_plane.domain.view import RuntimeView

OLD_NEWS = timedelta(seconds=5)
"""So long a node may say of an engine of before that it is as it was ordered to be now."""

OF_WHAT_SERVES = frozenset({"PROBES_FAILED", "NO_PROGRESS"})
"""Troubles of an engine that serves while the next one loads: they are no objection to that."""

_PERCENT = {InstanceState.STARTING: 50, InstanceState.RESTARTING: 30, InstanceState.STOPPING: 30}


def lost(job: Job, view: RuntimeView | None) -> Problem | None:
    """Somebody else took away what the job works on, or wants something else of it by now."""
    name = job.order.runtime
    if view is None or view.runtime.uid != job.runtime_uid:
        return Problem("NOT_FOUND", f"Runtime {name} was deleted meanwhile.", "Declare it again.", {"runtime": name})
    runtime, kind = view.runtime, job.order.kind
    if job.state is JobState.QUEUED or kind is JobKind.HEALTH_PROBE:
        return None
    if kind is JobKind.SWAP_MODEL and runtime.generation != job.generation:
        text = f"Runtime {name} was declared anew meanwhile: generation {runtime.generation}, not {job.generation}."
        return Problem("ETAG_MISMATCH", text, "What was declared last counts; nothing was rolled back.")
    if kind is JobKind.SHUTDOWN:
        text, remedy = f"Runtime {name} was started again meanwhile.", "Order it again if it is still to stop."
        return Problem("ETAG_MISMATCH", text, remedy) if runtime.desired_state is DesiredState.RUNNING else None
    return None if runtime.desired_state is DesiredState.RUNNING else _down(runtime)


def _down(runtime: Runtime) -> Problem | None:
    """None: it was asked for, and wakes once there is room."""
    name, sleep = runtime.id, runtime.sleep
    if sleep is None:
        return Problem("SHUT_DOWN", f"Runtime {name} was shut down meanwhile.", f"`arwctl runtime restore {name}`")
    asleep = Problem("SHUT_DOWN", f"Runtime {name} was hibernated meanwhile.", f"`arwctl runtime wake {name}`")
    return None if sleep.wake is not None else sleep.problem or asleep


def arrived(job: Job, view: RuntimeView, now: datetime) -> bool:
    """It is as the job wants it."""
    instance = view.instance
    if job.order.kind is JobKind.SHUTDOWN:
        return instance is None or instance.state is InstanceState.OFFLINE
    if instance is None or not instance.state.serves or not _is_current(instance, view):
        return False
    if job.order.kind is JobKind.RESTORE and job.order.restart and view.runtime.spec.adapter != EXTERNAL:
        return job.seen is None or launched_since(job.seen, instance)
    return _is_news(job, instance, now)


def failed(job: Job, view: RuntimeView, now: datetime) -> Problem | None:
    """Why it will not become so by itself; None: it still may."""
    instance = view.instance
    if job.order.kind is JobKind.SHUTDOWN or instance is None:
        return None
    if not _is_current(instance, view):
        return _refused(job, instance) if instance.state.serves else None
    fresh = _is_news(job, instance, now) or (job.seen is not None and _tells_more(job.seen, instance))
    return _failure(instance) if _has_ended(instance) and fresh else None


def settles(view: RuntimeView) -> bool:
    """It may stay as it is."""
    instance = view.instance
    return instance is not None and _is_current(instance, view) and (instance.state.serves or _has_ended(instance))


def late(job: Job, facts: Facts, view: RuntimeView) -> Problem | None:
    """What is in the way when its time is over; None: there is time left."""
    if facts.amnesty or facts.now < job.deadline:
        return None
    runtime, instance = view.runtime, view.instance
    waits = runtime.placement_problem or (runtime.sleep.problem if runtime.sleep is not None else None)
    if waits is not None:
        return waits
    if instance is not None and instance.state is InstanceState.UNKNOWN:
        text = f"Node {instance.node} is not connected, and was not within the time limit."
        return Problem("NODE_OFFLINE", text, "Start its agent, then order it again.", {"node": instance.node})
    if instance is not None and instance.problem is not None:
        return instance.problem
    limit = f"{job.order.time_limit.total_seconds():g} s"
    return Problem(
        "NOT_READY",
        f"Runtime {runtime.id} was not there within {limit}: {line(view)}.",
        f"It goes on trying: see `arwctl runtime explain {runtime.id}`, or order it with a longer time limit.",
        {"runtime": runtime.id, "state": view.state.value},
    )


def launched_since(seen: Seen, instance: Instance) -> bool:
    """Another process than the one that was seen."""
    return instance.node != seen.node or instance.incarnation > seen.incarnation


def line(view: RuntimeView) -> str:
    """Where it stands, for a person."""
    label, text = view.state.label, view.summary
    return f"{label} - {text}" if text and text != label else label


def percent(job: Job, view: RuntimeView) -> int:
    """Never goes back within a stage."""
    if job.stage is JobStage.ROLLING_BACK:
        return 75
    return max(job.progress_percent, _PERCENT.get(view.state, 10))


def _is_news(job: Job, instance: Instance, now: datetime) -> bool:
    """It cannot be what stood before the order any more."""
    if job.seen is None or launched_since(job.seen, instance):
        return True
    return job.settle_time is not None and now - job.settle_time >= OLD_NEWS


def _tells_more(seen: Seen, instance: Instance) -> bool:
    return instance.state.serves is not seen.state.serves or instance.problem != seen.problem


def _is_current(instance: Instance, view: RuntimeView) -> bool:
    """It speaks of what is declared now."""
    return instance.observed_generation >= view.runtime.generation


def _has_ended(instance: Instance) -> bool:
    blocked = instance.state is InstanceState.OFFLINE and instance.problem is not None
    return instance.state is InstanceState.ERROR or blocked


def _refused(job: Job, instance: Instance) -> Problem | None:
    """The node goes on with the spec before, and says why it does not take the new one."""
    problem = instance.problem
    if problem is not None and problem.reason in OF_WHAT_SERVES:
        return None
    return problem if job.seen is None or problem != job.seen.problem else None


def _failure(instance: Instance) -> Problem:
    if instance.problem is not None:
        return instance.problem
    text = instance.summary or f"Runtime {instance.runtime} failed."
    return Problem("ENGINE_EXITED", text, f"Read its log: `arwctl runtime logs {instance.runtime}`.")
