from __future__ import annotations

from arw.v1 import claim_pb2 as pb
from arw.v1 import claim_service_pb2 as service_pb
from arw.v1 import runtime_pb2
from control_plane.domain.claims.allocation import Wait
from control_plane.domain.claims.claim import (
    DEFAULT_DISRUPTION,
    DEFAULT_TTL,
    Claim,
    Held,
    Requirement,
    RuntimeClaim,
    Window,
)
from control_plane.domain.errors import InvalidArgument
from control_plane.domain.ids import ClaimId, ProjectId, parsed, resource_name
from control_plane.domain.runtime import Modality
from control_plane.messages.accelerators import kind_from_proto, kind_to_proto
from control_plane.messages.problems import problem_to_proto
from control_plane.messages.projects import project_id
from control_plane.messages.times import duration_from_proto, duration_to_proto, time_from_proto, time_to_proto
from control_plane.use_cases.claims.acquire_claim import NO_PROJECT
from control_plane.use_cases.claims.read_claims import ClaimView
from control_plane.use_cases.claims.watch_claims import ClaimChange

_Wanted = pb.RuntimeClaim | pb.ClaimRequirement


def claim_id(name: str) -> ClaimId:
    return ClaimId(parsed(name, "claims", "claim"))


def owner(name: str) -> ProjectId:
    """The project that a claim is for; empty: an operator's own."""
    return project_id(name) if name else NO_PROJECT


def one_of(name: str) -> ProjectId | None:
    """The project that a claim must be of; empty: of any."""
    return project_id(name) if name else None


def order_from_proto(message: pb.RuntimeClaim) -> RuntimeClaim:
    """InvalidArgument for what is not known here: it must not become another wish, or a smaller one."""
    return RuntimeClaim(
        _wanted_from_proto(message),
        exclusive=message.exclusive,
        ttl=duration_from_proto(message.ttl) if message.HasField("ttl") else DEFAULT_TTL,
        priority=message.priority,
        max_disruption=(
            duration_from_proto(message.max_disruption) if message.HasField("max_disruption") else DEFAULT_DISRUPTION
        ),
        stop_after=duration_from_proto(message.stop_after) if message.HasField("stop_after") else None,
        fallbacks=tuple(map(_wanted_from_proto, message.fallbacks)),
        window=_window_from_proto(message.window),
    )


def claim_to_proto(view: ClaimView) -> pb.Claim:
    claim = view.claim
    return pb.Claim(
        name=resource_name("claims", claim.id),
        id=claim.id,
        project=resource_name("projects", claim.project) if claim.project else "",
        order=_order_to_proto(claim.order),
        state=pb.ClaimState.Value(f"CLAIM_STATE_{claim.state.name}"),
        state_slug=claim.state.value,
        state_label=claim.state.label,
        state_time=time_to_proto(claim.since),
        create_time=time_to_proto(claim.create_time),
        expire_time=time_to_proto(view.lease.expire_time) if view.lease else None,
        end_time=time_to_proto(claim.end_time),
        alternative=claim.alternative,
        hold=_hold_to_proto(claim, claim.held) if claim.held else None,
        wait=_wait_to_proto(view.wait) if view.wait else None,
        notice=_notice_to_proto(claim),
        problem=problem_to_proto(claim.problem),
        booked_runtime=resource_name("runtimes", claim.booked) if claim.booked else "",
    )


def change_to_proto(change: ClaimChange) -> service_pb.WatchClaimsResponse:
    claim = None
    if change.view is not None:
        claim = claim_to_proto(change.view)
    elif change.claim is not None:
        claim = pb.Claim(name=resource_name("claims", change.claim), id=change.claim)
    return service_pb.WatchClaimsResponse(claim=claim, deleted=change.deleted, synced=change.synced)


def _wanted_from_proto(message: _Wanted) -> Requirement:
    kind = kind_from_proto(message.accelerator)
    if kind_to_proto(kind) != message.accelerator:
        raise InvalidArgument("The claim wants an accelerator that is not known here.", "Update the control plane.")
    return Requirement(
        message.model_tag,
        message.min_tokens_per_sec,
        message.context_window,
        kind,
        tuple(message.features),
        _modality_from_proto(message.modality),
    )


def _modality_from_proto(value: runtime_pb2.Modality.ValueType) -> Modality:
    if value == runtime_pb2.MODALITY_UNSPECIFIED:
        return Modality.TEXT
    if value not in runtime_pb2.Modality.values():
        raise InvalidArgument("The claim wants a modality that is not known here.", "Update the control plane.")
    return Modality[runtime_pb2.Modality.Name(value).removeprefix("MODALITY_")]


def _window_from_proto(message: pb.ClaimWindow) -> Window:
    return Window(
        time_from_proto(message.start_time) if message.HasField("start_time") else None,
        time_from_proto(message.end_time) if message.HasField("end_time") else None,
    )


def _order_to_proto(order: RuntimeClaim) -> pb.RuntimeClaim:
    wanted = order.wanted
    return pb.RuntimeClaim(
        model_tag=wanted.model_tag,
        min_tokens_per_sec=wanted.min_tokens_per_sec,
        context_window=wanted.context_window,
        accelerator=kind_to_proto(wanted.accelerator),
        features=wanted.features,
        modality=_modality_to_proto(wanted.modality),
        exclusive=order.exclusive,
        ttl=duration_to_proto(order.ttl),
        priority=order.priority,
        max_disruption=duration_to_proto(order.max_disruption),
        stop_after=duration_to_proto(order.stop_after),
        fallbacks=map(_wanted_to_proto, order.fallbacks),
        window=_window_to_proto(order.window),
    )


def _wanted_to_proto(wanted: Requirement) -> pb.ClaimRequirement:
    return pb.ClaimRequirement(
        model_tag=wanted.model_tag,
        min_tokens_per_sec=wanted.min_tokens_per_sec,
        context_window=wanted.context_window,
        accelerator=kind_to_proto(wanted.accelerator),
        features=wanted.features,
        modality=_modality_to_proto(wanted.modality),
    )


def _window_to_proto(window: Window) -> pb.ClaimWindow | None:
    if window == Window():
        return None
    return pb.ClaimWindow(start_time=time_to_proto(window.start), end_time=time_to_proto(window.end))


def _hold_to_proto(claim: Claim, held: Held) -> pb.ClaimHold:
    return pb.ClaimHold(
        runtime=resource_name("runtimes", held.runtime),
        node=resource_name("nodes", held.node),
        fence=held.hold.fence,
        hold_time=time_to_proto(held.time),
        not_after=time_to_proto(claim.not_after),
    )


def _wait_to_proto(wait: Wait) -> pb.ClaimWait:
    return pb.ClaimWait(
        position=wait.position,
        problem=problem_to_proto(wait.problem),
        eta=time_to_proto(wait.eta),
        runtime=resource_name("runtimes", wait.runtime) if wait.runtime else "",
    )


def _notice_to_proto(claim: Claim) -> pb.ClaimNotice | None:
    if claim.notice is None:
        return None
    return pb.ClaimNotice(until=time_to_proto(claim.notice.until), problem=problem_to_proto(claim.notice.problem))


def _modality_to_proto(modality: Modality) -> runtime_pb2.Modality.ValueType:
    return runtime_pb2.Modality.Value(f"MODALITY_{modality.name}")
