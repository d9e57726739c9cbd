"""In which mode an engine is started, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from node_agent.domain.errors import ExecutionModeUnavailable, LocalPolicyDenied
from node_agent.domain.inventory import Engine, ExecutionOffer
from node_agent.domain.limits import Limits, no_mode
from node_agent.domain.spec import ExecutionMode, InstanceSpec
from node_agent.runtimes.trust import TrustList
from wire.refusal import Refusal

NATIVE, CONTAINER = ExecutionMode.NATIVE, ExecutionMode.CONTAINER


@dataclass(frozen=True, slots=True)
class Chosen:
    mode: ExecutionMode
    engine: Engine
    reason: str
    """One line for a person."""


def choose(spec: InstanceSpec, limits: Limits, trusted: TrustList, containers: ExecutionOffer) -> Chosen:
    """The first mode that is allowed and to be had. The refusal of the first one that is allowed when none is."""
    refusals: list[tuple[ExecutionMode, Refusal]] = []
    for mode, why in _in_order(spec, limits):
        try:
            engine = _engine(spec, mode, trusted, containers)
        except Refusal as refusal:
            refusals.append((mode, refusal))
        else:
            return Chosen(mode, engine, "; ".join((why, *(f"{lost}: {refusal.text}" for lost, refusal in refusals))))
    if not refusals:
        raise _forbidden(spec, limits)
    raise refusals[0][1]


def offers(limits: Limits, containers: ExecutionOffer) -> tuple[ExecutionOffer, ...]:
    """What this node has, once its owner had a say."""
    here = (ExecutionOffer(NATIVE, available=True, detail="processes of this machine"), containers)
    forbidden = f"its owner does not allow it: rule modes in {limits.file}"
    return tuple(
        each if each.mode in limits.modes else ExecutionOffer(each.mode, available=False, detail=forbidden)
        for each in here
    )


def _in_order(spec: InstanceSpec, limits: Limits) -> Iterator[tuple[ExecutionMode, str]]:
    """Allowed modes with why each comes where it does."""
    allowed = [mode for mode in ExecutionMode if mode in spec.execution.possible & limits.modes]
    if len(allowed) == 1:
        yield allowed[0], _only(spec, allowed[0])
        return
    reasons: dict[ExecutionMode, str] = {}
    if spec.execution.preferred is not None:
        reasons[spec.execution.preferred] = f"its manifest prefers {spec.execution.preferred}"
    reasons.setdefault(limits.default_mode, f"{limits.default_mode} is this node's default")
    for mode in allowed:
        reasons.setdefault(mode, f"{mode} is left")
    yield from ((mode, why) for mode, why in reasons.items() if mode in allowed)


def _only(spec: InstanceSpec, mode: ExecutionMode) -> str:
    if len(spec.execution.modes) == 1:
        return f"its manifest allows {mode} alone"
    return f"this node's owner allows {mode} alone"


def _engine(spec: InstanceSpec, mode: ExecutionMode, trusted: TrustList, containers: ExecutionOffer) -> Engine:
    program = spec.process.command[0] if spec.process is not None and spec.process.command else ""
    if mode is NATIVE:
        return trusted.engine_for(spec.adapter, program)
    if not containers.available:
        raise ExecutionModeUnavailable(
            f"Nothing on this node runs containers: {containers.detail}.",
            "Install podman there, or let the runtime run natively.",
        )
    engine = trusted.image_for(spec.adapter, spec.execution.image)
    return replace(engine, command=(program,)) if program else engine


def _forbidden(spec: InstanceSpec, limits: Limits) -> LocalPolicyDenied:
    problem = no_mode(limits, spec)
    return LocalPolicyDenied(problem.text, problem.remedy, **problem.metadata)
