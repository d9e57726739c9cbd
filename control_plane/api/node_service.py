# ruff: noqa: ARG002, N802 - the contract names methods and parameters
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from arw.v1 import node_service_pb2 as pb
from arw.v1.node_service_pb2_grpc import NodeServiceServicer
from control_plane.api.authorization import caller
from control_plane.api.convert import node_id, token_id
from control_plane.api.page_tokens import PageTokens
from control_plane.domain.errors import InvalidArgument
from control_plane.messages.nodes import held_from_proto, held_to_proto, join_token_to_proto, node_to_proto
from control_plane.messages.times import duration_from_proto
from control_plane.use_cases.allow_removals import AllowRemovals
from control_plane.use_cases.approve_node import ApproveNode
from control_plane.use_cases.create_join_token import CreateJoinToken
from control_plane.use_cases.delete_join_token import DeleteJoinToken
from control_plane.use_cases.drain_node import DrainNode, ResumeNode
from control_plane.use_cases.ports import Clock
from control_plane.use_cases.read_join_tokens import ListJoinTokens
from control_plane.use_cases.read_nodes import GetNode, ListNodes
from control_plane.use_cases.resume_placement import ResumePlacement
from control_plane.use_cases.revoke_node import RevokeNode
from control_plane.use_cases.update_node import UpdateNode

_CHANGEABLE = frozenset({"labels", "schedulable", "overcommit"})
_UNNAMED = frozenset({"labels", "schedulable"})
"""What an update without a mask changes."""


@dataclass(frozen=True, slots=True)
class NodeUseCases:
    get: GetNode
    list: ListNodes
    update: UpdateNode
    approve: ApproveNode
    revoke: RevokeNode
    drain: DrainNode
    resume: ResumeNode
    resume_placement: ResumePlacement
    allow_removals: AllowRemovals
    create_token: CreateJoinToken
    list_tokens: ListJoinTokens
    delete_token: DeleteJoinToken


@dataclass(frozen=True, slots=True)
class JoinAddress:
    """What a joining agent needs beside its token."""

    pin: Callable[[], str]
    """Of the CA's key."""
    address: Callable[[], str]
    """ "host:port" of the enrolment port."""


class NodeServicer(NodeServiceServicer):
    def __init__(self, use_cases: NodeUseCases, tokens: PageTokens, clock: Clock, join: JoinAddress) -> None:
        self._do = use_cases
        self._tokens = tokens
        self._clock = clock
        self._join = join

    async def GetNode(self, request: pb.GetNodeRequest, context: Any) -> pb.GetNodeResponse:
        view = await self._do.get(node_id(request.name))
        return pb.GetNodeResponse(node=node_to_proto(view, self._clock.now()))

    async def ListNodes(self, request: pb.ListNodesRequest, context: Any) -> pb.ListNodesResponse:
        who = caller.get().name
        page = await self._do.list(request.page_size, self._tokens.open("ListNodes", who, request.page_token))
        nodes = [node_to_proto(view, self._clock.now()) for view in page.items]
        return pb.ListNodesResponse(nodes=nodes, next_page_token=self._tokens.seal("ListNodes", who, page.next_token))

    async def UpdateNode(self, request: pb.UpdateNodeRequest, context: Any) -> pb.UpdateNodeResponse:
        paths = _paths(request)
        view = await self._do.update(
            node_id(request.node.name),
            labels=dict(request.node.labels) if "labels" in paths else None,
            schedulable=request.node.schedulable if "schedulable" in paths else None,
            overcommit=request.node.overcommit if "overcommit" in paths else None,
            etag=request.node.etag,
        )
        return pb.UpdateNodeResponse(node=node_to_proto(view, self._clock.now()))

    async def DrainNode(self, request: pb.DrainNodeRequest, context: Any) -> pb.DrainNodeResponse:
        within = duration_from_proto(request.within) if request.HasField("within") else None
        view = await self._do.drain(node_id(request.name), within, request.etag, request.request_id)
        return pb.DrainNodeResponse(node=node_to_proto(view, self._clock.now()))

    async def ResumeNode(self, request: pb.ResumeNodeRequest, context: Any) -> pb.ResumeNodeResponse:
        view = await self._do.resume(node_id(request.name), request.etag, request.request_id)
        return pb.ResumeNodeResponse(node=node_to_proto(view, self._clock.now()))

    async def ResumePlacement(self, request: pb.ResumePlacementRequest, context: Any) -> pb.ResumePlacementResponse:
        nodes = [node_to_proto(view, self._clock.now()) for view in await self._do.resume_placement()]
        return pb.ResumePlacementResponse(nodes=nodes)

    async def ApproveNode(self, request: pb.ApproveNodeRequest, context: Any) -> pb.ApproveNodeResponse:
        view = await self._do.approve(node_id(request.name))
        return pb.ApproveNodeResponse(node=node_to_proto(view, self._clock.now()))

    async def RevokeNode(self, request: pb.RevokeNodeRequest, context: Any) -> pb.RevokeNodeResponse:
        view = await self._do.revoke(node_id(request.name))
        return pb.RevokeNodeResponse(node=node_to_proto(view, self._clock.now()))

    async def AllowRemovals(self, request: pb.AllowRemovalsRequest, context: Any) -> pb.AllowRemovalsResponse:
        node, operator = node_id(request.name), caller.get().presented.node
        named = held_from_proto(node, request.removals)
        done = await self._do.allow_removals(node, named, operator, request.request_id)
        allowed = held_to_proto(node, done.removals)
        return pb.AllowRemovalsResponse(node=node_to_proto(done.view, self._clock.now()), allowed=allowed)

    async def CreateJoinToken(self, request: pb.CreateJoinTokenRequest, context: Any) -> pb.CreateJoinTokenResponse:
        grant = await self._do.create_token(
            node=node_id(request.node_id) if request.node_id else None,
            labels=dict(request.labels),
            ttl=duration_from_proto(request.ttl) if request.HasField("ttl") else None,
            requires_approval=request.requires_approval,
            request_id=request.request_id,
        )
        return pb.CreateJoinTokenResponse(
            join_token=join_token_to_proto(grant.token),
            secret_text=f"{grant.text}.{self._join.pin()}",
            enrollment_address=self._join.address(),
        )

    async def ListJoinTokens(self, request: pb.ListJoinTokensRequest, context: Any) -> pb.ListJoinTokensResponse:
        who = caller.get().name
        inner = self._tokens.open("ListJoinTokens", who, request.page_token)
        page = await self._do.list_tokens(request.page_size, inner)
        tokens = [join_token_to_proto(token) for token in page.items]
        sealed = self._tokens.seal("ListJoinTokens", who, page.next_token)
        return pb.ListJoinTokensResponse(join_tokens=tokens, next_page_token=sealed)

    async def DeleteJoinToken(self, request: pb.DeleteJoinTokenRequest, context: Any) -> pb.DeleteJoinTokenResponse:
        await self._do.delete_token(token_id(request.name))
        return pb.DeleteJoinTokenResponse()


def _paths(request: pb.UpdateNodeRequest) -> frozenset[str]:
    paths = frozenset(request.update_mask.paths)
    if not paths <= _CHANGEABLE:
        unknown = ", ".join(sorted(paths - _CHANGEABLE))[:200]
        remedy = "Name labels, schedulable or overcommit."
        raise InvalidArgument(f"These fields of a node cannot change: {unknown}.", remedy)
    return paths or _UNNAMED
