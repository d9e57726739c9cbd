"""What declaring a runtime does to what is already there."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from enum import StrEnum

from control_plane.domain.manifest import ManifestRuntime
from control_plane.domain.residence import Sleep, SleepCause
from control_plane.domain.runtime import DesiredState, Runtime, RuntimeSpec


class Outcome(StrEnum):
    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    REMOVED = "removed"


def declared(
    existing: Runtime | None, entry: ManifestRuntime, *, source: str, uid: str, now: datetime
) -> tuple[Runtime, Outcome]:
    """The runtime as it should be; `uid` is used for a new one only. Revision and etag are the caller's."""
    if existing is None:
        return _new(entry, source, uid, now), Outcome.CREATED
    if existing.spec == entry.spec:
        return existing, Outcome.UNCHANGED
    changed = replace(
        existing,
        spec=entry.spec,
        generation=existing.generation + 1,
        desired_state=_wanted(existing, entry.spec),
        source=source,
        declared=None,
    )
    return changed, Outcome.UPDATED


def redeclared(runtime: Runtime, spec: RuntimeSpec) -> Runtime:
    """By an order. What its manifest says stays known, so that reading the same file again does not undo that."""
    said = runtime.declared or runtime.spec
    return replace(runtime, spec=spec, generation=runtime.generation + 1, declared=None if spec == said else said)


def _new(entry: ManifestRuntime, source: str, uid: str, now: datetime) -> Runtime:
    return Runtime(
        id=entry.id,
        uid=uid,
        etag="",
        spec=entry.spec,
        desired_state=_at_first(entry.spec),
        generation=1,
        revision=0,
        create_time=now,
        update_time=now,
        source=source,
        sleep=Sleep(now, SleepCause.DECLARED) if _at_first(entry.spec) is DesiredState.HIBERNATED else None,
    )


def _at_first(spec: RuntimeSpec) -> DesiredState:
    if spec.auto_start:
        return DesiredState.RUNNING
    return DesiredState.HIBERNATED if spec.residence.on_demand else DesiredState.STOPPED


def _wanted(existing: Runtime, spec: RuntimeSpec) -> DesiredState:
    """A reload starts what has auto_start and stops on its change to false, never what a person restored by hand.

    What was and is loaded on demand stays as it is: requests start it.
    """
    if spec.residence.on_demand and existing.spec.residence.on_demand:
        return existing.desired_state
    if spec.auto_start or existing.spec.auto_start or existing.desired_state is DesiredState.STOPPED:
        return _at_first(spec)
    return existing.desired_state
