# ruff: noqa: ARG002, N802 - the contract names methods and parameters
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from arw.v1 import authority_service_pb2 as pb
from arw.v1.authority_service_pb2_grpc import AuthorityServiceServicer
from control_plane.api.authorization import caller
from control_plane.domain.authority import AuthorityStep
from control_plane.domain.ids import OperatorId
from control_plane.messages.authorities import rotation_to_proto
from control_plane.use_cases.ports import CertificateAuthority
from control_plane.use_cases.renew_operator import RenewOperator
from control_plane.use_cases.rotate_authority import PrepareAuthority, ReadRotation, StepAuthority


@dataclass(frozen=True, slots=True)
class AuthorityUseCases:
    read: ReadRotation
    prepare: PrepareAuthority
    step: StepAuthority
    renew: RenewOperator


class AuthorityServicer(AuthorityServiceServicer):
    def __init__(self, use_cases: AuthorityUseCases, authority: CertificateAuthority) -> None:
        self._do = use_cases
        self._authority = authority

    async def ListAuthorities(self, request: pb.ListAuthoritiesRequest, context: Any) -> pb.ListAuthoritiesResponse:
        return pb.ListAuthoritiesResponse(authorities=rotation_to_proto(await self._do.read()))

    async def PrepareAuthority(self, request: pb.PrepareAuthorityRequest, context: Any) -> pb.PrepareAuthorityResponse:
        return pb.PrepareAuthorityResponse(authorities=rotation_to_proto(await self._do.prepare()))

    async def ActivateAuthority(
        self, request: pb.ActivateAuthorityRequest, context: Any
    ) -> pb.ActivateAuthorityResponse:
        found = await self._do.step(AuthorityStep.ACTIVATED, force=request.force)
        return pb.ActivateAuthorityResponse(authorities=rotation_to_proto(found))

    async def TaintAuthority(self, request: pb.TaintAuthorityRequest, context: Any) -> pb.TaintAuthorityResponse:
        found = await self._do.step(AuthorityStep.TAINTED)
        return pb.TaintAuthorityResponse(authorities=rotation_to_proto(found))

    async def RevokeAuthority(self, request: pb.RevokeAuthorityRequest, context: Any) -> pb.RevokeAuthorityResponse:
        found = await self._do.step(AuthorityStep.REVOKED, force=request.force)
        return pb.RevokeAuthorityResponse(authorities=rotation_to_proto(found))

    async def RenewOperatorCertificate(
        self, request: pb.RenewOperatorCertificateRequest, context: Any
    ) -> pb.RenewOperatorCertificateResponse:
        shown = caller.get().presented
        bundle = self._authority.trust_bundle()
        if not request.csr:
            return pb.RenewOperatorCertificateResponse(trust_bundle=bundle)
        issued = await self._do.renew(OperatorId(shown.node), shown.serial, shown.expire_time, request.csr)
        return pb.RenewOperatorCertificateResponse(certificate_chain=issued.chain, trust_bundle=bundle)
