# ruff: noqa: ARG002, N802 - the contract names methods and parameters
from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from arw.v1 import claim_service_pb2 as pb
from arw.v1.claim_service_pb2_grpc import ClaimServiceServicer
from control_plane.api.authorization import caller
from control_plane.api.convert import runtime_id
from control_plane.api.page_tokens import PageTokens
from control_plane.messages.claims import change_to_proto, claim_id, claim_to_proto, one_of, order_from_proto, owner
from control_plane.use_cases.claims.acquire_claim import AcquireClaim
from control_plane.use_cases.claims.read_claims import ClaimFilter, ClaimView, GetClaim, ListClaims
from control_plane.use_cases.claims.release_claim import ReleaseClaim, RevokeClaim
from control_plane.use_cases.claims.renew_claims import RenewClaims
from control_plane.use_cases.claims.watch_claims import FollowClaim, WatchClaims


@dataclass(frozen=True, slots=True)
class ClaimUseCases:
    acquire: AcquireClaim
    follow: FollowClaim
    renew: RenewClaims
    release: ReleaseClaim
    revoke: RevokeClaim
    get: GetClaim
    list: ListClaims
    watch: WatchClaims


class ClaimServicer(ClaimServiceServicer):
    def __init__(self, use_cases: ClaimUseCases, tokens: PageTokens) -> None:
        self._do = use_cases
        self._tokens = tokens

    async def AcquireClaim(
        self, request: pb.AcquireClaimRequest, context: Any
    ) -> AsyncIterator[pb.AcquireClaimResponse]:
        order = order_from_proto(request.claim)
        claim = await self._do.acquire(owner(request.project), order, request.request_id)
        async for view in self._do.follow(claim):
            yield pb.AcquireClaimResponse(claim=claim_to_proto(view))
            if not request.wait:
                return

    async def RenewClaim(self, request: pb.RenewClaimRequest, context: Any) -> pb.RenewClaimResponse:
        claim, lease = await self._do.renew(one_of(request.project), claim_id(request.name))
        return pb.RenewClaimResponse(claim=claim_to_proto(ClaimView(claim, lease)))

    async def ReleaseClaim(self, request: pb.ReleaseClaimRequest, context: Any) -> pb.ReleaseClaimResponse:
        claim = await self._do.release(one_of(request.project), claim_id(request.name))
        return pb.ReleaseClaimResponse(claim=claim_to_proto(ClaimView(claim, None)))

    async def RevokeClaim(self, request: pb.RevokeClaimRequest, context: Any) -> pb.RevokeClaimResponse:
        operator = caller.get().presented.node
        claim = await self._do.revoke(claim_id(request.name), operator, request.why)
        return pb.RevokeClaimResponse(claim=claim_to_proto(ClaimView(claim, None)))

    async def GetClaim(self, request: pb.GetClaimRequest, context: Any) -> pb.GetClaimResponse:
        view = await self._do.get(one_of(request.project), claim_id(request.name))
        return pb.GetClaimResponse(claim=claim_to_proto(view))

    async def ListClaims(self, request: pb.ListClaimsRequest, context: Any) -> pb.ListClaimsResponse:
        who, runtime = caller.get().name, runtime_id(request.runtime) if request.runtime else None
        wanted = ClaimFilter(one_of(request.project), runtime, live=request.live)
        inner = self._tokens.open("ListClaims", who, request.page_token)
        page = await self._do.list(wanted, request.page_size, inner)
        token = self._tokens.seal("ListClaims", who, page.next_token)
        return pb.ListClaimsResponse(claims=map(claim_to_proto, page.items), next_page_token=token)

    async def WatchClaims(self, request: pb.WatchClaimsRequest, context: Any) -> AsyncIterator[pb.WatchClaimsResponse]:
        claim = claim_id(request.name) if request.name else None
        async for change in self._do.watch(one_of(request.project), claim):
            yield change_to_proto(change)
